"""Operating points: from validation scores to the cut-off that turns a score into a decision.

A policy sees validation scores alone; its cut-off is stored in the checkpoint and used wherever the model is.
An image counts as positive where score ≥ cut-off.
"""

import logging
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pulmo.errors import ConfigError

log = logging.getLogger(__name__)

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


class ThresholdPolicy(Protocol):
    """How a cut-off is chosen."""

    def fit(self, scores: Scores, labels: Labels) -> float:
        """Choose a cut-off in [0, 1] for (N,) scores in [0, 1] and (N,) labels {0, 1}."""


@dataclass(frozen=True)
class Fixed:
    """The cut-off `value`, whatever the scores."""

    value: float

    def __post_init__(self) -> None:
        if not 0 <= self.value <= 1:
            raise ConfigError(f"threshold.value={self.value}: a score between 0 and 1")

    def fit(self, scores: Scores, labels: Labels) -> float:
        """Give `value`."""
        return self.value


@dataclass(frozen=True)
class Youden:
    """Largest sensitivity + specificity - 1 (Youden 1950, 10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>)."""

    def fit(self, scores: Scores, labels: Labels) -> float:
        """Give the best cut-off; of equals the lowest, since a missed pneumonia is worse than a false alarm."""
        cuts, true_positives, false_positives = _operating_points(scores, labels)
        if not len(cuts):
            return 0.5
        sensitivity = true_positives / true_positives[-1]
        return _last_best(cuts, sensitivity - false_positives / false_positives[-1])


@dataclass(frozen=True)
class BestF1:
    """Largest harmonic mean of precision and sensitivity."""

    def fit(self, scores: Scores, labels: Labels) -> float:
        """Give the best cut-off; of equals the lowest."""
        cuts, true_positives, false_positives = _operating_points(scores, labels)
        if not len(cuts):
            return 0.5
        f1 = 2 * true_positives / (true_positives[-1] + true_positives + false_positives)
        return _last_best(cuts, f1)


@dataclass(frozen=True)
class TargetSensitivity:
    """The most specific cut-off that still finds the share `target` of the positives."""

    target: float

    def __post_init__(self) -> None:
        if not 0 < self.target <= 1:
            raise ConfigError(f"threshold.target={self.target}: a sensitivity above 0, at most 1")

    def fit(self, scores: Scores, labels: Labels) -> float:
        """Give the highest cut-off whose sensitivity reaches the target."""
        cuts, true_positives, _ = _operating_points(scores, labels)
        if not len(cuts):
            return 0.5
        return float(cuts[np.argmax(true_positives >= self.target * true_positives[-1] - 1e-9)])


def _operating_points(scores: Scores, labels: Labels) -> tuple[Scores, Labels, Labels]:
    """Every cut-off that decides differently, falling, with its true and false positives.

    A cut-off lies halfway between a score and the next lower one, so that scores which differ in their last
    digits on another machine fall on the same side. Empty, with a warning, where a class has no image.
    """
    positives = int(labels.sum())
    if positives in (0, len(labels)):
        log.warning("threshold: validation holds one class alone, so no cut-off can be fitted: 0.5 is used")
        return np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64)
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order]
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True))  # of each run of equal scores
    cuts = (scores[last] + np.append(scores[last][1:], 0.0)) / 2
    true_positives = np.cumsum(labels)[last]
    return cuts, true_positives, last + 1 - true_positives


def _last_best(cuts: Scores, merit: Scores) -> float:
    return float(cuts[np.flatnonzero(merit >= merit.max() - 1e-12)[-1]])
