"""What a predictions table says of drawn masks: means over images with intervals, by size of the truth, by subgroup."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from pulmo.errors import DataError
from pulmo.metrics.bootstrap import Interval, intervals, together
from pulmo.metrics.weighted import Ratios, Values
from pulmo.sheets.predictions import labelled_rows, named, patients_of
from pulmo.sheets.subgroups import FEWEST, groupings

Inside = npt.NDArray[np.bool_]

COLUMNS = ("dice", "iou", "true_area", "predicted_area", "pixel_accuracy")
SIZES = ("smallest third", "middle third", "largest third")


@dataclass(frozen=True)
class MaskGroup:
    """Images that share a value, or the size of their true masks; `drawn` of them have a true mask.

    figures  `dice` and `iou`, means over those; none where there are fewer than `subgroups.FEWEST`, see `few`
    """

    by: str
    name: str
    images: int
    drawn: int
    figures: dict[str, Interval]
    few: str


@dataclass(frozen=True)
class MaskSheet:
    """Figures of masks; every interval is of 95 %, over resampled patients.

    drawn    images whose true mask holds anything
    figures  named as in metrics.json: `dice` and `iou` are means over those, `dice_with_empty` and `iou_with_empty`
             over all images, where an empty true mask counts 1 if nothing is predicted; `area_error` is the mean of
             predicted less true share of the image
    """

    images: int
    patients: int
    drawn: int
    resamples: int
    figures: dict[str, Interval]
    groups: list[MaskGroup]


def mask_sheet(test: pd.DataFrame, *, resamples: int = 10_000, seed: int = 0) -> MaskSheet:
    """Measure the images of a segmentation's predictions table.

    Raises `DataError` where a column is missing or holds something that is no share.
    """
    table = labelled_rows(test, "the predictions", *COLUMNS).reset_index(drop=True)
    columns = {name: _shares(table, name) for name in COLUMNS}
    area, one = columns["true_area"], np.ones(len(table))
    drawn = area > 0
    pairs: dict[str, tuple[Values, Values]] = {"pixel_accuracy": (columns["pixel_accuracy"], one)}
    pairs |= {name: _mean(columns[name], drawn) for name in ("dice", "iou")}
    pairs |= {f"{name}_with_empty": (np.nan_to_num(columns[name], nan=1.0), one) for name in ("dice", "iou")}
    error = Ratios({"area_error": (columns["predicted_area"] - area, one)}, shares=False)
    for by, name, inside in _groups(table, area):
        for figure in ("dice", "iou"):
            pairs[f"group/{by}/{name}/{figure}"] = _mean(columns[figure], inside & drawn)
    patients = patients_of(table)
    found = intervals(together(Ratios(pairs), error), patients, resamples=resamples, seed=seed)
    return MaskSheet(
        images=len(table),
        patients=len(np.unique(patients.astype(str))),
        drawn=int(drawn.sum()),
        resamples=resamples,
        figures={name: value for name, value in found.items() if not name.startswith("group/")},
        groups=[_group(by, name, inside, drawn, found) for by, name, inside in _groups(table, area)],
    )


def _groups(table: pd.DataFrame, area: Values) -> Iterator[tuple[str, str, Inside]]:
    """Thirds of the images with a true mask by its size, then the data set's own subgroups."""
    drawn = area > 0
    if drawn.sum() >= 3 * FEWEST:
        edges = np.quantile(area[drawn], [1 / 3, 2 / 3])
        third = np.searchsorted(edges, area, "left")
        for k, size in enumerate(SIZES):
            inside = drawn & (third == k)
            if inside.any():
                low, high = area[inside].min(), area[inside].max()
                yield "true area", f"{size}, {100 * low:.2g}–{100 * high:.2g} % of the image", inside
    for by, values in groupings(table):
        for name in sorted(values.unique()):
            yield by, name, (values == name).to_numpy()


def _group(by: str, name: str, inside: Inside, drawn: Inside, found: Mapping[str, Interval]) -> MaskGroup:
    count = int((inside & drawn).sum())
    enough = count >= FEWEST
    figures = named(found, f"group/{by}/{name}/") if enough else {}
    return MaskGroup(by, name, int(inside.sum()), count, figures, "" if enough else f"{count} with a true mask")


def _mean(values: Values, inside: Inside) -> tuple[Values, Values]:
    return np.where(inside, np.nan_to_num(values), 0.0), inside.astype(np.float64)


def _shares(table: pd.DataFrame, name: str) -> Values:
    values = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
    wrong = (values < 0) | (values > 1)
    if name.endswith(("area", "accuracy")):
        wrong |= np.isnan(values)
    if wrong.any():
        raise DataError(f"the predictions: {int(wrong.sum())} of {len(values)} images have a {name} that is no share")
    return values
