"""By how much logits would have to be stretched and shifted to be right.

Van Calster et al., Calibration: the Achilles heel of predictive analytics, 2019 (10.1186/s12916-019-1466-7): slope and
calibration in the large.
"""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from pulmo.metrics.bootstrap import Floats, Weighted
from pulmo.metrics.weighted import Weights

SMALLEST = 1e-12
"""Scores of 0 and 1 have no logit."""


def recalibration(scores: Floats, labels: npt.NDArray[np.int64]) -> Weighted:
    """Slope, and intercept at slope 1, of a logistic regression of (N,) labels {0, 1} on the logits of (N,) scores.

    In a resample both take one Newton step from those of all images (Moulton and Zeger, Bootstrapping generalized
    linear models, 1991), which is a weighted sum rather than ten thousand fits. NaN where the classes are separated.
    """
    p = np.clip(scores, SMALLEST, 1 - SMALLEST)
    logit, y = np.log(p / (1 - p)), labels.astype(np.float64)
    spread = float(logit.std()) or 1.0  # about their mean and by their spread: narrow scores would be ill-conditioned
    both, offset = np.column_stack([np.ones_like(logit), (logit - logit.mean()) / spread]), np.ones((len(y), 1))
    line, shift = _logistic(both, np.zeros_like(y), y), _logistic(offset, logit, y)

    def figures(weights: Weights) -> dict[str, Floats]:
        return {
            "calibration/slope": _stepped(weights, both, np.zeros_like(y), y, line)[:, 1] / spread,
            "calibration/in_the_large": _stepped(weights, offset, logit, y, shift)[:, 0],
        }

    return figures


def _logistic(x: Floats, offset: Floats, y: Floats) -> Floats:
    """(K,) coefficients of a logistic regression of (N,) {0, 1} on (N, K); NaN where there is no best one."""
    nothing = np.full(x.shape[1], np.nan)
    if not 0 < y.mean() < 1 or (x.shape[1] > 1 and (np.ptp(x[:, 1]) == 0 or _separated(x[:, 1], y))):
        return nothing

    def loss(found: Floats) -> float:
        return float(np.logaddexp(0, (1 - 2 * y) * (x @ found + offset)).mean())

    def gradient(found: Floats) -> Floats:
        return np.asarray(-_derivatives(x, offset, y, found)[0].mean(0), np.float64)

    def curvature(found: Floats) -> Floats:
        return np.asarray(_derivatives(x, offset, y, found)[1].mean(0).reshape(len(found), -1), np.float64)

    start = np.zeros(x.shape[1])
    found = minimize(loss, start, jac=gradient, hess=curvature, method="trust-exact", options={"gtol": 1e-9})
    return np.asarray(found.x, np.float64) if np.abs(found.jac).max() < 1e-6 else nothing


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
