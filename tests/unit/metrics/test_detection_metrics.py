import logging
import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from pulmo.metrics.detection import (
    FROC_RATES,
    ScoredBoxes,
    box_curve,
    coco_map,
    cut_offs,
    froc,
    froc_score,
    matches,
)

Box = list[int]
NOTHING: ScoredBoxes = (torch.zeros(0, 4), torch.zeros(0))
NO_TRUTH = torch.zeros(0, 4)
SQUARE = torch.tensor([[0.0, 0, 10, 10]])
ELSEWHERE = torch.tensor([[50.0, 50, 60, 60]])


def scored(boxes: list[list[float]], scores: list[float]) -> ScoredBoxes:
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(scores)


def true_positives_by_loops(boxes: list[Box], truths: list[Box], twentieths: int) -> list[bool]:
    """Whole numbers alone: IoU > t/20 where 20 · intersection > t · union. Boxes come by falling score."""
    free, hits = list(truths), []
    for x1, y1, x2, y2 in boxes:
        best: tuple[int, int, Box] | None = None  # intersection, union, true box
        for truth in free:
            inside = max(0, min(x2, truth[2]) - max(x1, truth[0])) * max(0, min(y2, truth[3]) - max(y1, truth[1]))
            union = (x2 - x1) * (y2 - y1) + (truth[2] - truth[0]) * (truth[3] - truth[1]) - inside
            if best is None or inside * best[1] > best[0] * union:
                best = (inside, union, truth)
        hits.append(best is not None and 20 * best[0] > twentieths * best[1])
        if best is not None and hits[-1]:
            free.remove(best[2])
    return hits


def split_at_random(seed: int, images: int) -> tuple[list[ScoredBoxes], list[Tensor]]:
    """0-6 boxes near 0-4 true ones, on a coarse grid: ties in score and in IoU, and IoU at a threshold."""
    rng = np.random.default_rng(seed)

    def draw(number: int) -> npt.NDArray[np.int64]:
        corner = rng.integers(0, 8, (number, 2))
        return np.hstack([corner, corner + rng.integers(2, 7, (number, 2))])

    predictions, truths = [], []
    for _ in range(images):
        truth, boxes = draw(int(rng.integers(5))), draw(int(rng.integers(7)))
        for row in range(len(boxes)):
            if len(truth) and rng.random() < 0.6:
                boxes[row] = rng.choice(truth)
                boxes[row, 2:] += rng.integers(0, 3, 2)
        predictions.append(scored(boxes.tolist(), (rng.integers(0, 21, len(boxes)) / 20).tolist()))
        truths.append(torch.tensor(truth, dtype=torch.float32))
    return predictions, truths


def test_matches__higher_score_takes_the_true_box_even_where_a_lower_one_fits_better() -> None:
    # IoU with the truth 10×10: 8·10/100 = 0.8 and 10·10/100 = 1.
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 8, 10]])
    assert matches(boxes, torch.tensor([0.3, 0.9]), SQUARE, (0.4, 0.7)).tolist() == [[False, True], [False, True]]
    # At 0.85 the higher one fails, so the lower one takes it.
    assert matches(boxes, torch.tensor([0.3, 0.9]), SQUARE, (0.85,)).tolist() == [[True, False]]


def test_matches__equal_scores_go_in_the_order_given() -> None:
    boxes = torch.tensor([[0.0, 0, 8, 10], [0, 0, 10, 10]])
    assert matches(boxes, torch.tensor([0.5, 0.5]), SQUARE, (0.4,)).tolist() == [[True, False]]


def test_matches__box_takes_the_true_box_with_the_largest_overlap_of_those_left() -> None:
    # The first takes the right truth (IoU 1), not the left one (7·10 / 130 = 0.54), which the second then takes (1).
    truth = torch.tensor([[0.0, 0, 10, 10], [3, 0, 13, 10]])
    boxes = torch.tensor([[3.0, 0, 13, 10], [0, 0, 10, 10], [3, 0, 13, 10]])
    assert matches(boxes, torch.tensor([0.9, 0.8, 0.7]), truth, (0.4,)).tolist() == [[True, True, False]]
    # Two like the right one: the second of them has the left one left, above 0.4 but not above 0.55.
    assert matches(boxes[[0, 2]], torch.tensor([0.9, 0.8]), truth, (0.4, 0.55)).tolist() == [
        [True, True],
        [True, False],
    ]


