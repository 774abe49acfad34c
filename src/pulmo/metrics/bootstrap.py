"""Confidence intervals by resampling patients: images of one patient are no independent evidence.

Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile interval); resampling of whole
patients is the cluster bootstrap (Field and Welsh 2007, 10.1111/j.1467-9868.2007.00593.x).
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

Weighted = Callable[[npt.NDArray[np.float32]], Mapping[str, npt.NDArray[np.floating]]]
"""Figures by name, each (B,), of images that count (B, N) times; NaN where a figure is undefined."""

AT_ONCE = 4_000_000  # weights in memory, of each thread
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Interval(NamedTuple):
    """A figure and its 95 % interval; `low` and `high` are NaN where resamples do not tell one, see `interval`."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Such as `0.934 (0.912–0.955)`, or `−0.012 (−0.030 to 0.004)`: a dash would not be told from a minus."""
        if math.isnan(self.value):
            return "undefined"
        value, low, high = (f"{number:.3f}".replace("-", "−") for number in self)
        if math.isnan(self.low):
            return value
        return f"{value} ({low} to {high})" if "−" in value + low + high else f"{value} ({low}–{high})"


@runtime_checkable
class Shares(Protocol):
    """Figures some of which are shares of images, or means over images of what lies between 0 and 1."""

    def evidence(self, patients: npt.NDArray[np.generic]) -> dict[str, int]:
        """Name of each such figure → how many of the (N,) patients it is of."""


@dataclass(frozen=True)
class Resampled:
    """Figures on all images, and each of them in every resample of the patients, (resamples,); NaN where undefined.

    shares  name → how many patients a figure is a share of
    """

    values: dict[str, float]
    drawn: dict[str, Floats]
    shares: dict[str, int] = field(default_factory=dict)

    def intervals(self) -> dict[str, Interval]:
        """Each figure with its 95 % interval, see `interval`."""
        return {name: interval(value, self.drawn[name], self.shares.get(name)) for name, value in self.values.items()}

    def derived(self, derive: Callable[[Mapping[str, Floats]], Mapping[str, Floats]]) -> "Resampled":
        """With the figures that `derive` makes of those that there are, in each resample."""
        whole = derive({name: np.array([value]) for name, value in self.values.items()})
        values = self.values | {name: float(value[0]) for name, value in whole.items()}
        return Resampled(values, self.drawn | dict(derive(self.drawn)), self.shares)


def intervals(
    figures: Weighted,
    patients: Sequence[str] | npt.NDArray[np.generic],
    *,
    resamples: int = 10_000,
    seed: int = 0,
    threads: int | None = None,
) -> dict[str, Interval]:
    """Each of `figures` on all images, with its 95 % interval over resampled patients; see `resampled`."""
    return resampled(figures, patients, resamples=resamples, seed=seed, threads=threads).intervals()


def resampled(
    figures: Weighted,
    patients: Sequence[str] | npt.NDArray[np.generic],
    *,
    resamples: int = 10_000,
    seed: int = 0,
    threads: int | None = None,
) -> Resampled:
    """Each of `figures` on all images and in every resample: the raw material of intervals and of paired differences.

    `patients` (N,) names the patient of each image. As many patients as there are drawn with replacement, each with
    all of their images; NaN where there are fewer than two, since how much patients differ cannot be told from one.
    The same seed gives the same resamples whatever the number of `threads`, by default one a core. Raises ValueError
    for a patient that is none.
    """
    people = np.asarray(patients)
    codes, names = pd.factorize(people)
    if (codes < 0).any():
        raise ValueError("an image without a patient: let each count as its own")
    whole = figures(np.ones((1, len(codes)), np.float32))
    values = {name: float(value[0]) for name, value in whole.items()}
    shares = _evidence(figures, people)
    if len(names) < 2:
        return Resampled(values, {name: np.full(resamples, np.nan) for name in values}, shares)
    size = max(1, min(resamples, AT_ONCE // max(1, len(codes))))

    def chunk(start: int) -> Mapping[str, npt.NDArray[np.floating]]:
        count = min(size, resamples - start)
        rng = np.random.default_rng([seed, start])
        drawn = rng.integers(len(names), size=(count, len(names)))
        drawn += np.arange(count)[:, None] * len(names)
        weights = np.bincount(drawn.ravel(), minlength=count * len(names)).reshape(count, len(names))
        return figures(weights.astype(np.float32)[:, codes])

    with ThreadPoolExecutor(threads or CORES) as pool:
        parts = list(pool.map(chunk, range(0, resamples, size)))
    drawn = {name: np.concatenate([np.asarray(part[name], np.float64) for part in parts]) for name in values}
    return Resampled(values, drawn, shares)


@dataclass(frozen=True)
class Together:
    """All the figures of several, on the same resamples."""

    parts: tuple[Weighted, ...]

    def __call__(self, weights: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.floating]]:
        """(B, N) weights to (B,) values of each figure; of two of one name the later."""
        return {name: values for part in self.parts for name, values in part(weights).items()}

    def evidence(self, patients: npt.NDArray[np.generic]) -> dict[str, int]:
        """That of the parts that have such."""
        return {name: count for part in self.parts for name, count in _evidence(part, patients).items()}


def together(*parts: Weighted) -> Together:
    """All the figures of several, on the same resamples."""
    return Together(parts)


def _evidence(figures: object, patients: npt.NDArray[np.generic]) -> dict[str, int]:
    return figures.evidence(patients) if isinstance(figures, Shares) else {}


def interval(value: float, drawn: Floats, patients: int | None = None) -> Interval:
    """The 2.5th and 97.5th percentile of the resamples that define the figure, around its `value` on all images.

    A figure of 0 or 1 that comes out the same in nearly every resample, such as an AUROC without an error, is not
    certain for that: it has no interval. A share has the exact one (Clopper and Pearson 1934, 10.1093/biomet/26.4.404),
    where the number of `patients` is given that it is a share of. A figure that fewer than half of the resamples define
    has none either.
    """
    defined = drawn[np.isfinite(drawn)]
    if math.isnan(value) or 2 * len(defined) < len(drawn):
        return Interval(value, math.nan, math.nan)
    low, high = (float(end) for end in np.percentile(defined, [2.5, 97.5]))
    if value in (0.0, 1.0) and low == high == value:
        if not patients:
            return Interval(value, math.nan, math.nan)
        least = 0.025 ** (1 / patients)
        return Interval(value, *((least, 1.0) if value else (0.0, 1 - least)))
    return Interval(value, low, high)
