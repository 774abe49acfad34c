"""Ages in all the ways that data sets write them."""

import numpy as np
import pandas as pd
import pytest

from pulmo.sheets.ages import age_bands, years


@pytest.mark.parametrize(
    ("text", "expected"),
    [("48", 48), ("048Y", 48), ("006M", 0.5), ("52W", 0.9965), ("3D", 0.0082), ("63.0", 63), ("115", 115)],
)
def test_years__of_every_way_to_write_them(text: str, expected: float) -> None:
    assert years(pd.Series([text]))[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("text", ["", "nan", "155", "-3", "old", "4 apples"])
def test_years__what_is_no_age_is_unknown(text: str) -> None:
    assert np.isnan(years(pd.Series([text]))[0])
    assert age_bands(pd.Series([text]), "unknown").tolist() == ["unknown"]


def test_bands__begin_at_the_first_year_of_each() -> None:
    ages = pd.Series(["17", "18", "39", "40", "59", "60", "79", "80", "115", "11M"])
    expected = ["0–17", "18–39", "18–39", "40–59", "40–59", "60–79", "60–79", "80 and older", "80 and older", "0–17"]
    assert age_bands(ages, "unknown").tolist() == expected
