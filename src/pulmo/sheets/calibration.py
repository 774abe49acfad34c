"""Whether a score of 0.8 means that 80 of 100 such images are positive.

Guo et al., On calibration of modern neural networks, 2017 (arXiv:1706.04599): expected calibration error, temperature
scaling. Van Calster et al., Calibration: the Achilles heel of predictive analytics, 2019 (10.1186/s12916-019-1466-7):
slope and calibration in the large.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize_scalar

from pulmo.metrics.bootstrap import Floats, Interval, Weighted
from pulmo.metrics.weighted import Ratios, Weights
from pulmo.sheets.predictions import Labels, Scored, named

BINS = 15
"""As Guo et al. take them; of equal width for `ece`, of as many images each for `ece_equal_mass`."""

HOTTEST = 20.0
"""Temperatures are sought from 1 / HOTTEST to HOTTEST: of a validation without an error none is best."""

SMALLEST = 1e-12
"""Scores of 0 and 1 have no logit."""

PERFECT = 200
"""Draws of labels that the scores describe perfectly."""


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


def temperature(val: Scored) -> float:
    """The temperature at which validation's log loss is smallest."""
    logits = np.log(np.clip(val.probabilities, SMALLEST, 1))

    def loss(log_temperature: float) -> float:
        scaled = _softmax(logits / math.exp(log_temperature))
        return float(-np.log(np.clip(scaled[np.arange(len(scaled)), val.labels], SMALLEST, 1)).mean())

    bound = math.log(HOTTEST)
    return math.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-6}).x)


def at_temperature(images: Scored, temperature: float) -> Floats:
    """(N, K) probabilities, the logits divided by the temperature."""
    return _softmax(np.log(np.clip(images.probabilities, SMALLEST, 1)) / temperature)


def measured(test: Scored, scaled: Floats | None) -> list[Weighted]:
    """Figures `calibration/…`, and `scaled/…` of the (N, K) probabilities at the fitted temperature."""
    parts = _figures(test, test.probabilities, "calibration")
    parts += [] if test.class_names else [_recalibration(test)]
    return parts if scaled is None else [*parts, *_figures(test, scaled, "scaled")]


def calibration(
    test: Scored, fitted: float | None, scaled: Floats | None, absent: str, figures: Mapping[str, Interval], seed: int
) -> Calibration:
    """Put the figures of `measured` where they belong."""
    binned = Binned(*_sureness(test, test.probabilities), equal_width())
    rng, place = np.random.default_rng(seed), binned.place
    gaps = [
        np.bincount(place, binned.confidence - (rng.random(len(test.labels)) < binned.confidence))
        for _ in range(PERFECT)
    ]
    perfect = np.mean([np.abs(gap).sum() for gap in gaps]) / len(test.labels)
    after = [] if scaled is None else Binned(*_sureness(test, scaled), equal_width()).bins("scaled/bin", figures)
    return Calibration(
        bins=binned.bins("calibration/bin", figures),
        figures=named(figures, "calibration/"),
        perfect_ece=float(perfect),
        temperature=fitted,
        scaled=named(figures, "scaled/"),
        scaled_bins=after,
        absent=absent,
    )


def _figures(test: Scored, probabilities: Floats, prefix: str) -> list[Weighted]:
    confidence, right = _sureness(test, probabilities)
    wide, full = Binned(confidence, right, equal_width()), Binned(confidence, right, equal_mass(confidence))
    truth, one = np.eye(probabilities.shape[1])[test.labels], np.ones(len(right))
    squares = ((probabilities - truth) ** 2).sum(1)
    brier = squares if test.class_names else squares / 2  # of two classes, that of the positive one
    likelihood = np.clip(probabilities[np.arange(len(right)), test.labels], SMALLEST, 1)
    means = Ratios({f"{prefix}/brier": (brier, one), f"{prefix}/log_loss": (-np.log(likelihood), one)})
    return [wide.ece(f"{prefix}/ece"), full.ece(f"{prefix}/ece_equal_mass"), means, wide.shares(f"{prefix}/bin")]


