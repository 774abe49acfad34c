"""Curves and operating points against numbers worked out by hand.

Of the eight images below, at 0.5 five are called positive, three of them rightly: sensitivity 3/4, specificity
2/4, precision 3/5. At 0.25 seven are called: 4/4, 1/4, 4/7. Of the 16 pairs of a positive and a negative image the
positive one has the higher score in 4 + 4 + 3 + 1 = 12, so AUROC is 0.75. Precision at each positive image is 1, 1,
3/4, 4/7, their mean 0.830.
"""

import re

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import auc

from pulmo.report.figures import one_vs_rest_roc, precision_recall_curve, roc_curve
from pulmo.report.operating_points import operating_point, threshold_label

SCORES = [0.9, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3, 0.1]
LABELS = [1, 1, 0, 1, 0, 0, 1, 0]


def legend(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def markers(axes: Axes) -> list[tuple[float, float]]:
    return [(float(x[0]), float(y[0])) for x, y in (line.get_data() for line in axes.lines) if len(x) == 1]


def names(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_roc__markers_sit_at_one_minus_specificity_and_sensitivity() -> None:
    axes = roc_curve(SCORES, LABELS, {"fitted": 0.5, "0.25": 0.25}).axes[0]
    np.testing.assert_allclose(markers(axes), [(2 / 4, 3 / 4), (3 / 4, 4 / 4)])
    assert names(axes) == ["fitted 0.50", "0.25"]


def test_roc__legend_holds_area_and_number_of_images() -> None:
    assert "AUROC 0.750 (4 positive, 4 negative)" in legend(roc_curve(SCORES, LABELS).axes[0])


def test_roc__a_score_equal_to_the_threshold_is_called_positive() -> None:
    point = operating_point(np.array([0.5, 0.4]), np.array([1, 0]), 0.5)
    assert (point.sensitivity, point.specificity) == (1.0, 1.0)


def test_roc__float32_score_equal_to_its_threshold_is_called_positive() -> None:
    score = np.float32(0.37)  # in double precision 0.37000000477, above 0.37
    assert markers(roc_curve(np.array([score, 0.1], np.float32), [1, 0], {"fitted": float(score)}).axes[0]) == [(0, 1)]


def test_roc__thresholds_at_one_point_share_a_marker_and_both_are_named() -> None:
    axes = roc_curve(SCORES, LABELS, {"fitted": 0.48, "0.5": 0.5}).axes[0]
    assert markers(axes) == [(0.5, 0.75)]
    assert names(axes) == ["fitted 0.48, 0.5"]


def test_precision_recall__markers_sit_at_sensitivity_and_precision() -> None:
    axes = precision_recall_curve(SCORES, LABELS, {"fitted": 0.5, "0.25": 0.25}).axes[0]
    np.testing.assert_allclose(markers(axes), [(3 / 4, 3 / 5), (4 / 4, 4 / 7)])


def test_precision_recall__legend_holds_average_precision_and_prevalence() -> None:
    entries = legend(precision_recall_curve([*SCORES, 0.05, 0.04], [*LABELS, 0, 0]).axes[0])
    assert "AP 0.830 (4 positive, 6 negative)" in entries
    assert "prevalence 0.400" in entries


def test_precision_recall__area_under_the_drawn_steps_is_average_precision() -> None:
    recall, precision = precision_recall_curve(SCORES, LABELS).axes[0].lines[0].get_data()
    assert auc(recall, precision) == pytest.approx((1 + 1 + 3 / 4 + 4 / 7) / 4)


def test_precision_recall__threshold_above_all_scores_is_said_to_be_undefined() -> None:
    axes = precision_recall_curve(SCORES, LABELS, {"0.95": 0.95}).axes[0]
    assert "0.95: no score reaches it, precision undefined" in legend(axes)
    assert markers(axes) == []


@pytest.mark.parametrize("draw", [roc_curve, precision_recall_curve])
@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([0, 0], "undefined: no positive image in this split"),
        ([1, 1], "undefined: no negative image in this split"),
        ([], "undefined: no labelled image in this split"),
    ],
)
def test_curves__split_without_a_class_says_undefined(draw, labels, text) -> None:
    assert names(draw([0.2, 0.7][: len(labels)], labels, {"0.5": 0.5}).axes[0]) == [text]


