import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from pulmo.metrics.classification import (
    binary_metrics,
    multiclass_metrics,
    scores_of,
)


def test_binary__by_hand() -> None:
    scores = torch.tensor([0.9, 0.8, 0.7, 0.3, 0.2], dtype=torch.float64)
    figures = binary_metrics(scores, torch.tensor([1, 0, 1, 1, 0]), {"": 0.7, "@0.25": 0.25})
    assert figures["auroc"] == pytest.approx(4 / 6)  # of six pairs two are the wrong way round
    assert (figures["true_positives"], figures["false_positives"]) == (2, 1)  # score = cut-off is positive
    assert figures["sensitivity"] == pytest.approx(2 / 3)
    assert figures["specificity"] == pytest.approx(1 / 2)
    assert figures["precision"] == pytest.approx(2 / 3)
    assert figures["accuracy"] == pytest.approx(3 / 5)
    assert figures["f1"] == pytest.approx(2 / 3)
    assert figures["sensitivity@0.25"] == 1
    assert figures["accuracy@0.25"] == pytest.approx(4 / 5)


@pytest.mark.parametrize("seed", range(5))
def test_binary__agrees_with_sklearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=200)
    scores = np.round(rng.random(200), 2)
    figures = binary_metrics(torch.tensor(scores), torch.tensor(labels), {"": 0.4})
    called = scores >= 0.4
    assert figures["auroc"] == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-6)
    assert figures["average_precision"] == pytest.approx(sk.average_precision_score(labels, scores), abs=1e-6)
    assert figures["precision"] == pytest.approx(sk.precision_score(labels, called))
    assert figures["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, called))


def test_binary__what_has_no_denominator_is_nan_not_nought() -> None:
    figures = binary_metrics(torch.tensor([0.1, 0.2]), torch.tensor([0, 0]), {"": 0.5})
    undefined = ("auroc", "average_precision", "precision", "sensitivity", "f1")
    assert all(math.isnan(figures[name]) for name in undefined)
    assert figures["specificity"] == 1


def test_multiclass__agrees_with_sklearn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=120)
    probabilities = rng.dirichlet([1, 1, 1], size=120)
    figures = multiclass_metrics(torch.tensor(probabilities), torch.tensor(labels), ["a", "b", "c"])
    called = probabilities.argmax(1)
    assert figures["auroc"] == pytest.approx(sk.roc_auc_score(labels, probabilities, multi_class="ovr"), abs=1e-6)
    assert figures["accuracy"] == pytest.approx(sk.accuracy_score(labels, called))
    assert figures["f1"] == pytest.approx(sk.f1_score(labels, called, average="macro"))
    assert figures["sensitivity/b"] == pytest.approx(sk.recall_score(labels, called, average=None)[1])


def test_scores__keep_the_order_of_confident_logits() -> None:
    scores = scores_of(torch.tensor([[20.0], [25.0], [30.0]]))
    assert scores.unique().numel() == 3  # in single precision all three would be 1.0
