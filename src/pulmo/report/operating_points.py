"""Where a binary classifier stands at a threshold: an image is called positive when its score reaches it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class OperatingPoint:
    """The four counts at one threshold; a rate is NaN where its denominator is zero."""

    name: str
    threshold: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def sensitivity(self) -> float:
        """Share of the positive images that are called positive."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def specificity(self) -> float:
        """Share of the negative images that are called negative."""
        return _share(self.true_negatives, self.true_negatives + self.false_positives)

    @property
    def precision(self) -> float:
        """Share of the images called positive that are positive."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def label(self) -> str:
        """The name with the threshold's value, or the name alone where it is that value."""
        return threshold_label(self.name, self.threshold)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def operating_point(scores: Scores, labels: Labels, threshold: float, name: str = "") -> OperatingPoint:
    """Count the confusions of (N,) scores with (N,) labels in {0, 1} at a threshold."""
    called = scores >= threshold
    return OperatingPoint(
        name,
        threshold,
        true_positives=int(np.sum(called & (labels == 1))),
        false_positives=int(np.sum(called & (labels == 0))),
        false_negatives=int(np.sum(~called & (labels == 1))),
        true_negatives=int(np.sum(~called & (labels == 0))),
    )


def threshold_label(name: str, value: float) -> str:
    """A threshold as figures show it: "fitted" at 0.372 is "fitted 0.37", "0.5" at 0.5 stays "0.5"."""
    try:
        if math.isclose(float(name), value, rel_tol=1e-6):  # the value may have passed through float32
            return name
    except ValueError:
        pass  # a name in words
    digits = f"{value:.2f}" if 0.01 <= value <= 0.99 else f"{value:.4g}"
    return f"{name} {digits}"


def threshold_labels(thresholds: Mapping[str, float]) -> dict[str, float]:
    """The same thresholds, each under the label that figures show."""
    return {threshold_label(name, value): value for name, value in thresholds.items()}


def check_scores(scores: ArrayLike, labels: ArrayLike, classes: int | None = None) -> tuple[Scores, Labels]:
    """Scores of the positive class (N,) with labels in {0, 1}, or of K `classes` (N, K) with labels below K.

    The floating type of the scores is kept: a float32 score that equals its threshold must go on doing so.

    Raises ValueError on another shape, where a score is NaN or infinite, or a label out of range.
    """
    s, y = np.asarray(scores), np.asarray(labels)
    if not np.issubdtype(s.dtype, np.floating):
        s = s.astype(np.float64)
    expected = y.shape if classes is None else (y.size, classes)
    if y.ndim != 1 or s.shape != expected:
        raise ValueError(f"scores of shape {s.shape} for labels of shape {y.shape}; expected {expected} and (N,)")
    finite = np.isfinite(s) if classes is None else np.isfinite(s).all(axis=1)
    if not finite.all():
        raise ValueError(f"{np.sum(~finite)} of {y.size} scores are NaN or infinite")
    return s, check_classes(y, classes or 2, "labels")


def check_classes(indices: ArrayLike, classes: int, what: str) -> Labels:
    """Class indices as an integer array; raises ValueError where one lies outside [0, `classes`)."""
    y = np.asarray(indices)
    if y.size == 0:
        return y.astype(np.int64)
    outside = int(np.sum((y < 0) | (y >= classes) | (y != np.floor(y))))
    if outside:
        raise ValueError(f"{outside} of {y.size} {what} are no class index in 0 … {classes - 1}")
    return y.astype(np.int64)


def missing_class(labels: Labels, names: Sequence[str] = ("negative", "positive")) -> str | None:
    """Why a binary split has no ROC curve, in the words that figures show; None where it has one."""
    if labels.size == 0:
        return "undefined: no labelled image in this split"
    for index, name in enumerate(names):
        if not np.any(labels == index):
            return f"undefined: no {name} image in this split"
    return None