@pytest.mark.parametrize("draw", [roc_curve, precision_recall_curve])
def test_curves__nan_scores_are_counted_in_the_error(draw) -> None:
    with pytest.raises(ValueError, match="2 of 3 scores are NaN"):
        draw([np.nan, 0.3, np.nan], [0, 1, 1])


@pytest.mark.parametrize(
    ("scores", "labels", "match"),
    [
        ([0.1, 0.2], [0], "shape"),
        ([[0.1], [0.2]], [0, 1], "shape"),
        ([0.1, 0.2], [0, -1], "1 of 2 labels"),
        ([0.1, 0.2], [2, 2], "2 of 2 labels"),
    ],
)
def test_curves__arrays_that_do_not_fit_are_refused(scores, labels, match) -> None:
    with pytest.raises(ValueError, match=match):
        roc_curve(scores, labels)


def test_one_vs_rest__each_class_has_its_own_area() -> None:
    # Class b: its scores 0.8, 0.3 against 0.2, 0.5 → 3 of 4 pairs in order; a and c are told apart wholly.
    probabilities = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.4, 0.3, 0.3], [0.0, 0.5, 0.5]]
    entries = legend(one_vs_rest_roc(probabilities, [0, 1, 1, 2], ["a", "b", "c"]).axes[0])
    assert entries == ["a: 1.000 (1 of 4)", "b: 0.750 (2 of 4)", "c: 1.000 (1 of 4)"]


def test_one_vs_rest__class_without_images_is_said_to_be_undefined() -> None:
    probabilities = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]
    axes = one_vs_rest_roc(probabilities, [0, 1], ["a", "b", "c"]).axes[0]
    assert "c: undefined (0 of 2)" in legend(axes)


def test_one_vs_rest__columns_must_be_as_many_as_classes() -> None:
    with pytest.raises(ValueError, match=re.escape("expected (1, 3)")):
        one_vs_rest_roc([[0.5, 0.5]], [0], ["a", "b", "c"])


@pytest.mark.parametrize(
    ("name", "value", "label"),
    [
        ("fitted", 0.372, "fitted 0.37"),
        ("0.5", 0.5, "0.5"),
        ("0.1", float(np.float32(0.1)), "0.1"),
        ("fitted", 0.0031, "fitted 0.0031"),
        ("fitted", 0.9987, "fitted 0.9987"),
    ],
)
def test_threshold_label__value_once_and_never_rounded_to_nought_or_one(name, value, label) -> None:
    assert threshold_label(name, value) == label


def close_thresholds(draw) -> Figure:
    rng = np.random.default_rng(0)
    labels = (rng.random(400) < 0.3).astype(int)
    scores = 1 / (1 + np.exp(-rng.normal(2.4 * labels - 1.5, 1.5)))
    return draw(scores, labels, {"fitted": 0.48, "0.5": 0.5, "youden": 0.46, "0.25": 0.25})


@pytest.mark.parametrize("draw", [roc_curve, precision_recall_curve])
def test_labels__of_close_thresholds_cover_neither_each_other_nor_the_curve(draw) -> None:
    figure = close_thresholds(draw)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [super(type(text), text).get_window_extent() for text in axes.texts]  # without the leader's arrow
    assert len(boxes) == 4
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    curve = axes.transData.transform(np.column_stack(axes.lines[0].get_data()))
    assert not any(box.contains(x, y) for box in boxes for x, y in curve)
    assert all(axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1) for box in boxes)
    assert axes.get_legend().get_window_extent().y1 < axes.xaxis.label.get_window_extent().y0