@pytest.mark.parametrize(("width", "iou"), [(4, 0.4), (5, 0.5), (6, 0.6), (7, 0.7)])
def test_matches__overlap_at_the_threshold_is_no_match(width: int, iou: float) -> None:
    boxes = torch.tensor([[0.0, 0, width, 10]])  # inside the 10×10 truth: IoU = width / 10
    assert matches(boxes, torch.ones(1), SQUARE, (iou, iou - 1e-9)).tolist() == [[False], [True]]


def test_matches__boxes_without_area_match_nothing() -> None:
    point = torch.tensor([[5.0, 5, 5, 5]])
    assert matches(point, torch.ones(1), point, (0.4,)).tolist() == [[False]]


def test_cut_offs__lie_halfway_and_begin_above_the_highest_score() -> None:
    cuts, kept = cut_offs(np.array([0.8, 0.8, 0.4, 0.2]))
    assert cuts == pytest.approx([1.0, 0.6, 0.3, 0.1])
    assert kept.tolist() == [0, 2, 3, 4]


def test_cut_offs__certain_scores_lie_below_the_first_and_nought_is_kept_by_the_last() -> None:
    scores = np.array([1.0, np.nextafter(0.5, 1.0), 0.5, 0.0])  # the middle two have no number between them
    cuts, kept = cut_offs(scores)
    assert [(scores >= cut).sum() for cut in cuts] == kept.tolist() == [0, 1, 2, 3, 4]
    assert torch.tensor(cuts[0]).float() > 1  # in single precision too


def test_box_curve__by_hand() -> None:
    predictions = [
        scored([[0, 0, 10, 10], [0, 0, 9, 10]], [0.4, 0.8]),  # the second goes first and takes the truth
        scored([[0, 0, 10, 10]], [0.8]),  # no truth here
        NOTHING,
    ]
    curve = box_curve(predictions, [SQUARE, NO_TRUTH, ELSEWHERE])
    assert curve.cuts == pytest.approx([1.0, 0.6, 0.2])
    assert curve.true_positives.tolist() == [0, 1, 1]
    assert curve.false_positives.tolist() == [0, 1, 2]
    assert curve.truths == 2


def test_froc__false_positives_are_shared_by_all_images_and_sensitivity_by_all_true_boxes() -> None:
    predictions = [scored([[0, 0, 10, 10], [20, 20, 30, 30]], [0.8, 0.4]), NOTHING, NOTHING, NOTHING]
    rates, sensitivity = froc(predictions, [SQUARE, NO_TRUTH, ELSEWHERE, NO_TRUTH])
    assert rates.tolist() == [0, 0, 1 / 4]
    assert sensitivity.tolist() == [0, 1 / 2, 1 / 2]


def test_froc_score__is_linear_between_cut_offs_and_flat_behind_the_last() -> None:
    # Two images, two true boxes. Falling: right (0 FP, 1/2), then a wrong and a right one at once (1/2 FP, 1).
    predictions = [
        scored([[0, 0, 10, 10], [20, 20, 30, 30]], [0.9, 0.5]),
        scored([[50, 50, 60, 60]], [0.5]),
    ]
    # At 1/8: 1/2 + 1/4 · 1/2 = 5/8; at 1/4: 3/4; at 1/2 and the four beyond: 1.
    assert froc_score(predictions, [SQUARE, ELSEWHERE]) == pytest.approx((5 / 8 + 3 / 4 + 5) / 7)


def test_froc_score__takes_the_higher_sensitivity_where_the_curve_is_upright() -> None:
    # Eight images: a wrong box (1/8 FP, 0), then a right one (1/8 FP, 1).
    predictions = [scored([[0, 0, 10, 10], [20, 20, 30, 30]], [0.5, 0.9])] + [NOTHING] * 7
    assert froc_score(predictions, [SQUARE] + [NO_TRUTH] * 7) == 1


