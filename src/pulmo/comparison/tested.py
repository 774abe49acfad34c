"""The test split of a run, image by image, and its figures in every resample of its patients."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from pulmo.comparison.folds import Partition, partition_of
from pulmo.errors import DataError, RunError
from pulmo.finished import FinishedRun
from pulmo.metrics.bootstrap import Floats, Interval, Resampled, Weighted, resampled, together
from pulmo.metrics.weighted import BinaryFigures, MulticlassFigures, Ratios
from pulmo.sheets.predictions import class_names_of, labelled_rows, patients_of

PRIMARY = ("rsna_score", "dice", "auroc", "accuracy")
"""The figure that a test is about: the first of these that the run has."""


Images = frozenset[tuple[str, int]]
"""Images with their labels."""


@dataclass(frozen=True)
class Tested:
    """A run and its labelled test images, in the order of its file, so that its intervals are those of its sheets."""

    run: FinishedRun
    label: str
    table: pd.DataFrame
    resamples: int = 10_000

    @cached_property
    def images(self) -> Images:
        """The test set: figures are of the same where these are equal."""
        return images_of(self.table)

    @cached_property
    def validation_images(self) -> frozenset[str]:
        """The images by which its best epoch was chosen; empty where the run does not say."""
        try:
            split = self.run.split
        except RunError:
            return frozenset()
        return frozenset(split.loc[split["split"] == "val", "image_id"])

    @cached_property
    def partition(self) -> Partition | None:
        """What the run is a fold of; None where its data were not cut into folds."""
        return partition_of(self.run)

    @cached_property
    def kin(self) -> bytes:
        """Which images are of one patient, whatever the patients are called: resamples are paired where equal."""
        by_image = self.patients[np.argsort(self.table["image_id"].to_numpy(str))]
        return pd.factorize(by_image)[0].tobytes()

    def in_order_of(self, other: "Tested") -> "Tested":
        """The same with its rows in the order of another's of the same images: the n-th resample is of the same."""
        ids = other.table["image_id"]
        if self.table["image_id"].equals(ids):
            return self
        return replace(self, table=self.table.set_index("image_id", drop=False).loc[ids].reset_index(drop=True))

    @property
    def data_name(self) -> str:
        """The data set that the run was trained on."""
        return self.run.data_name or "unknown data"

    @property
    def class_names(self) -> list[str]:
        """Names of more than two classes; empty for two."""
        return list(class_names_of(self.table))

    @property
    def is_binary(self) -> bool:
        """Whether scores rank two classes that are both there."""
        return not self.class_names and set(self.table["label"]) == {0, 1} and bool(self.table["score"].notna().all())

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """(N,) whether the run's own threshold decides the image rightly."""
        return np.asarray(self.table["prediction"] == self.table["label"])

    @property
    def scores(self) -> Floats:
        """(N,) scores of the positive class."""
        return self.table["score"].to_numpy(float)

    @property
    def patients(self) -> npt.NDArray[np.generic]:
        """(N,) the patient of each image, as text; an image whose patient nobody named is one of its own."""
        return patients_of(self.table)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) labels."""
        return self.table["label"].to_numpy(np.int64)

    @cached_property
    def resampled(self) -> Resampled:
        """The figures, and in each resample; the same resamples for every run with these images."""
        return resampled(self._figures, self.patients, resamples=self.resamples)

    @property
    def values(self) -> dict[str, float]:
        """The figures on all images."""
        return self.resampled.values

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The figures with their 95 % intervals by patient, as `pulmo.sheets` has them: of a share of 1 exact."""
        return self.resampled.intervals()

    @property
    def primary(self) -> str:
        """Name of the figure that this run is about."""
        return next(name for name in PRIMARY if name in self.values)

    @cached_property
    def _figures(self) -> Weighted:
        parts: list[Weighted] = []
        if self.is_binary:
            parts.append(BinaryFigures(self.scores, self.labels))
        if self.class_names:
            probabilities = self.table[[f"score_{name}" for name in self.class_names]].to_numpy(float)
            parts.append(MulticlassFigures(probabilities, self.labels, self.class_names))
        return together(*parts, self._shares)

    @cached_property
    def _shares(self) -> Ratios:
        """The figures that are shares of images, or means over them."""
        table, right = self.table, self.right.astype(np.float64)
        pairs: dict[str, tuple[Floats, Floats]] = {}
        if self.is_binary:
            positive = (self.labels == 1).astype(np.float64)
            pairs["sensitivity"] = (right * positive, positive)
            pairs["specificity"] = (right * (1 - positive), 1 - positive)
        if not self.class_names and table["label"].nunique() > 1:
            pairs["accuracy"] = (right, np.ones(len(table)))
        if "dice" in table:  # as test/dice: over images that have something to find
            there = (table["true_area"].to_numpy(float) > 0).astype(np.float64)
            pairs |= {name: (np.nan_to_num(table[name].to_numpy(float)) * there, there) for name in ("dice", "iou")}
        if "rsna_score" in table:
            scores = table["rsna_score"].to_numpy(float)
            pairs["rsna_score"] = (np.nan_to_num(scores), np.isfinite(scores).astype(np.float64))
        return Ratios(pairs)


def tested(run: FinishedRun, label: str, resamples: int) -> Tested:
    """The run's test split; raises `RunError` where its table cannot be read, or nothing in it can be measured."""
    path = f"{run.folder}/predictions_test.csv"
    try:
        table = labelled_rows(run.predictions("test"), path, "image_id", "patient_id", "score", "prediction")
    except DataError as error:
        raise RunError(str(error)) from error
    found = Tested(run, label, table.reset_index(drop=True), resamples)
    if not {*PRIMARY} & found.values.keys():
        raise RunError(f"{path} has images of one class alone: there is no figure to compare")
    return found


def images_of(labelled: pd.DataFrame) -> Images:
    """Each image of a predictions table with its label."""
    return frozenset(zip(labelled["image_id"], labelled["label"].astype(int), strict=True))


def difference(first: Tested, other: Tested) -> str:
    """How two test sets differ: how many images, and an example of each kind; or whose the images are."""
    if first.images == other.images:
        counts = [f"{len({*run.patients}):,} patients in {run.label}" for run in (first, other)]
        return f"the same images are of {' and of '.join(counts)}, and nothing can be paired by patient"
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
    """The runs by the images, labels and patients that they were tested on, in the order of the first of each group.

    Within a group the rows stand in one order, so that resamples are paired.
    """
    groups: dict[tuple[Images, bytes], list[Tested]] = {}
    for run in runs:
        groups.setdefault((run.images, run.kin), []).append(run)
    return [[run.in_order_of(group[0]) for run in group] for group in groups.values()]
