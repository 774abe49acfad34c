"""Intervals by patient: against a formula, and what resampling whole patients must do."""

import math

import numpy as np
import pytest

from pulmo.metrics.bootstrap import Interval, interval, intervals, resampled, together
from pulmo.metrics.weighted import BinaryFigures, Ratios


def _scores(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.3).astype(np.int64)
    return np.round(1 / (1 + np.exp(-rng.normal(size=count) - 1.5 * labels)), 2), labels  # rounded: ties


def _mean(values: np.ndarray):
    return lambda weights: {"mean": (weights @ values) / weights.sum(1)}


def test_intervals__of_a_mean_are_those_of_the_normal_approximation() -> None:
    values = np.random.default_rng(1).normal(size=400)
    found = intervals(_mean(values), np.arange(400).astype(str), resamples=4000)["mean"]
    error = 1.96 * values.std(ddof=1) / math.sqrt(400)
    assert found.value == pytest.approx(values.mean(), abs=1e-6)
    assert (found.low, found.high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.01)


def test_intervals__copies_of_an_image_under_one_patient_add_no_evidence() -> None:
    values = np.random.default_rng(2).normal(size=100)
    patients = np.arange(100).astype(str)
    once = intervals(_mean(values), patients, resamples=2000)["mean"]
    thrice = intervals(_mean(np.repeat(values, 3)), np.repeat(patients, 3), resamples=2000)["mean"]
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), abs=1e-6)
    strangers = intervals(_mean(np.repeat(values, 3)), np.arange(300).astype(str), resamples=2000)["mean"]
    assert strangers.high - strangers.low < 0.7 * (once.high - once.low)


def test_intervals__are_the_same_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulmo.metrics.bootstrap.AT_ONCE", 5_000)
    scores, labels = _scores(100)
    patients = np.arange(100).astype(str)
    one, four = (intervals(BinaryFigures(scores, labels), patients, resamples=300, threads=n) for n in (1, 4))
    assert str(one) == str(four)


def test_resampled__of_two_networks_share_their_resamples() -> None:
    values, patients = np.random.default_rng(3).normal(size=50), np.arange(50).astype(str)
    first = resampled(_mean(values), patients, resamples=200).drawn["mean"]
    second = resampled(_mean(values + 1), patients, resamples=200).drawn["mean"]
    np.testing.assert_allclose(second - first, 1, atol=1e-5)


def test_resampled__no_chunk_draws_what_another_has_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulmo.metrics.bootstrap.AT_ONCE", 500)  # ten resamples at once
    values = np.random.default_rng(4).normal(size=50)
    drawn = resampled(_mean(values), np.arange(50), resamples=200).drawn["mean"]
    assert len(np.unique(drawn)) == 200


def test_resampled__an_image_without_a_patient_is_refused() -> None:
    with pytest.raises(ValueError, match="let each count as its own"):
        resampled(_mean(np.ones(3)), np.array(["a", None, "b"], object), resamples=10)


def test_intervals__figures_know_which_of_them_are_shares() -> None:
    ones = np.ones(12)
    patients = np.arange(12) // 2
    figures = together(Ratios({"share": (ones, ones)}), Ratios({"rate": (ones, ones)}, shares=False))
    found = intervals(figures, patients, resamples=50)
    assert found["share"] == pytest.approx((1.0, 0.025 ** (1 / 6), 1.0))
    assert math.isnan(found["rate"].low)  # a rate may exceed 1: nothing is known of how far


def test_derived__is_made_in_each_resample() -> None:
    values = np.random.default_rng(5).normal(size=40)
    found = resampled(_mean(values), np.arange(40), resamples=50).derived(lambda of: {"double": 2 * of["mean"]})
    np.testing.assert_allclose(found.drawn["double"], 2 * found.drawn["mean"])
    assert found.values["double"] == pytest.approx(2 * values.mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("value", "drawn", "said"),
    [
        (math.nan, [0.1, 0.2], "undefined"),
        (0.5, [0.4, math.nan, math.nan], "0.500"),  # an interval of the lucky third would be none
        (1.0, [1.0] * 10, "1.000"),  # an AUROC without an error: no resample tells how sure it is
    ],
)
def test_interval__says_what_is_not_known(value: float, drawn: list[float], said: str) -> None:
    assert str(interval(value, np.array(drawn))) == said


def test_interval__reads_as_in_a_paper() -> None:
    assert str(Interval(0.93449, 0.9121, 0.955)) == "0.934 (0.912–0.955)"
    assert str(Interval(-2, -2.3413, -1.785)) == "−2.000 (−2.341 to −1.785)"
    assert str(Interval(0.1, -0.2, 0.4)) == "0.100 (−0.200 to 0.400)"


def test_interval__of_a_share_of_none_is_never_certain_for_a_few_odd_resamples() -> None:
    drawn = np.zeros(1000)
    drawn[:5] = 0.1  # the percentiles are 0 all the same
    assert interval(0.0, drawn, patients=10) == pytest.approx((0.0, 0.0, 1 - 0.025**0.1))
    assert math.isnan(interval(0.0, drawn).low)


def test_intervals__of_a_single_patient_are_not_known() -> None:
    values = np.random.default_rng(4).normal(size=50)
    found = intervals(_mean(values), ["p"] * 50, resamples=20)["mean"]
    assert found.value == pytest.approx(values.mean(), abs=1e-6)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