def test_box_figures__are_nan_where_there_is_nothing_to_find() -> None:
    for predictions, truths in (([], []), ([NOTHING], [NO_TRUTH]), ([scored([[0, 0, 1, 1]], [0.5])], [NO_TRUTH])):
        assert np.isnan(froc(predictions, truths)[1]).all()
        assert math.isnan(froc_score(predictions, truths))
        assert all(math.isnan(value) for value in coco_map(predictions, truths).values())
    assert froc_score([NOTHING], [SQUARE]) == 0


@pytest.mark.parametrize("twentieths", [8, 10, 15])
def test_box_curve_and_froc__agree_with_loops_at_every_cut_off(twentieths: int) -> None:
    predictions, truths = split_at_random(twentieths, images=200)
    curve = box_curve(predictions, truths, twentieths / 20)
    rates, sensitivity = froc(predictions, truths, twentieths / 20)
    number = sum(len(truth) for truth in truths)
    assert curve.truths == number
    assert len(curve.cuts) == 22  # 0, 0.05 … 1, and nothing
    for position, cut in enumerate(curve.cuts.tolist()):
        right = wrong = 0
        for (boxes, scores), truth in zip(predictions, truths, strict=True):
            rows = sorted(zip(scores.tolist(), boxes.int().tolist(), strict=True), key=lambda row: -row[0])
            kept = [box for score, box in rows if score >= cut]
            hits = true_positives_by_loops(kept, truth.int().tolist(), twentieths)
            right, wrong = right + sum(hits), wrong + len(hits) - sum(hits)
        assert (curve.true_positives[position], curve.false_positives[position]) == (right, wrong)
        assert (rates[position], sensitivity[position]) == pytest.approx((wrong / 200, right / number))


def test_froc_score__agrees_with_the_line_between_neighbouring_points() -> None:
    predictions, truths = split_at_random(1, images=200)
    rates, sensitivity = (array.tolist() for array in froc(predictions, truths))
    expected = []
    for rate in FROC_RATES:
        below = max(i for i, point in enumerate(rates) if point <= rate)
        if below == len(rates) - 1:
            expected.append(sensitivity[-1])
        else:
            share = (rate - rates[below]) / (rates[below + 1] - rates[below])
            expected.append(sensitivity[below] + share * (sensitivity[below + 1] - sensitivity[below]))
    assert froc_score(predictions, truths) == pytest.approx(sum(expected) / 7)


def test_coco_map__boxes_that_fit_score_one() -> None:
    predictions = [(SQUARE, torch.tensor([0.9])), NOTHING, (ELSEWHERE, torch.tensor([0.1]))]
    assert coco_map(predictions, [SQUARE, NO_TRUTH, ELSEWHERE]) == {"map": 1, "map_50": 1, "map_75": 1}


def test_coco_map__box_shifted_by_a_quarter_counts_up_to_its_overlap() -> None:
    # 100×100 shifted by 24: IoU = 76 / 124 = 0.61, so a match at 0.50, 0.55 and 0.60, three of ten. (Not by 25, for
    # IoU 0.6: torchmetrics' thresholds are in single precision, and this one is a little higher.)
    predictions = [(torch.tensor([[24.0, 0, 124, 100]]), torch.tensor([0.9]))]
    figures = coco_map(predictions, [torch.tensor([[0.0, 0, 100, 100]])])
    assert figures == pytest.approx({"map": 0.3, "map_50": 1, "map_75": 0})


def test_coco_map__is_nought_where_nothing_is_predicted() -> None:
    assert coco_map([NOTHING], [SQUARE]) == {"map": 0, "map_50": 0, "map_75": 0}


def test_coco_map__says_nothing(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    many = (SQUARE.repeat(150, 1), torch.rand(150))  # torchmetrics warns above 100 boxes
    with caplog.at_level(logging.DEBUG):
        coco_map([many], [SQUARE])
    assert (*capfd.readouterr(), caplog.text, list(recwarn)) == ("", "", "", [])