def _sureness(test: Scored, probabilities: Floats) -> tuple[Floats, Floats]:
    """Score and truth of two classes; of several the highest score, and whether that class is the true one."""
    if not test.class_names:
        return probabilities[:, 1], test.labels.astype(np.float64)
    return probabilities.max(1), (probabilities.argmax(1) == test.labels).astype(np.float64)


def _recalibration(test: Scored) -> Weighted:
    """Slope, and intercept at slope 1, of a logistic regression of the truth on the logits.

    In a resample both take one Newton step from those of all images (Moulton and Zeger, Bootstrapping generalized
    linear models, 1991), which is a weighted sum rather than ten thousand fits. NaN where the classes are separated.
    """
    p = np.clip(test.probabilities[:, 1], SMALLEST, 1 - SMALLEST)
    logit, y = np.log(p / (1 - p)), test.labels.astype(np.float64)
    both, offset = np.column_stack([np.ones_like(logit), logit]), np.ones((len(y), 1))
    line, shift = _logistic(both, np.zeros_like(y), y), _logistic(offset, logit, y)

    def figures(weights: Weights) -> dict[str, Floats]:
        return {
            "calibration/slope": _stepped(weights, both, np.zeros_like(y), y, line)[:, 1],
            "calibration/in_the_large": _stepped(weights, offset, logit, y, shift)[:, 0],
        }

    return figures


def _logistic(x: Floats, offset: Floats, y: Floats) -> Floats:
    """(K,) coefficients of a logistic regression of (N,) {0, 1} on (N, K); NaN where there is no best one."""
    found = np.zeros(x.shape[1])
    if not 0 < y.mean() < 1 or (x.shape[1] > 1 and _separated(x[:, 1], y)):
        return np.full(x.shape[1], np.nan)
    for _ in range(100):
        gradient, curvature = _derivatives(x, offset, y, found)
        step = np.linalg.lstsq(curvature.sum(0).reshape(len(found), -1), gradient.sum(0), rcond=None)[0]
        found = found + np.clip(step, -2, 2)  # far from the solution a whole step overshoots
        if np.abs(step).max() < 1e-10:
            return np.asarray(found, np.float64)
    return np.full(x.shape[1], np.nan)


def _separated(x: Floats, y: Floats) -> bool:
    positive, negative = x[y == 1], x[y == 0]
    return bool(positive.min() >= negative.max() or positive.max() <= negative.min())


def _derivatives(x: Floats, offset: Floats, y: Floats, coefficients: Floats) -> tuple[Floats, Floats]:
    """Each image's (N, K) gradient and (N, K²) curvature of the log-likelihood."""
    p = 1 / (1 + np.exp(-np.clip(x @ coefficients + offset, -500, 500)))
    curvature = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1) * (p * (1 - p))[:, None]
    return x * (y - p)[:, None], curvature


def _stepped(weights: Weights, x: Floats, offset: Floats, y: Floats, start: Floats) -> Floats:
    """(B, K) coefficients, one Newton step from `start` on images that count `weights` times."""
    if np.isnan(start).any():
        return np.full((len(weights), len(start)), np.nan)
    gradient, curvature = _derivatives(x, offset, y, start)
    size = len(start)
    steps = (weights @ gradient.astype(np.float32)).astype(np.float64)
    curves = (weights @ curvature.astype(np.float32)).astype(np.float64).reshape(-1, size, size)
    solvable = np.linalg.cond(curves) < 1e12
    found = np.full((len(weights), size), np.nan)
    found[solvable] = start + np.linalg.solve(curves[solvable], steps[solvable][..., None])[..., 0]
    return found


def _softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    shares: Floats = raised / raised.sum(1, keepdims=True)
    return shares
