"""The score of the RSNA Pneumonia Detection Challenge 2018, of a split and at every cut-off.

Source: kaggle.com/c/rsna-pneumonia-detection-challenge, page Evaluation.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from pulmo.metrics.detection import Floats, ScoredBoxes, as_array, cut_offs, falling_order, joined, matches

RSNA_IOUS = (0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75)


class RSNAScore(Metric):
    """Mean of `rsna_image_score` over the images that count; NaN where none does.

    All boxes given count as predicted: leave out those below the cut-off before. The states are sums, so
    processes may have uneven shares, but no image twice.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predictions: Sequence[ScoredBoxes], truths: Sequence[Tensor]) -> None:
        """Add images: their predicted boxes with scores, and their true boxes."""
        for (boxes, scores), truth in zip(predictions, truths, strict=True):
            score = rsna_image_score(boxes, scores, truth)
            if not math.isnan(score):
                self.total += score
                self.images += 1

    def compute(self) -> Tensor:
        """() float64."""
        return self.total / self.images


def rsna_image_score(boxes: Tensor, scores: Tensor, truth: Tensor) -> float:
    """Mean over IoU 0.40, 0.45 … 0.75 of TP / (TP + FP + FN), boxes matched as `matches` does.

    Without a true box: 0 if anything is predicted, else NaN, which the challenge leaves out of the mean.
    """
    if not len(boxes):
        return 0.0 if len(truth) else math.nan
    return float(_scores_of_the_first(boxes, scores, truth)[-1])


def rsna_curve(predictions: Sequence[ScoredBoxes], truths: Sequence[Tensor]) -> tuple[Floats, Floats]:
    """Every cut-off that decides differently, falling (`cut_offs`), and the RSNA score with the boxes kept there.

    NaN at cut-offs where no image counts.
    """
    events: list[Floats] = []  # (score of the box, what it changes in its image's score, images that it adds)
    for (boxes, scores), truth in zip(predictions, truths, strict=True):
        event = np.zeros((3, len(boxes)))
        event[0] = np.sort(as_array(scores))[::-1]
        event[1] = np.diff(_scores_of_the_first(boxes, scores, truth), prepend=0.0)
        event[2, :1] = not len(truth)  # an image without a true box counts from its first box on
        events.append(event)
    falling, change, added = (joined(event[row] for event in events) for row in range(3))
    order = falling_order(falling)
    cuts, kept = cut_offs(falling[order])
    total = np.append(0.0, change[order].cumsum())[kept]
    images = np.append(0.0, added[order].cumsum())[kept] + sum(len(truth) > 0 for truth in truths)
    return cuts, total / np.where(images > 0, images, math.nan)


def _scores_of_the_first(boxes: Tensor, scores: Tensor, truth: Tensor) -> Floats:
    """(N,) scores of the image with its 1, 2, … N highest boxes: one matching serves all, since it goes by score."""
    order = falling_order(as_array(scores))
    right = matches(boxes, scores, truth, RSNA_IOUS).numpy()[:, order].cumsum(1)
    predicted = np.arange(1, len(boxes) + 1)
    scores_at: Floats = (right / (predicted + len(truth) - right)).mean(0)  # TP + FP + FN = predicted + missed
    return scores_at
