"""Figures of images that count several times, against scikit-learn's with the images repeated."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, brier_score_loss, f1_score, roc_auc_score

from pulmo.metrics.weighted import BinaryFigures, MulticlassFigures, Ratios

rng = np.random.default_rng(0)
LABELS = rng.integers(0, 2, 60)
SCORES = np.round(np.clip(rng.normal(0.35 + 0.2 * LABELS, 0.2), 0, 1), 1)  # many equal ones
WEIGHTS = rng.integers(0, 4, (5, 60)).astype(np.float32)


@pytest.mark.parametrize("row", range(5))
def test_binary_figures__are_those_of_repeated_images(row: int) -> None:
    figures = BinaryFigures(SCORES, LABELS, {"": 0.4})(WEIGHTS)
    again = WEIGHTS[row].astype(int)
    labels, scores = np.repeat(LABELS, again), np.repeat(SCORES, again)
    expected = {
        "auroc": roc_auc_score(labels, scores),
        "average_precision": average_precision_score(labels, scores),
        "brier": brier_score_loss(labels, scores),
        "accuracy": accuracy_score(labels, scores >= 0.4),
        "f1": f1_score(labels, scores >= 0.4),
    }
    for name, value in expected.items():
        assert figures[name][row] == pytest.approx(value, abs=1e-6), name


def test_binary_figures__are_undefined_where_a_class_counts_nothing() -> None:
    figures = BinaryFigures(SCORES, LABELS, {"": 0.4})(LABELS[None].astype(np.float32))
    assert np.isnan(figures["auroc"][0])
    assert np.isnan(figures["specificity"][0])
    assert np.isfinite(figures["sensitivity"][0])


def test_binary_figures__of_one_class_alone_are_undefined_and_do_not_break() -> None:
    figures = BinaryFigures(np.array([0.2, 0.7]), np.array([0, 0]), {"": 0.5})(np.ones((1, 2), np.float32))
    assert np.isnan(figures["auroc"][0])
    assert np.isnan(figures["average_precision"][0])
    assert figures["specificity"][0] == 0.5


def test_multiclass_figures__are_those_of_repeated_images() -> None:
    labels = rng.integers(0, 3, 80)
    raw = rng.random((80, 3)) + np.eye(3)[labels] * 0.6
    probabilities = raw / raw.sum(1, keepdims=True)
    weights = rng.integers(0, 3, (2, 80)).astype(np.float32)
    figures = MulticlassFigures(probabilities, labels, ("a", "b", "c"))(weights)
    again = weights[1].astype(int)
    truth, given = np.repeat(labels, again), np.repeat(probabilities, again, axis=0)
    assert figures["auroc"][1] == pytest.approx(roc_auc_score(truth, given, multi_class="ovr"), abs=1e-6)
    assert figures["auroc/b"][1] == pytest.approx(roc_auc_score(truth == 1, given[:, 1]), abs=1e-6)
    assert figures["f1"][1] == pytest.approx(f1_score(truth, given.argmax(1), average="macro"), abs=1e-6)
    assert figures["accuracy"][1] == pytest.approx(accuracy_score(truth, given.argmax(1)), abs=1e-6)


def test_ratios__is_one_weighted_sum_by_another_and_knows_its_patients() -> None:
    found = Ratios({"share": (np.array([1.0, 0, 0]), np.array([1.0, 1, 0]))})
    weights = np.array([[1, 1, 1], [3, 1, 7], [0, 0, 2]], np.float32)
    np.testing.assert_allclose(found(weights)["share"], [0.5, 0.75, np.nan])
    assert found.evidence(np.array(["p", "p", "q"])) == {"share": 1}
