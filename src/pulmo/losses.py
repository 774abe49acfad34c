"""Losses: logits and labels, or masks, to one number. Those of masks are segmentation-models-pytorch's."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pulmo.errors import ConfigError


class ClassificationLoss(nn.Module):
    """Cross entropy, binary for one logit, over K classes for K logits.

    `class_weights`, one a class, weigh each image by its class; the mean is over weights, so that they change
    the balance of the classes and not the size of the step. "balanced" waits for `balance`, which takes them
    from the training images. `label_smoothing` moves that share of the target
    to the uniform distribution (Szegedy et al. 2016, arXiv 1512.00567).
    """

    def __init__(
        self,
        class_weights: Sequence[float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"model.loss.label_smoothing={label_smoothing}: at least 0, below 1")
        self.label_smoothing = label_smoothing
        if isinstance(class_weights, str) and class_weights != "balanced":
            raise ConfigError(f"model.loss.class_weights={class_weights}: balanced, null, or a list such as [2.89,1]")
        self.wants_balance = class_weights == "balanced"
        weights = None if class_weights is None or self.wants_balance else torch.tensor(list(class_weights)).float()
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", weights, persistent=False)

    def check(self, classes: int) -> None:
        """Raise `ConfigError` if there are more or fewer weights than classes."""
        if self.class_weights is not None and len(self.class_weights) != classes:
            raise ConfigError(
                f"model.loss.class_weights has {len(self.class_weights)} values for {classes} classes: "
                "give one a class, in the order of the labels"
            )

    def balance(self, counts: Sequence[int]) -> None:
        """Derive the weights from the classes' numbers of training images, where they are to be balanced."""
        if self.wants_balance:
            self.class_weights = torch.tensor(balanced_weights(counts))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(B, 1) or (B, K) float logits and (B,) int64 labels to a scalar."""
        if logits.shape[1] > 1:
            each = F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)
        else:
            targets = labels.to(logits.dtype) * (1 - self.label_smoothing) + self.label_smoothing / 2
            each = F.binary_cross_entropy_with_logits(logits[:, 0], targets, reduction="none")
        if self.class_weights is None:
            return each.mean()
        weights = self.class_weights.to(each.dtype)[labels]
        return (weights * each).sum() / weights.sum()


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """Weights that give every class the same say: images / (classes × images of the class).

    Raises `ConfigError` if a class has no image.
    """
    if min(counts) == 0:
        raise ConfigError(f"model.class_weights=balanced: a class has no training image (counts {list(counts)})")
    return [sum(counts) / (len(counts) * count) for count in counts]


class SumOfLosses(nn.Module):
    """The weighted sum of `losses`, such as binary cross entropy + soft Dice."""

    def __init__(self, losses: Sequence[nn.Module], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.losses = nn.ModuleList(losses)
        self.weights = [1.0] * len(self.losses) if weights is None else list(weights)
        if len(self.weights) != len(self.losses):
            raise ConfigError(f"model.loss.weights has {len(self.weights)} values for {len(self.losses)} losses")

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """(B, 1, H, W) float logits and (B, 1, H, W) float masks {0, 1} to a scalar."""
        return torch.stack([w * loss(logits, masks) for w, loss in zip(self.weights, self.losses, strict=True)]).sum()
