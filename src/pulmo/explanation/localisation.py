"""Where the heat lies: shares inside a region beside what chance would give, and the pointing game."""

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from pulmo.metrics.bootstrap import Interval, intervals, together
from pulmo.metrics.weighted import Ratios
from pulmo.sheets.predictions import patients_of
from pulmo.transforms.geometry import Geometry

TOLERANCE = 0.03
"""Share of the image's side that a maximum may lie outside of its region: Zhang et al. 2018 (10.1007/s11263-017-1059-x)
allow 15 pixels in photographs of some 500."""

ALL = "all images"
FIGURES = ("heat", "area", "points", "chance")

Mask = npt.NDArray[np.bool_]


def located(heat: npt.NDArray[np.float32], region: Mask, picture: Mask) -> dict[str, float]:
    """Share of the heat and of the picture's area inside `region`; whether the maximum points there, and by chance.

    All are (S, S); `picture` leaves out black bars, and the heat on them. Without any heat, `heat` and `points` are
    NaN. Several equal maxima count by the share of them that hits.
    """
    side = max(1, round(TOLERANCE * len(heat)))
    near = cv2.dilate(region.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * side + 1,) * 2)) > 0
    heat = np.where(picture, heat, 0)
    total = float(heat.sum(dtype=np.float64))
    area = float((region & picture).sum() / picture.sum())
    chance = float((near & picture).sum() / picture.sum())
    if total == 0:
        return {"heat": np.nan, "area": area, "points": np.nan, "chance": chance}
    inside = float(heat[region].sum(dtype=np.float64)) / total
    return {"heat": inside, "area": area, "points": float(near[heat == heat.max()].mean()), "chance": chance}


def picture_of(geometry: Geometry) -> Mask:
    """(S, S): where the image is, not the bars that make it square."""
    picture = np.zeros((geometry.size, geometry.size), bool)
    (x, y), (width, height) = geometry.offset, geometry.inner
    picture[y : y + height, x : x + width] = True
    return picture


def groups_of(table: pd.DataFrame, *, binary: bool = True) -> dict[str, Mask]:
    """Which images are true and false positives and negatives, behind all of them; none is empty.

    Of more than two classes, where a positive may be called another one: which are called rightly, and which wrongly.
    """
    label, prediction = table["label"].to_numpy() > 0, table["prediction"].to_numpy() > 0
    groups = {ALL: np.ones(len(table), bool)}
    known = bool((table["label"] >= 0).all())
    if known and not binary:
        right = (table["label"] == table["prediction"]).to_numpy()
        groups |= {"called rightly": right, "called wrongly": ~right}
    elif known:
        groups |= {
            "true positives": label & prediction,
            "false positives": ~label & prediction,
            "false negatives": label & ~prediction,
            "true negatives": ~label & ~prediction,
        }
    return {name: group for name, group in groups.items() if group.any()}


def summary(
    table: pd.DataFrame,
    regions: Mapping[str, Mapping[str, str]],
    resamples: int = 10_000,
    *,
    binary: bool = True,
) -> pd.DataFrame:
    """One row a region and group, none that is all over again: images, and each figure as an `Interval` by patient.

    `table` has the columns of `groups_of`, `patient_id`, and for each of the `regions` those that it names for each of
    `FIGURES`. Columns of the result: `region, group, images, without_heat`, the mean of each figure over the images
    that have it, and `times_area`, the mean share of the heat over that of the area in the images with heat: 1 is
    chance.
    """
    rows = []
    for region, columns in regions.items():
        known = int(table[columns["area"]].notna().sum())
        for group, member in groups_of(table, binary=binary).items():
            part = table[member & table[columns["area"]].notna().to_numpy()]
            if part.empty or (len(part) == known and group != ALL):
                continue
            found = _figures(part, columns, resamples)
            without = int(part[columns["heat"]].isna().sum())
            rows.append({"region": region, "group": group, "images": len(part), "without_heat": without, **found})
    return pd.DataFrame(rows)


def _figures(part: pd.DataFrame, columns: Mapping[str, str], resamples: int) -> dict[str, Interval]:
    """Means of each figure over the images that have it; of `points`, a share of images, 0 and 1 have exact ends."""
    values = {figure: part[columns[figure]].to_numpy(np.float64) for figure in FIGURES}
    known = {figure: np.isfinite(value).astype(np.float64) for figure, value in values.items()}
    sums = {figure: np.nan_to_num(value) for figure, value in values.items()}
    means = {figure: (sums[figure], known[figure]) for figure in FIGURES}
    means["times_area"] = (sums["heat"], sums["area"] * known["heat"])
    hits = Ratios({"points": means.pop("points")})
    found = intervals(together(hits, Ratios(means, shares=False)), patients_of(part), resamples=resamples)
    return {name: found[name] for name in (*FIGURES, "times_area")}


def as_plain(summarised: pd.DataFrame) -> list[dict[str, object]]:
    """For json: an interval is `[value, low, high]`, null where undefined."""

    def plain(value: object) -> object:
        if isinstance(value, Interval):
            return [float(part) if np.isfinite(part) else None for part in value]
        return int(value) if isinstance(value, np.integer) else value

    return [{str(name): plain(value) for name, value in row.items()} for row in summarised.to_dict("records")]


def as_table(summarised: pd.DataFrame) -> pd.DataFrame:
    """For csv: `region, group, images, figure, value, low, high`, one row a figure."""
    rows = [
        {"region": row["region"], "group": row["group"], "images": row["images"], "figure": name, **figure._asdict()}
        for row in summarised.to_dict("records")
        for name, figure in row.items()
        if isinstance(figure, Interval)
    ]
    return pd.DataFrame(rows)
