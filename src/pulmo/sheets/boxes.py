"""What the tables of predicted boxes and of images say of a detector: scores, FROC, each with its interval."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from pulmo.errors import DataError
from pulmo.metrics.bootstrap import AT_ONCE, Interval, Weighted, intervals, together
from pulmo.metrics.coco import AveragePrecision
from pulmo.metrics.detection import FROC_RATES
from pulmo.metrics.weighted import Ratios, Values, Weights, patients_among
from pulmo.sheets.predictions import labelled_rows, patients_of

CORNERS = ("x1", "y1", "x2", "y2")
_Placed = tuple[pd.DataFrame, npt.NDArray[np.intp]]
"""Rows of boxes, and the place of each one's image."""

RATE_NAMES = dict(zip(FROC_RATES, ("1/8", "1/4", "1/2", "1", "2", "4", "8"), strict=True))


@dataclass(frozen=True)
class BoxSheet:
    """Figures of boxes; every interval is of 95 %, over resampled patients.

    figures  named as in metrics.json, at the run's cut-off: `rsna_score` (where the predictions table has it),
             `box_sensitivity`, `box_precision`, `false_positives_per_image` at IoU above 0.4; of all boxes `froc_score`
             and, where the true ones are known, `map`, `map_50`, `map_75`
    froc     rate of false positives an image → sensitivity there
    curve    (K,) false positives an image and (K,) sensitivity at each score, rising
    """

    images: int
    patients: int
    true_boxes: int
    cut_off: float
    resamples: int
    figures: dict[str, Interval]
    froc: dict[str, Interval]
    curve: tuple[Values, Values]


