"""The test split of a run, image by image, and its figures in every resample of its patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from pulmo.errors import RunError
from pulmo.finished import FinishedRun
from pulmo.metrics.bootstrap import Floats, Interval, interval, resampled_figures
from pulmo.metrics.weighted import BinaryFigures, Weights

PRIMARY = ("rsna_score", "dice", "auroc", "accuracy")
"""The figure that a test is about: the first of these that the run has."""


@dataclass(frozen=True)
class Tested:
    """A run and its labelled test images, sorted by `image_id`, so that those of two runs stand in one order."""

    run: FinishedRun
    label: str
    table: pd.DataFrame
    resamples: int = 10_000

    @cached_property
    def images(self) -> frozenset[tuple[str, int]]:
        """Each test image with its label: runs can be paired where these are equal."""
        return frozenset(zip(self.table["image_id"], self.table["label"].astype(int), strict=True))

    @property
    def is_binary(self) -> bool:
        """Whether scores rank two classes that are both there."""
        one_score = not any(name.startswith("score_") for name in self.table)
        return one_score and set(self.table["label"]) == {0, 1} and bool(self.table["score"].notna().all())

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """(N,) whether the run's own threshold decides the image rightly."""
        return np.asarray(self.table["prediction"] == self.table["label"])

    @property
    def scores(self) -> Floats:
        """(N,) scores of the positive class."""
        return self.table["score"].to_numpy(float)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) labels."""
        return self.table["label"].to_numpy(np.int64)

    @cached_property
    def values(self) -> dict[str, float]:
        """The figures on all images."""
        return {
            name: float(value[0]) for name, value in self._figures(np.ones((1, len(self.table)), np.float32)).items()
        }

    @cached_property
    def drawn(self) -> dict[str, Floats]:
        """The figures in each resample; the same resamples for every run with these images."""
        return resampled_figures(self._figures, self.table["patient_id"].to_numpy(), resamples=self.resamples)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The figures with their 95 % intervals by patient."""
        return {name: interval(value, self.drawn[name]) for name, value in self.values.items()}

    @property
    def primary(self) -> str:
        """Name of the figure that this run is about."""
        return next(name for name in PRIMARY if name in self.values)

    def _figures(self, weights: Weights) -> dict[str, Floats]:
        table, figures = self.table, {}
        if self.is_binary:
            figures = self._ranks(weights)
            figures |= {
                "sensitivity": _mean(weights, np.where(table["label"] == 1, self.right, np.nan)),
                "specificity": _mean(weights, np.where(table["label"] == 0, self.right, np.nan)),
            }
        if table["label"].nunique() > 1:
            figures["accuracy"] = _mean(weights, self.right.astype(float))
        if "dice" in table:  # as test/dice: over images that have something to find
            found = table["true_area"].to_numpy(float) > 0
            figures |= {name: _mean(weights, np.where(found, table[name], np.nan)) for name in ("dice", "iou")}
        if "rsna_score" in table:
            figures["rsna_score"] = _mean(weights, table["rsna_score"].to_numpy(float))
        return figures

    @cached_property
    def _ranks(self) -> BinaryFigures:
        return BinaryFigures(self.scores, self.labels)


def _mean(weights: Weights, values: Floats) -> Floats:
    """(B,) weighted means of (N,) values, those that are NaN left out."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        sums = weights @ np.where(known, values, 0).astype(np.float32)
        return np.asarray(sums / (weights @ known.astype(np.float32)), np.float64)


def tested(run: FinishedRun, label: str, resamples: int) -> Tested:
    """The run's test split; raises `RunError` where its table cannot be read or has no labelled image."""
    try:
        table = run.predictions("test")
        table = table[table["label"] != -1].sort_values("image_id").reset_index(drop=True)
        missing = {"image_id", "patient_id", "label", "score", "prediction"} - {*table.columns}
    except (ValueError, KeyError) as error:
        raise RunError(f"{run.folder}/predictions_test.csv cannot be read: {error}") from error
    if missing or table.empty:
        what = f"no column {', '.join(sorted(missing))}" if missing else "no labelled image"
        raise RunError(f"{run.folder}/predictions_test.csv has {what}")
    return Tested(run, label, table, resamples)


def difference(first: Tested, other: Tested) -> str:
    """How two test sets differ: how many images, and an example of each kind."""
    ours, theirs = dict(first.images), dict(other.images)
    alone, missing = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    relabelled = sorted(name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name])
    parts = [
        f"{len(names)} images {what}, such as {names[0]}"
        for names, what in (
            (alone, f"only in the test set of {first.label}"),
            (missing, f"only in that of {other.label}"),
            (relabelled, "with another label"),
        )
        if names
    ]
    return "; ".join(parts)


def grouped(runs: Sequence[Tested]) -> list[list[Tested]]:
    """The runs by the images and labels that they were tested on, in the order of the first of each group."""
    groups: dict[frozenset[tuple[str, int]], list[Tested]] = {}
    for run in runs:
        groups.setdefault(run.images, []).append(run)
    return list(groups.values())
