"""Confidence intervals by resampling patients: images of one patient are no independent evidence.

Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile interval); resampling of whole
patients is the cluster bootstrap (Field and Welsh 2007, 10.1111/j.1467-9868.2007.00593.x).
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

Weighted = Callable[[npt.NDArray[np.float32]], Mapping[str, npt.NDArray[np.floating]]]
"""Figures by name, each (B,), of images that count (B, N) times; NaN where a figure is undefined."""

AT_ONCE = 4_000_000  # weights in memory, of each thread
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Interval(NamedTuple):
    """A figure and its 95 % interval; `low` and `high` are NaN where fewer than half of the resamples define it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "undefined"
        return f"{self.value:.3f}" if math.isnan(self.low) else f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


def intervals(
    figures: Weighted,
    patients: Sequence[str] | npt.NDArray[np.generic],
    *,
    resamples: int = 10_000,
    seed: int = 0,
    threads: int | None = None,
) -> dict[str, Interval]:
    """Each of `figures` on all images, with its 95 % percentile interval over resampled patients.

    `patients` (N,) names the patient of each image. As many patients as there are drawn with replacement, each with
    all of their images. The same seed gives the same intervals whatever the number of `threads`, by default one a core.
    """
    values = figures(np.ones((1, len(patients)), np.float32))
    resampled = resampled_figures(figures, patients, resamples=resamples, seed=seed, threads=threads)
    return {name: interval(float(values[name][0]), drawn) for name, drawn in resampled.items()}


def resampled_figures(
    figures: Weighted,
    patients: Sequence[str] | npt.NDArray[np.generic],
    *,
    resamples: int = 10_000,
    seed: int = 0,
    threads: int | None = None,
) -> dict[str, Floats]:
    """Each of `figures` in each resample, (resamples,): the raw material of intervals and of paired differences."""
    codes, names = pd.factorize(np.asarray(patients))
    size = max(1, min(resamples, AT_ONCE // max(1, len(codes))))
    starts = range(0, resamples, size)

    def chunk(start: int) -> Mapping[str, npt.NDArray[np.floating]]:
        count = min(size, resamples - start)
        rng = np.random.default_rng([seed, start])
        drawn = rng.integers(len(names), size=(count, len(names)))
        drawn += np.arange(count)[:, None] * len(names)
        weights = np.bincount(drawn.ravel(), minlength=count * len(names)).reshape(count, len(names))
        return figures(weights.astype(np.float32)[:, codes])

    with ThreadPoolExecutor(threads or CORES) as pool:
        parts = list(pool.map(chunk, starts))
    return {name: np.concatenate([np.asarray(part[name], np.float64) for part in parts]) for name in parts[0]}


def together(*parts: Weighted) -> Weighted:
    """All the figures of several, on the same resamples."""

    def figures(weights: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.floating]]:
        return {name: values for part in parts for name, values in part(weights).items()}

    return figures


def interval(value: float, drawn: Floats, patients: int | None = None) -> Interval:
    """The 2.5th and 97.5th percentile of the resamples that define the figure, around its `value` on all images.

    A share of 0 or 1 comes out the same in every resample, as if it were certain: where the number of `patients` is
    given that it is a share of, it gets the exact interval (Clopper and Pearson 1934, 10.1093/biomet/26.4.404).
    """
    defined = drawn[np.isfinite(drawn)]
    if math.isnan(value) or 2 * len(defined) < len(drawn):
        return Interval(value, math.nan, math.nan)
    if patients and value in (0.0, 1.0) and (defined == value).all():
        least = 0.025 ** (1 / patients)
        return Interval(value, *((least, 1.0) if value else (0.0, 1 - least)))
    low, high = np.percentile(defined, [2.5, 97.5])
    return Interval(value, float(low), float(high))
