"""Whether a score of 0.8 means that 80 of 100 such images are positive.

Guo et al., On calibration of modern neural networks, 2017 (arXiv:1706.04599): expected calibration error, temperature
scaling.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize_scalar

from pulmo.metrics.bootstrap import Floats, Interval, Resampled, Weighted, interval
from pulmo.metrics.weighted import Ratios
from pulmo.sheets.predictions import Labels, Scored, named
from pulmo.sheets.recalibration import recalibration

BINS = 15
"""As Guo et al. take them; of equal width for `ece`, of as many images each for `ece_equal_mass`."""

HOTTEST = 20.0
"""Temperatures are sought from 1 / HOTTEST to HOTTEST: of a validation without an error, or of chance, none is best."""

SMALLEST = 1e-12
"""Scores of 0 and 1 have no logit."""

PERFECT = 1000
"""Draws of labels that the scores describe perfectly."""

ERRORS = ("ece", "ece_equal_mass")


@dataclass(frozen=True)
class Bin:
    """Images whose score lies from `low` to below `high`."""

    low: float
    high: float
    images: int
    mean_score: float
    share_positive: Interval


@dataclass(frozen=True)
class Calibration:
    """How far scores are probabilities; of several classes, that of the likeliest and whether it is right.

    bins        those of equal width that hold images
    figures     `ece`, `ece_equal_mass`, `brier`, `log_loss`; of two classes `slope` (below 1: too sure) and
                `in_the_large` (above 0: scores are too low), both of the logits
    perfect_ece mean of `ece` where labels are drawn by the scores themselves: what is left of it is chance
    temperature fitted on validation by log loss; None where it could not be, see `absent`
    scaled      `ece`, `ece_equal_mass`, `brier`, `log_loss` once the logits are divided by it
    scaled_bins as `bins`, then
    """

    bins: list[Bin]
    figures: dict[str, Interval]
    perfect_ece: float
    temperature: float | None
    scaled: dict[str, Interval] = field(default_factory=dict)
    scaled_bins: list[Bin] = field(default_factory=list)
    absent: str = ""


@dataclass(frozen=True)
class Binned:
    """Expected calibration error and the shares of (N,) `confidence` in its bins that are `right` (N,) {0, 1}."""

    confidence: Floats
    right: Floats
    edges: Floats

    @property
    def place(self) -> Labels:
        """(N,) bin of each image; 1 lies in the last."""
        return np.clip(np.searchsorted(self.edges, self.confidence, "right") - 1, 0, len(self.edges) - 2)

    def ece(self, name: str) -> Weighted:
        """Mean distance of score and share over bins, each by its images."""
        gaps = np.zeros((len(self.right), len(self.edges) - 1), np.float32)
        gaps[np.arange(len(self.right)), self.place] = self.confidence - self.right
        return lambda weights: {name: np.abs(weights @ gaps).sum(1, dtype=np.float64) / weights.sum(1)}

    def perfect(self, seed: int) -> Floats:
        """(PERFECT,) errors of as many draws of labels that the scores describe perfectly: what chance leaves."""
        rng, place, count = np.random.default_rng(seed), self.place, len(self.edges) - 1
        gaps = [
            np.bincount(place, self.confidence - (rng.random(len(place)) < self.confidence), count)
            for _ in range(PERFECT)
        ]
        errors: Floats = np.abs(gaps).sum(1) / len(place)
        return errors

    def shares(self, prefix: str) -> Ratios:
        """`PREFIX/BIN`: the share that is right, of every bin that holds images."""
        inside = {int(k): (self.place == k).astype(np.float64) for k in np.unique(self.place)}
        return Ratios({f"{prefix}/{k}": (one * self.right, one) for k, one in inside.items()})

    def bins(self, prefix: str, figures: Mapping[str, Interval]) -> list[Bin]:
        """The bins, from the figures of `shares`."""
        found = []
        for k in np.unique(self.place):
            inside, share = self.place == k, figures[f"{prefix}/{k}"]
            low, high = float(self.edges[k]), float(self.edges[k + 1])
            found.append(Bin(low, high, int(inside.sum()), float(self.confidence[inside].mean()), share))
        return found


def equal_width() -> Floats:
    """Edges of `BINS` bins over [0, 1]."""
    return np.linspace(0, 1, BINS + 1)


def equal_mass(confidence: Floats) -> Floats:
    """Edges of up to `BINS` bins that hold as many images each, as far as equal scores let them.

    A score lies where the middle of its images does among all of them by rank: equal ones are never parted, and two
    scores that many images have never share a bin, in which their errors would cancel out.
    """
    scores, images = np.unique(confidence, return_counts=True)
    place = ((np.cumsum(images) - images / 2) * BINS / len(confidence)).astype(np.int64)
    return np.append(scores[np.flatnonzero(np.diff(place, prepend=-1))], np.inf)


def temperature(val: Scored) -> float | None:
    """The temperature at which validation's log loss is smallest; None where that is an end of what is tried."""
    logits = np.log(np.clip(val.probabilities, SMALLEST, 1))

    def loss(log_temperature: float) -> float:
        scaled = _softmax(logits / math.exp(log_temperature))
        return float(-np.log(np.clip(scaled[np.arange(len(scaled)), val.labels], SMALLEST, 1)).mean())

    bound = math.log(HOTTEST)
    found = minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-6}).x
    at_an_end = min(loss(-bound), loss(bound)) <= loss(found) + 1e-6  # it may be flat long before
    return None if at_an_end else math.exp(found)


