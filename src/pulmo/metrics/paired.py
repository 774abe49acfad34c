"""Two runs on the same images: is the difference between their figures more than chance?

DeLong's test is of DeLong, DeLong and Clarke-Pearson 1988 (10.2307/2531595), computed by the midranks of Sun and Xu
2014 (10.1109/LSP.2014.2337313); McNemar's of McNemar 1947 (10.1007/BF02295996), corrected for continuity as Edwards
1948 does (10.1007/BF02289261). Both take images for independent; the bootstrap by patient does not, and takes any
figure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from pulmo.metrics.bootstrap import Floats, Interval, Resampled, interval

Z_95 = 1.959963984540054


@dataclass(frozen=True)
class DeLong:
    """The areas under two ROC curves on the same images, and the test of their being equal (two-sided, normal).

    `difference` is first minus second with its 95 % Wald interval. Where it has no variance, as of a run with itself,
    `z` is NaN, and `p` 1 if the areas are equal and NaN if not.
    """

    areas: tuple[float, float]
    difference: Interval
    z: float
    p: float


@dataclass(frozen=True)
class McNemar:
    """The images that only the first, and only the second, of two runs decides rightly, and the test of their being as
    many: `p` exact (binomial, two-sided), `corrected` by chi-square with continuity correction.
    """

    only_first: int
    only_second: int
    p: float
    corrected: float


def delong(first: npt.ArrayLike, second: npt.ArrayLike, labels: npt.ArrayLike) -> DeLong:
    """DeLong's test for (N,) scores of two runs on the same images with (N,) labels {0, 1}.

    Raises ValueError on fewer than two images of a class: a variance needs two.
    """
    areas, covariance = auroc_covariance([np.asarray(first, float), np.asarray(second, float)], np.asarray(labels))
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    both = (float(areas[0]), float(areas[1]))
    if variance <= 1e-15:  # rounding leaves some of what cancels
        p = 1.0 if math.isclose(difference, 0, abs_tol=1e-12) else math.nan
        return DeLong(both, Interval(difference, math.nan, math.nan), math.nan, p)
    error = math.sqrt(variance)
    spread = Interval(difference, difference - Z_95 * error, difference + Z_95 * error)
    return DeLong(both, spread, difference / error, math.erfc(abs(difference / error) / math.sqrt(2)))


def auroc_covariance(scores: Sequence[Floats], labels: npt.NDArray[np.generic]) -> tuple[Floats, Floats]:
    """(K,) areas under the ROC curves of K runs' (N,) scores, and their (K, K) covariance, in O(K N log N)."""
    positive = labels == 1
    many, few = int(positive.sum()), int((~positive).sum())
    if min(many, few) < 2:
        raise ValueError(f"{many} positive and {few} negative images: DeLong's test needs two of each")
    of_positives, of_negatives = [], []
    for values in scores:
        pooled = _midranks(values)
        of_positives.append((pooled[positive] - _midranks(values[positive])) / few)
        of_negatives.append(1 - (pooled[~positive] - _midranks(values[~positive])) / many)
    areas = np.asarray([part.mean() for part in of_positives])
    covariance = np.atleast_2d(np.cov(of_positives)) / many + np.atleast_2d(np.cov(of_negatives)) / few
    return areas, covariance


def _midranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place], float)


def mcnemar(first_right: npt.ArrayLike, second_right: npt.ArrayLike) -> McNemar:
    """McNemar's test for (N,) booleans: whether each run decided each image rightly."""
    first, second = np.asarray(first_right, bool), np.asarray(second_right, bool)
    one, other = int((first & ~second).sum()), int((second & ~first).sum())
    count = one + other
    if count == 0:
        return McNemar(0, 0, 1.0, 1.0)
    chi_square = max(0, abs(one - other) - 1) ** 2 / count
    return McNemar(one, other, float(binomtest(one, count).pvalue), math.erfc(math.sqrt(chi_square / 2)))


def paired_differences(first: Resampled, second: Resampled, *, same: bool = False) -> dict[str, Interval]:
    """First minus second of each figure that both runs have, with its 95 % interval.

    Both are of `bootstrap.resampled` with the same seed and the same patients in the same order, so that the n-th
    resample is of the same images. Of a run with itself, `same`, all is 0 (0–0). Runs that differ and yet come out
    alike in every resample, such as by deciding alike, have no interval: nothing tells how far they may lie apart.
    """
    found = {}
    for name in (name for name in first.values if name in second.values):
        apart = first.drawn[name] - second.drawn[name]
        value = first.values[name] - second.values[name]
        found[name] = Interval(0.0, 0.0, 0.0) if same and not math.isnan(value) else interval(value, apart)
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for being many (Holm 1979, Scand. J. Statist. 6:65); NaN stays, and is not counted."""
    order = sorted((place for place, p in enumerate(p_values) if not math.isnan(p)), key=lambda place: p_values[place])
    adjusted, largest = list(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
