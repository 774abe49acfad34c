import logging

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_curve

from pulmo.errors import ConfigError
from pulmo.thresholds import BestF1, Fixed, TargetSensitivity, Youden

# Falling scores and labels: + + - + - + - -
SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.1])
LABELS = np.array([1, 1, 0, 1, 0, 1, 0, 0])


def test_youden__by_hand() -> None:
    # Sensitivity - false-positive rate: 1/4, 2/4, 1/4, 2/4, 1/4, 2/4, 1/4, 0; of the equal bests the lowest cut-off.
    assert Youden().fit(SCORES, LABELS) == pytest.approx((0.4 + 0.3) / 2)


def test_best_f1__by_hand() -> None:
    # 2 TP / (P + TP + FP): 0.4, 0.667, 0.571, 0.75, 0.667, 0.8, ...: four of six called positive are.
    assert BestF1().fit(SCORES, LABELS) == pytest.approx((0.4 + 0.3) / 2)


@pytest.mark.parametrize(("target", "cut"), [(0.25, 0.85), (0.5, 0.75), (0.6, 0.55), (0.75, 0.55), (1.0, 0.35)])
def test_target_sensitivity__is_the_highest_cut_off_that_reaches_it(target: float, cut: float) -> None:
    assert TargetSensitivity(target).fit(SCORES, LABELS) == pytest.approx(cut)


@pytest.mark.parametrize("seed", range(20))
def test_policies__reach_the_best_that_any_cut_off_reaches(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=60)
    scores = np.round(np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 2)  # with ties
    rate, sensitivity, _ = roc_curve(labels, scores, drop_intermediate=False)
    called = scores >= Youden().fit(scores, labels)
    assert called[labels == 1].mean() - called[labels == 0].mean() == pytest.approx((sensitivity - rate).max())
    best = max(f1_score(labels, scores >= cut) for cut in np.unique(scores))
    assert f1_score(labels, scores >= BestF1().fit(scores, labels)) == pytest.approx(best)


def test_fixed__ignores_the_scores() -> None:
    assert Fixed(0.25).fit(SCORES, LABELS) == 0.25


@pytest.mark.parametrize("policy", [Youden(), BestF1(), TargetSensitivity(0.9)])
def test_one_class_alone__falls_to_a_half_and_says_so(policy: Youden, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert policy.fit(SCORES, np.ones(8, int)) == 0.5
    assert "one class alone" in caplog.text


def test_cut_off__lies_between_scores_so_that_rounding_changes_no_decision() -> None:
    cut = Youden().fit(SCORES, LABELS)
    assert np.array_equal(SCORES.astype(np.float32) >= cut, cut <= SCORES)
    assert np.abs(SCORES - cut).min() > 0.01


@pytest.mark.parametrize("make", [lambda: Fixed(1.5), lambda: TargetSensitivity(0.0), lambda: TargetSensitivity(1.1)])
def test_values_out_of_range__are_refused(make: type) -> None:
    with pytest.raises(ConfigError, match="threshold"):
        make()