def at_temperature(images: Scored, temperature: float) -> Floats:
    """(N, K) probabilities, the logits divided by the temperature."""
    return _softmax(np.log(np.clip(images.probabilities, SMALLEST, 1)) / temperature)


def measured(test: Scored, scaled: Floats | None) -> list[Weighted]:
    """Figures `calibration/…`, and `scaled/…` of the (N, K) probabilities at the fitted temperature."""
    parts = _figures(test, test.probabilities, "calibration")
    parts += [] if test.class_names else [recalibration(test.scores, test.labels)]
    return parts if scaled is None else [*parts, *_figures(test, scaled, "scaled")]


def error_intervals(test: Scored, scaled: Floats | None, found: Resampled, seed: int) -> dict[str, Interval]:
    """Intervals of the calibration errors of `measured`.

    A resample repeats images, so that the error of its bins lies above that of the images as a rule, and so would
    the percentiles: they are reflected about the figure (Davison and Hinkley, Bootstrap methods, 1997, section 5.2).
    The error of few images lies above 0 by chance alone: one that perfect scores reach too, by the 97.5th percentile of
    `Binned.perfect`, has an interval from 0 on.
    """
    intervals = {}
    for prefix, probabilities in (("calibration", test.probabilities), ("scaled", scaled)):
        if probabilities is None:
            continue
        for figure, binned in _binned(test, probabilities).items():
            name = f"{prefix}/{figure}"
            value = found.values[name]
            plain = interval(value, found.drawn[name])
            low, high = 2 * value - plain.high, 2 * value - plain.low
            chance = value <= np.percentile(binned.perfect(seed), 97.5)
            low = 0.0 if chance and not math.isnan(low) else max(0.0, min(low, value))
            intervals[name] = plain if math.isnan(plain.low) else Interval(value, low, min(1.0, max(high, value)))
    return intervals


def calibration(
    test: Scored, fitted: float | None, scaled: Floats | None, absent: str, figures: Mapping[str, Interval], seed: int
) -> Calibration:
    """Put the figures of `measured` where they belong."""
    binned = Binned(*_sureness(test, test.probabilities), equal_width())
    after = [] if scaled is None else Binned(*_sureness(test, scaled), equal_width()).bins("scaled/bin", figures)
    return Calibration(
        bins=binned.bins("calibration/bin", figures),
        figures=named(figures, "calibration/"),
        perfect_ece=float(binned.perfect(seed).mean()),
        temperature=fitted,
        scaled=named(figures, "scaled/"),
        scaled_bins=after,
        absent=absent,
    )


def _figures(test: Scored, probabilities: Floats, prefix: str) -> list[Weighted]:
    wide, full = _binned(test, probabilities).values()
    right = wide.right
    truth, one = np.eye(probabilities.shape[1])[test.labels], np.ones(len(right))
    squares = ((probabilities - truth) ** 2).sum(1)
    brier = squares if test.class_names else squares / 2  # of two classes, that of the positive one
    likelihood = np.clip(probabilities[np.arange(len(right)), test.labels], SMALLEST, 1)
    pairs = {f"{prefix}/brier": (brier, one), f"{prefix}/log_loss": (-np.log(likelihood), one)}
    means = Ratios(pairs, shares=False)
    return [wide.ece(f"{prefix}/ece"), full.ece(f"{prefix}/ece_equal_mass"), means, wide.shares(f"{prefix}/bin")]


def _binned(test: Scored, probabilities: Floats) -> dict[str, Binned]:
    """By the names of `ERRORS`."""
    confidence, right = _sureness(test, probabilities)
    edges = (equal_width(), equal_mass(confidence))
    return {name: Binned(confidence, right, part) for name, part in zip(ERRORS, edges, strict=True)}


def _sureness(test: Scored, probabilities: Floats) -> tuple[Floats, Floats]:
    """Score and truth of two classes; of several the highest score, and whether that class is the true one."""
    if not test.class_names:
        return probabilities[:, 1], test.labels.astype(np.float64)
    return probabilities.max(1), (probabilities.argmax(1) == test.labels).astype(np.float64)


def _softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    shares: Floats = raised / raised.sum(1, keepdims=True)
    return shares
