"""Operating points: from validation scores to the cut-off that turns a score into a decision.

A policy sees validation alone; its cut-off is stored in the checkpoint and used wherever the model is. What a task
decides about (an image, a pixel, a box) is its own affair: it tabulates its figures at every cut-off, and the policy
chooses among them. A score ≥ cut-off counts as positive.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pulmo.errors import ConfigError

log = logging.getLogger(__name__)

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class OperatingPoints:
    """Figures at every cut-off worth choosing: `cuts` (K,) falling, in [0, 1]; each of `figures` (K,).

    Empty where nothing can be fitted, such as where validation holds one class alone.
    """

    cuts: Scores
    figures: Mapping[str, Scores]


class Choice(NamedTuple):
    """A cut-off, and the figure that it was chosen for; `merit` is NaN where none was."""

    cut_off: float
    merit: float


class ThresholdPolicy(Protocol):
    """How a cut-off is chosen."""

    @property
    def figure(self) -> str | None:
        """Name of the figure that `OperatingPoints` must hold; None where none is looked at."""

    def fit(self, points: OperatingPoints) -> Choice:
        """Choose among the points; 0.5 where there are none."""


@dataclass(frozen=True)
class Fixed:
    """The cut-off `value`, whatever the scores."""

    value: float
    figure: None = None

    def __post_init__(self) -> None:
        if not 0 <= self.value <= 1:
            raise ConfigError(f"threshold.value={self.value}: a score between 0 and 1")

    def fit(self, points: OperatingPoints) -> Choice:
        """Give `value`."""
        return Choice(self.value, math.nan)


@dataclass(frozen=True)
class Best:
    """The cut-off at which `figure` is largest; of equals the lowest, since a miss is worse than a false alarm.

    For images and pixels `youden` is sensitivity + specificity - 1 (Youden 1950,
    10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>), `f1` the harmonic mean of precision and sensitivity.
    """

    figure: str

    def fit(self, points: OperatingPoints) -> Choice:
        """Give the best cut-off."""
        merit = points.figures[self.figure]
        if not np.isfinite(merit).any():
            return _nothing_to_fit(self.figure)
        best = np.nanmax(merit)
        return Choice(float(points.cuts[np.flatnonzero(merit >= best - 1e-12)[-1]]), float(best))


@dataclass(frozen=True)
class TargetSensitivity:
    """The highest cut-off that still finds the share `target` of the positives; its merit is the precision there."""

    target: float
    figure: str = "sensitivity"

    def __post_init__(self) -> None:
        if not 0 < self.target <= 1:
            raise ConfigError(f"threshold.target={self.target}: a sensitivity above 0, at most 1")

    def fit(self, points: OperatingPoints) -> Choice:
        """Give the highest cut-off whose sensitivity reaches the target, or comes nearest to it."""
        sensitivity = points.figures[self.figure]
        if not np.isfinite(sensitivity).any():
            return _nothing_to_fit(self.figure)
        reached = sensitivity >= min(self.target, np.nanmax(sensitivity)) - 1e-9
        chosen = int(np.argmax(reached))
        return Choice(float(points.cuts[chosen]), float(points.figures["precision"][chosen]))


def _nothing_to_fit(figure: str) -> Choice:
    log.warning(
        "threshold: %s is undefined on validation, which holds one class alone or no finding: 0.5 is used", figure
    )
    return Choice(0.5, math.nan)


def check(policy: ThresholdPolicy, known: frozenset[str]) -> None:
    """Raise `ConfigError` where a task does not tabulate the figure that the policy looks at."""
    if policy.figure is not None and policy.figure not in known:
        raise ConfigError(
            f"threshold.figure={policy.figure}: this model is measured by {', '.join(sorted(known))}; "
            "choose another threshold="
        )


BINARY_FIGURES = frozenset({"sensitivity", "specificity", "precision", "youden", "f1"})


def binary_points(scores: Scores, labels: Labels) -> OperatingPoints:
    """Every cut-off that decides (N,) scores in [0, 1] differently, and how (N,) labels {0, 1} fare there.

    A cut-off lies halfway between a score and the next lower one, so that scores which differ in their last
    digits on another machine fall on the same side. Empty where a class has no image.
    """
    positives = int(labels.sum())
    if positives in (0, len(labels)):
        return OperatingPoints(np.empty(0), {name: np.empty(0) for name in BINARY_FIGURES})
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order]
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True))  # of each run of equal scores
    cuts = (scores[last] + np.append(scores[last][1:], 0.0)) / 2
    true_positives = np.cumsum(labels)[last]
    return counted_points(cuts, true_positives, last + 1 - true_positives, positives, len(labels) - positives)


def counted_points(
    cuts: Scores, true_positives: npt.NDArray[np.int64], false_positives: Labels, positives: int, negatives: int
) -> OperatingPoints:
    """Figures from (K,) counts of true and false positives at falling `cuts`; NaN where a denominator is empty."""
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity = true_positives / np.float64(positives)
        specificity = 1 - false_positives / np.float64(negatives)
        figures = {
            "sensitivity": sensitivity,
            "specificity": specificity,
            "precision": true_positives / (true_positives + false_positives),
            "youden": sensitivity + specificity - 1,
            # Without a positive it is 0 wherever anything is called positive, and says nothing of the cut-off.
            "f1": 2 * true_positives / (positives + true_positives + false_positives) + (0 if positives else np.nan),
        }
    return OperatingPoints(cuts, figures)
