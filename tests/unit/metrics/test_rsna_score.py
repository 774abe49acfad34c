import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tests.unit.metrics.test_detection_metrics import NO_TRUTH, NOTHING, SQUARE, scored, split_at_random
from torch import Tensor

from pulmo.metrics.detection import ScoredBoxes
from pulmo.metrics.rsna import RSNAScore, rsna_curve, rsna_image_score

Box = list[int]


def score_of(predictions: Sequence[ScoredBoxes], truths: Sequence[Tensor]) -> float:
    metric = RSNAScore()
    metric.update(predictions, truths)
    return float(metric.compute())


def kept_at(cut: float, predictions: Sequence[ScoredBoxes]) -> list[ScoredBoxes]:
    return [(boxes[scores.double() >= cut], scores[scores.double() >= cut]) for boxes, scores in predictions]


def iou_over(box: Box, truth: Box) -> tuple[int, int]:
    """Intersection and union, as whole numbers."""
    width = min(box[2], truth[2]) - max(box[0], truth[0])
    height = min(box[3], truth[3]) - max(box[1], truth[1])
    inside = width * height if width > 0 and height > 0 else 0
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (box, truth)]
    return inside, sum(areas) - inside


def image_score_by_loops(rows: list[tuple[float, Box]], truths: list[Box]) -> float | None:
    """The challenge page's words, in loops: rows of score and box, true boxes, in whole pixels."""
    if not truths:
        return 0.0 if rows else None
    precisions = []
    for twentieths in range(8, 16):  # IoU 0.40 = 8/20 … 0.75 = 15/20
        taken: set[int] = set()
        for _, box in sorted(rows, key=lambda row: -row[0]):
            best, best_iou = -1, (0, 1)
            for position, truth in enumerate(truths):
                inside, union = iou_over(box, truth)
                if position not in taken and inside * best_iou[1] > best_iou[0] * union:
                    best, best_iou = position, (inside, union)
            if 20 * best_iou[0] > twentieths * best_iou[1]:
                taken.add(best)
        found = len(taken)
        precisions.append(found / (found + (len(rows) - found) + (len(truths) - found)))
    return sum(precisions) / 8


def score_by_loops(predictions: Sequence[ScoredBoxes], truths: Sequence[Tensor]) -> float:
    counted = []
    for (boxes, scores), truth in zip(predictions, truths, strict=True):
        rows = list(zip(scores.tolist(), boxes.int().tolist(), strict=True))
        score = image_score_by_loops(rows, truth.int().tolist())
        if score is not None:
            counted.append(score)
    return sum(counted) / len(counted) if counted else math.nan


def test_rsna_score__by_hand() -> None:
    # IoU 8·10/100 = 0.8 above all eight thresholds, and a box elsewhere: TP 1, FP 1, FN 0: 1/2 at each.
    assert rsna_image_score(*scored([[0, 0, 8, 10], [50, 50, 60, 60]], [0.9, 0.8]), SQUARE) == pytest.approx(1 / 2)
    # IoU 6/10, strictly above 0.40, 0.45, 0.50, 0.55 alone, so 4 of 8.
    assert rsna_image_score(*scored([[0, 0, 6, 10]], [0.9]), SQUARE) == pytest.approx(4 / 8)
    # IoU 0.6 with one of two truths: TP 1, FN 1: 1/2 at four thresholds; at the others 0 / (FP 1 + FN 2).
    two = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    assert rsna_image_score(*scored([[0, 0, 6, 10]], [0.9]), two) == pytest.approx(4 / 8 * 1 / 2)
    # Higher 0.6, lower 1: the higher takes the truth at four thresholds, the lower at the rest: TP 1, FP 1 at each.
    assert rsna_image_score(*scored([[0, 0, 10, 10], [0, 0, 6, 10]], [0.3, 0.9]), SQUARE) == pytest.approx(1 / 2)