def box_sheet(
    test: pd.DataFrame,
    boxes: pd.DataFrame,
    cut_off: float,
    true_boxes: pd.DataFrame | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> BoxSheet:
    """Measure a detector's predictions table and tables of boxes, which a run writes all; only labelled images count.

    Raises `DataError` where a column is missing, or a box is of no image.
    """
    table = labelled_rows(test, "the predictions", "image_id", "true_boxes").reset_index(drop=True)
    boxes, place = _of_images(boxes, test, table, "boxes", "score", "true_positive")
    boxed = _Boxes.of(place, boxes["score"], boxes["true_positive"], table["true_boxes"])
    kept = boxed.scores >= cut_off
    images, truths, one = len(table), boxed.truths, np.ones(len(table))
    found, false = (
        np.bincount(boxed.places[kept], part[kept], images).astype(np.float64)
        for part in (boxed.right, 1 - boxed.right)
    )
    pairs: dict[str, tuple[Values, Values]] = {}
    if "rsna_score" in table:
        score = pd.to_numeric(table["rsna_score"], errors="coerce").to_numpy(np.float64)
        pairs["rsna_score"] = (np.nan_to_num(score), np.isfinite(score).astype(np.float64))
    pairs |= {"box_sensitivity": (found, truths), "box_precision": (found, found + false)}
    rate = Ratios({"false_positives_per_image": (false, one)}, shares=False)
    parts: list[Weighted] = [Ratios(pairs), rate, boxed]
    if true_boxes is not None:
        true = _of_images(true_boxes, test, table, "true boxes")
        parts.append(_precision((boxes, place), true, images))
    patients = patients_of(table)
    found_of = intervals(together(*parts), patients, resamples=resamples, seed=seed)
    rates, sensitivity = boxed.curve()
    return BoxSheet(
        images=images,
        patients=len(np.unique(patients.astype(str))),
        true_boxes=int(truths.sum()),
        cut_off=cut_off,
        resamples=resamples,
        figures={name: value for name, value in found_of.items() if not name.startswith("froc/")},
        froc={name: found_of[f"froc/{name}"] for name in RATE_NAMES.values()},
        curve=(rates, sensitivity),
    )


def _of_images(boxes: pd.DataFrame, test: pd.DataFrame, table: pd.DataFrame, what: str, *columns: str) -> _Placed:
    """The boxes of the images of `table`, the labelled ones of `test`, and the place of each one's image in it."""
    missing = [name for name in ("image_id", *columns) if name not in boxes]
    if missing:
        raise DataError(f"the {what} have no column {', '.join(missing)}")
    labelled = pd.Series(table.index, index=table["image_id"].astype(str))
    of_image = boxes["image_id"].astype(str)
    unlabelled = set(test["image_id"].astype(str)) - set(labelled.index)
    kept = boxes[~of_image.isin(unlabelled)]
    place = of_image[kept.index].map(labelled)
    if place.isna().any():
        raise DataError(
            f"{int(place.isna().sum())} {what} are of no image, such as {of_image[place.index[place.isna()][0]]}"
        )
    return kept, place.to_numpy(np.intp)


def _precision(boxes: _Placed, true_boxes: _Placed, images: int) -> AveragePrecision:
    """COCO's average precision of the boxes of so many images."""
    return AveragePrecision.of(_each(boxes, [*CORNERS, "score"], images), _each(true_boxes, list(CORNERS), images))


def _each(boxes: _Placed, columns: list[str], images: int) -> list[Tensor]:
    """(D_i, C) columns of the boxes of each image."""
    rows, places = boxes
    order = np.argsort(places, kind="stable")
    values = torch.from_numpy(rows[columns].to_numpy(np.float64)[order])
    return list(torch.split(values, np.bincount(places, minlength=images).tolist()))


@dataclass(frozen=True)
class _Boxes:
    """Boxes by falling score: (D,) places of their images, scores, whether each is right; (N,) true boxes an image."""

    places: npt.NDArray[np.intp]
    scores: Values
    right: Values
    truths: Values

    @classmethod
    def of(cls, places: npt.NDArray[np.intp], scores: pd.Series, right: pd.Series, truths: pd.Series) -> "_Boxes":
        values = pd.to_numeric(scores, errors="coerce").to_numpy(np.float64)
        if np.isnan(values).any():
            raise DataError(f"{int(np.isnan(values).sum())} of {len(values)} boxes have no score")
        order = np.argsort(-values, kind="stable")
        return cls(places[order], values[order], right.to_numpy(np.float64)[order], truths.to_numpy(np.float64))

    def curve(self) -> tuple[Values, Values]:
        """False positives an image and sensitivity with the boxes down to each score; both begin at 0."""
        last = np.flatnonzero(np.diff(self.scores, append=-np.inf))
        truths = self.truths.sum() or math.nan
        false, found = np.cumsum(1 - self.right)[last], np.cumsum(self.right)[last]
        return np.append(0.0, false) / len(self.truths), np.append(0.0, found) / truths

    def __call__(self, weights: Weights) -> Mapping[str, Values]:
        """Sensitivity at `FROC_RATES`, read linearly between scores, and their mean, in each resample.

        Of a detector that keeps hundreds of boxes an image a few resamples at a time, since each needs every box.
        """
        size = max(1, AT_ONCE // max(1, len(self.places)))
        parts = [self._at_rates(weights[start : start + size]) for start in range(0, len(weights), size)]
        at = np.concatenate(parts)
        figures = {f"froc/{name}": at[:, k] for k, name in enumerate(RATE_NAMES.values())}
        return figures | {"froc_score": at.mean(1)}

    def evidence(self, patients: npt.NDArray[np.generic]) -> dict[str, int]:
        """Of how many of the (N,) patients the true boxes are."""
        names = (*(f"froc/{name}" for name in RATE_NAMES.values()), "froc_score")
        return dict.fromkeys(names, patients_among(patients, self.truths > 0))

    def _at_rates(self, weights: Weights) -> Values:
        """(B, N) weights to (B, rates) sensitivities."""
        last = np.flatnonzero(np.diff(self.scores, append=-np.inf))
        counts = weights[:, self.places]
        right = self.right.astype(np.float32)
        truths = (weights @ self.truths.astype(np.float32)).astype(np.float64)
        images = weights.sum(1, dtype=np.float64)
        found = np.cumsum(counts * right, axis=1)[:, last]
        false = np.cumsum(counts * (1 - right), axis=1)[:, last]
        at = np.full((len(weights), len(FROC_RATES)), np.nan)
        for row in np.flatnonzero(truths > 0):
            rates = np.append(0.0, false[row]) / images[row]
            at[row] = np.interp(FROC_RATES, rates, np.append(0.0, found[row]) / truths[row])
        return at
