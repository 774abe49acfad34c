import math

import pytest
import torch

from pulmo.errors import ConfigError
from pulmo.losses import ClassificationLoss, balanced_weights

LOGITS = torch.tensor([[0.0], [2.0], [-1.0]])
LABELS = torch.tensor([0, 1, 1])
# -log(1 - s(0)), -log s(2), -log s(-1)
EACH = [math.log(2), math.log(1 + math.exp(-2)), math.log(1 + math.exp(1))]


def test_binary__is_the_mean_of_minus_log_likelihoods() -> None:
    assert float(ClassificationLoss()(LOGITS, LABELS)) == pytest.approx(sum(EACH) / 3)


def test_class_weights__weigh_images_by_class_and_keep_the_scale() -> None:
    weighted = (2.89 * EACH[0] + EACH[1] + EACH[2]) / 4.89
    assert float(ClassificationLoss([2.89, 1.0])(LOGITS, LABELS)) == pytest.approx(weighted)


def test_one_logit_and_two__give_the_same_loss() -> None:
    two = torch.cat([torch.zeros_like(LOGITS), LOGITS], dim=1)
    for arguments in ({}, {"class_weights": [3.0, 1.0]}, {"label_smoothing": 0.1}):
        one_logit = ClassificationLoss(**arguments)(LOGITS, LABELS)
        assert float(ClassificationLoss(**arguments)(two, LABELS)) == pytest.approx(float(one_logit))


def test_label_smoothing__moves_that_share_to_the_uniform_distribution() -> None:
    loss = ClassificationLoss(label_smoothing=0.2)(torch.tensor([[2.0]]), torch.tensor([1]))
    assert float(loss) == pytest.approx(0.9 * math.log(1 + math.exp(-2)) + 0.1 * math.log(1 + math.exp(2)))


def test_balanced__gives_every_class_the_same_say() -> None:
    loss = ClassificationLoss("balanced")
    loss.balance([1341, 3875])
    assert loss.class_weights is not None
    assert float(loss.class_weights[0] / loss.class_weights[1]) == pytest.approx(2.89, abs=0.005)
    assert balanced_weights([10, 30]) == [2.0, pytest.approx(2 / 3)]


def test_weights__that_fit_no_class_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 values for 2 classes"):
        ClassificationLoss([1.0, 2.0, 3.0]).check(classes=2)
    with pytest.raises(ConfigError, match="balanced, null, or a list"):
        ClassificationLoss("equal")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no training image"):
        balanced_weights([0, 4])
