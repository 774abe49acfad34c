import logging

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_curve

from pulmo.errors import ConfigError
from pulmo.thresholds import (
    BINARY_FIGURES,
    Best,
    Fixed,
    OperatingPoints,
    TargetSensitivity,
    ThresholdPolicy,
    binary_points,
    check,
    counted_points,
)

# Falling scores and labels: + + - + - + - -
SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.1])
LABELS = np.array([1, 1, 0, 1, 0, 1, 0, 0])


def cut_off(policy: ThresholdPolicy, scores: np.ndarray = SCORES, labels: np.ndarray = LABELS) -> float:
    return policy.fit(binary_points(scores, labels)).cut_off


def test_youden__by_hand() -> None:
    # Sensitivity - false-positive rate: 1/4, 2/4, 1/4, 2/4, 1/4, 2/4, 1/4, 0; of the equal bests the lowest cut-off.
    assert cut_off(Best("youden")) == pytest.approx((0.4 + 0.3) / 2)


def test_best_f1__by_hand() -> None:
    # 2 TP / (P + TP + FP): 0.4, 0.667, 0.571, 0.75, 0.667, 0.8, ...: four of six called positive are.
    assert cut_off(Best("f1")) == pytest.approx((0.4 + 0.3) / 2)


@pytest.mark.parametrize(("target", "cut"), [(0.25, 0.85), (0.5, 0.75), (0.6, 0.55), (0.75, 0.55), (1.0, 0.35)])
def test_target_sensitivity__is_the_highest_cut_off_that_reaches_it(target: float, cut: float) -> None:
    assert cut_off(TargetSensitivity(target)) == pytest.approx(cut)


@pytest.mark.parametrize("seed", range(20))
def test_policies__reach_the_best_that_any_cut_off_reaches(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=60)
    scores = np.round(np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 2)  # with ties
    rate, sensitivity, _ = roc_curve(labels, scores, drop_intermediate=False)
    called = scores >= cut_off(Best("youden"), scores, labels)
    assert called[labels == 1].mean() - called[labels == 0].mean() == pytest.approx((sensitivity - rate).max())
    best = max(f1_score(labels, scores >= cut) for cut in np.unique(scores))
    assert f1_score(labels, scores >= cut_off(Best("f1"), scores, labels)) == pytest.approx(best)


def test_fixed__ignores_the_scores() -> None:
    assert cut_off(Fixed(0.25)) == 0.25


@pytest.mark.parametrize("policy", [Best("youden"), Best("f1"), TargetSensitivity(0.9)])
def test_one_class_alone__falls_to_a_half_and_says_so(
    policy: ThresholdPolicy, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert cut_off(policy, labels=np.ones(8, int)) == 0.5
    assert "one class alone" in caplog.text


def test_cut_off__lies_between_scores_so_that_rounding_changes_no_decision() -> None:
    cut = cut_off(Best("youden"))
    assert np.array_equal(SCORES.astype(np.float32) >= cut, cut <= SCORES)
    assert np.abs(SCORES - cut).min() > 0.01


@pytest.mark.parametrize("make", [lambda: Fixed(1.5), lambda: TargetSensitivity(0.0), lambda: TargetSensitivity(1.1)])
def test_values_out_of_range__are_refused(make: type) -> None:
    with pytest.raises(ConfigError, match="threshold"):
        make()


def test_binary_points__by_hand() -> None:
    points = binary_points(np.array([0.9, 0.6, 0.6, 0.2]), np.array([1, 0, 1, 0]))
    np.testing.assert_allclose(points.cuts, [0.75, 0.4, 0.1])
    np.testing.assert_allclose(points.figures["sensitivity"], [0.5, 1, 1])
    np.testing.assert_allclose(points.figures["specificity"], [1, 0.5, 0])
    np.testing.assert_allclose(points.figures["precision"], [1, 2 / 3, 0.5])
    np.testing.assert_allclose(points.figures["youden"], [0.5, 0.5, 0])
    np.testing.assert_allclose(points.figures["f1"], [2 / 3, 4 / 5, 2 / 3])
    assert points.figures.keys() == BINARY_FIGURES


def test_best__passes_over_points_without_the_figure_and_tells_its_merit() -> None:
    points = OperatingPoints(np.array([0.8, 0.5, 0.2]), {"rsna_score": np.array([np.nan, 0.3, 0.1])})
    assert Best("rsna_score").fit(points) == (0.5, 0.3)


def test_check__a_figure_that_the_task_has_not_is_refused_with_those_that_it_has() -> None:
    check(Fixed(0.5), frozenset())
    with pytest.raises(ConfigError, match=r"figure=youden.*f1, rsna_score"):
        check(Best("youden"), frozenset({"f1", "rsna_score"}))


def test_f1__without_a_positive_is_undefined_rather_than_zero() -> None:
    points = counted_points(np.array([0.9, 0.1]), np.array([0, 0]), np.array([0, 3]), 0, 3)
    assert np.isnan(points.figures["f1"]).all()
    assert Best("f1").fit(points).cut_off == 0.5
