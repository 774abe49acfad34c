"""Ages as data sets write them, and the bands that they are told by."""

import numpy as np
import pandas as pd

OLDEST = 115  # years; above it is a mistake of the header, such as RSNA's 148 to 155
BANDS = (("0–17", 0), ("18–39", 18), ("40–59", 40), ("60–79", 60), ("80 and older", 80))
"""Name of each band and the years that it begins with."""

NAMES = tuple(name for name, _ in BANDS)
IN_A_YEAR = {"": 1.0, "Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}


def years(ages: pd.Series) -> pd.Series:
    """Ages as numbers, from "48", "048Y", "006M", "12W" or "3D"; NaN where it is none, or above `OLDEST`."""
    text = ages.astype(str)
    distinct = pd.Series(text.unique())
    parts = distinct.str.extract(r"^\s*(\d+(?:\.\d*)?)\s*([YMWDymwd]?)\s*$")
    number = pd.to_numeric(parts[0], errors="coerce") / parts[1].str.upper().map(IN_A_YEAR)
    return text.map(dict(zip(distinct, number.where(number <= OLDEST), strict=True)))


def age_bands(ages: pd.Series, otherwise: str) -> "pd.Series[str]":
    """The name of each age's band; `otherwise` where it tells none, or one that nobody reaches."""
    numbers = years(ages)
    bands = pd.cut(numbers, [*(low for _, low in BANDS), np.inf], right=False, labels=list(NAMES))
    return bands.astype(object).where(numbers.notna(), otherwise).astype(str)
