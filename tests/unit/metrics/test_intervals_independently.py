"""Intervals, against scipy's own bootstrap and a plain loop that repeats patients."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from pulmo.metrics.bootstrap import interval, intervals
from pulmo.metrics.weighted import BinaryFigures, Ratios

rng = np.random.default_rng(1)


def _cohort(patients: int, images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    names = np.repeat(np.arange(patients), images)
    labels = np.repeat(rng.integers(0, 2, patients), images)
    shift = np.repeat(rng.normal(0, 0.15, patients), images)  # images of a patient resemble each other
    return names, labels, np.clip(rng.normal(0.4 + 0.15 * labels + shift, 0.1), 0, 1)


def test_intervals__are_those_of_scipy_where_each_image_is_a_patient() -> None:
    values = rng.random(80)
    ours = intervals(Ratios({"mean": (values, np.ones(80))}), np.arange(80), resamples=20_000)["mean"]
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    assert ours.value == pytest.approx(values.mean(), abs=1e-6)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.003)


def test_intervals__are_those_of_a_plain_loop_over_patients() -> None:
    names, labels, scores = _cohort(40, 3)
    drawn, generator = [], np.random.default_rng(5)
    for _ in range(1500):
        chosen = np.concatenate([np.flatnonzero(names == name) for name in generator.integers(0, 40, 40)])
        drawn.append(roc_auc_score(labels[chosen], scores[chosen]))
    ours = intervals(BinaryFigures(scores, labels), names, resamples=10_000)["auroc"]
    assert ours.value == pytest.approx(roc_auc_score(labels, scores))
    assert (ours.low, ours.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.01)
    by_image = intervals(BinaryFigures(scores, labels), np.arange(len(names)), resamples=10_000)["auroc"]
    assert ours.high - ours.low > 1.3 * (by_image.high - by_image.low)


def test_interval__of_a_share_of_one_is_exact_and_never_a_point() -> None:
    found = interval(1.0, np.ones(1000), patients=10)
    expected = scipy.stats.binomtest(10, 10).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    none = interval(0.0, np.zeros(1000), patients=10)
    assert (none.low, none.high) == pytest.approx((1 - expected.high, 1 - expected.low))