@pytest.mark.parametrize(("width", "above"), [(4, 0), (4.01, 1), (5, 2), (7, 6), (7.5, 7), (7.51, 8)])
def test_rsna_score__counts_the_thresholds_below_the_overlap(width: float, above: int) -> None:
    # Inside the 10×10 truth: IoU = width / 10, strictly above `above` of 0.40, 0.45 … 0.75.
    assert rsna_image_score(*scored([[0, 0, width, 10]], [0.9]), SQUARE) == above / 8


def test_rsna_score__image_without_truth_scores_zero_if_anything_is_predicted() -> None:
    predictions = [(SQUARE, torch.tensor([0.9])), (SQUARE, torch.tensor([0.1]))]
    assert score_of(predictions, [SQUARE, NO_TRUTH]) == pytest.approx((1 + 0) / 2)


def test_rsna_score__image_without_truth_or_prediction_is_left_out() -> None:
    assert score_of([(SQUARE, torch.tensor([0.9])), NOTHING], [SQUARE, NO_TRUTH]) == 1
    assert math.isnan(rsna_image_score(*NOTHING, NO_TRUTH))


def test_rsna_score__missed_image_scores_zero() -> None:
    assert score_of([(SQUARE, torch.tensor([0.9])), NOTHING], [SQUARE, SQUARE]) == pytest.approx((1 + 0) / 2)


def test_rsna_score__is_nan_where_no_image_counts() -> None:
    assert math.isnan(score_of([NOTHING, NOTHING], [NO_TRUTH, NO_TRUTH]))
    assert math.isnan(score_of([], []))


@pytest.mark.parametrize("seed", range(3))
def test_rsna_score__agrees_with_loops(seed: int) -> None:
    predictions, truths = split_at_random(seed, images=200)
    assert score_of(predictions, truths) == pytest.approx(score_by_loops(predictions, truths), abs=1e-12)


def test_rsna_score__processes_with_uneven_shares_give_the_mean_over_images() -> None:
    predictions, truths = split_at_random(3, images=60)
    first, second, none = RSNAScore(), RSNAScore(), RSNAScore()
    first.update(predictions[:7], truths[:7])
    second.update(predictions[7:], truths[7:])
    first.merge_state(second)
    first.merge_state(none)
    assert float(first.compute()) == pytest.approx(score_of(predictions, truths), abs=1e-12)


def test_rsna_curve__by_hand() -> None:
    predictions = [
        scored([[0, 0, 10, 10], [50, 50, 60, 60]], [0.8, 0.4]),  # right, then wrong: 0, 1, 1/2
        scored([[0, 0, 10, 10]], [0.6]),  # no truth: counts, with 0, from 0.6 on
        NOTHING,
    ]
    cuts, scores = rsna_curve(predictions, [SQUARE, NO_TRUTH, NO_TRUTH])
    assert cuts == pytest.approx([1.0, 0.7, 0.5, 0.2])
    assert scores == pytest.approx([0 / 1, 1 / 1, (1 + 0) / 2, (1 / 2 + 0) / 2])


@pytest.mark.parametrize("seed", range(3))
def test_rsna_curve__equals_the_score_of_the_boxes_kept_at_every_cut_off(seed: int) -> None:
    predictions, truths = split_at_random(seed, images=200)
    cuts, scores = rsna_curve(predictions, truths)
    assert len(cuts) == 22  # 0, 0.05 … 1, and nothing
    assert (np.diff(cuts) < 0).all()
    expected = [score_of(kept_at(cut, predictions), truths) for cut in cuts.tolist()]
    assert scores == pytest.approx(expected, abs=1e-12)


def test_rsna_curve__is_nan_only_while_no_image_counts() -> None:
    cuts, scores = rsna_curve([(SQUARE, torch.tensor([0.5])), NOTHING], [NO_TRUTH, NO_TRUTH])
    assert cuts.tolist() == [1.0, 0.25]
    assert math.isnan(scores[0])
    assert scores[1] == 0
    cuts, scores = rsna_curve([], [])
    assert cuts.tolist() == [1.0]
    assert math.isnan(scores[0])
