"""All figures of boxes at once, and their table, worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from pulmo.metrics.boxes import box_columns, detection_metrics
from pulmo.types import Predictions

# 10 × 10 in a row; SHORT lies inside A: IoU 0.625, above 0.40, 0.45 … 0.60, five of the challenge's eight.
A, B, C = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]
SHORT = [0, 0, 10, 6.25]


def boxes(*rows: list[float]) -> Tensor:
    """(N, 5): corners and score."""
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)


def truth(*rows: list[int]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


# Image 0: A found by SHORT, B missed, a wrong box. Image 1: no true box, a weak wrong one. Image 2: nothing at all.
BOXES = [boxes([*C, 0.8], [*SHORT, 0.9]), boxes([*A, 0.4]), boxes()]
TRUTHS = [truth(A, B), truth(), truth()]


def test_detection_metrics__counts_the_boxes_from_the_cut_off_on() -> None:
    figures = detection_metrics(BOXES, TRUTHS, 0.5)
    # One right, one wrong, one missed; images 1 and 2 have neither kind of box now and do not count.
    assert figures["rsna_score"] == pytest.approx(5 / 8 * 1 / 3)  # above 0.60: none right, two wrong, two missed
    assert (figures["box_sensitivity"], figures["box_precision"], figures["box_f1"]) == (1 / 2, 1 / 2, 1 / 2)
    assert figures["false_positives_per_image"] == pytest.approx(1 / 3)


def test_detection_metrics__a_lower_cut_off_adds_the_weak_box_and_its_image() -> None:
    figures = detection_metrics(BOXES, TRUTHS)
    assert figures["rsna_score"] == pytest.approx((5 / 8 * 1 / 3 + 0) / 2)
    assert (figures["box_sensitivity"], figures["box_precision"]) == (1 / 2, pytest.approx(1 / 3))
    assert figures["box_f1"] == pytest.approx(2 / (2 * 1 + 2 + 1))
    assert figures["false_positives_per_image"] == pytest.approx(2 / 3)


def test_detection_metrics__ranking_looks_at_all_boxes_whatever_the_cut_off() -> None:
    every, none = detection_metrics(BOXES, TRUTHS), detection_metrics(BOXES, TRUTHS, 0.99)
    assert every["froc_score"] == none["froc_score"] == 0.5  # the right box comes before any wrong one
    assert every["map_75"] == none["map_75"] == 0
    # COCO reads precision at 101 sensitivities: 1 at those up to 1/2, of which there are 51. At IoU 0.50, 0.55 and
    # 0.60, three of ten, the box is right.
    assert every["map_50"] == none["map_50"] == pytest.approx(51 / 101)
    assert every["map"] == none["map"] == pytest.approx(51 / 101 * 3 / 10)


def test_detection_metrics__a_score_at_the_cut_off_counts() -> None:
    assert detection_metrics([boxes([*A, 0.5])], [truth(A)], 0.5)["rsna_score"] == 1
    assert detection_metrics([boxes([*A, 0.9])], [truth(A)], 0.9)["rsna_score"] == 0  # 0.9 in single precision is less


def test_detection_metrics__a_true_box_is_found_once() -> None:
    figures = detection_metrics([boxes([*A, 0.9], [*A, 0.8])], [truth(A)])
    assert (figures["box_sensitivity"], figures["box_precision"], figures["rsna_score"]) == (1, 0.5, 0.5)


def test_detection_metrics__without_predicted_boxes_precision_is_undefined() -> None:
    figures = detection_metrics([boxes(), boxes()], [truth(A), truth()])
    assert math.isnan(figures.pop("box_precision"))
    assert set(figures.values()) == {0}


def test_detection_metrics__without_true_boxes_what_is_found_is_undefined_and_false_alarms_are_not() -> None:
    figures = detection_metrics([boxes([*A, 0.9]), boxes()], [truth(), truth()])
    defined = {name: value for name, value in figures.items() if not math.isnan(value)}
    assert defined == {"rsna_score": 0, "box_precision": 0, "box_f1": 0, "false_positives_per_image": 0.5}


def test_box_columns__one_row_a_box_with_the_row_of_its_image() -> None:
    given = Predictions(row=torch.tensor([3, 5, 8]), boxes=BOXES, true_boxes=TRUTHS)
    columns = box_columns(given)
    assert columns["row"].tolist() == [3, 3, 5]
    assert columns["box"].tolist() == [C, SHORT, A]
    assert columns["score"].tolist() == pytest.approx([0.8, 0.9, 0.4])
    assert columns["true_positive"].tolist() == [0, 1, 0]  # IoU 0.625


def test_box_columns__of_two_on_one_true_box_the_surer_is_right() -> None:
    given = Predictions(row=torch.tensor([0]), boxes=[boxes([*A, 0.3], [*SHORT, 0.9])], true_boxes=[truth(A)])
    assert box_columns(given)["true_positive"].tolist() == [0, 1]


@pytest.mark.parametrize("images", [0, 2])
def test_box_columns__without_boxes_are_empty(images: int) -> None:
    columns = box_columns(
        Predictions(row=torch.arange(images), boxes=[boxes()] * images, true_boxes=[truth()] * images)
    )
    assert {name: values.shape for name, values in columns.items()} == {
        "row": (0,),
        "box": (0, 4),
        "score": (0,),
        "true_positive": (0,),
    }
