"""Learning curves, score histograms and image grids: what is drawn where."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from pulmo.report.figures import learning_curves, score_histogram

HISTORY = pd.DataFrame(
    {
        "epoch": [0, 1, 2, 3],
        "train/loss": [0.7, 0.5, 0.4, 0.3],
        "val/loss": [0.8, np.nan, 0.6, 0.7],
        "val/accuracy": [0.5, 0.6, 0.7, 0.8],
        "val/auroc": [0.6, 0.7, 0.8, 0.9],
        "lr/head": [1e-3] * 4,
    }
)


def line(axes: Axes, label: str) -> np.ndarray:
    return next(np.column_stack(line.get_data()) for line in axes.lines if line.get_label() == label)


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_text()]


def vertical_lines(axes: Axes) -> list[float]:
    return [line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]]


def test_learning_curves__losses_left_and_rates_right() -> None:
    left, right = learning_curves(HISTORY).axes
    np.testing.assert_allclose(line(left, "training"), [(1, 0.7), (2, 0.5), (3, 0.4), (4, 0.3)])
    np.testing.assert_allclose(line(right, "validation AUROC"), [(1, 0.6), (2, 0.7), (3, 0.8), (4, 0.9)])
    assert [entry.get_text() for entry in right.get_legend().get_texts()] == ["validation accuracy", "validation AUROC"]


@pytest.mark.parametrize(
    ("columns", "y", "entries"),
    [
        (["val/auroc"], "AUROC", ["validation AUROC"]),
        (
            ["train/accuracy", "val/accuracy", "val/auroc"],
            "Accuracy, AUROC",
            ["training accuracy", "validation accuracy", "validation AUROC"],
        ),
        (
            ["val/iou", "val/dice_pooled", "train/dice_pooled", "val/dice"],
            "Dice, IoU",
            ["validation Dice, mean", "training Dice, pooled", "validation Dice, pooled", "validation IoU"],
        ),
        (
            ["val/auroc", "val/map", "val/map_50", "val/rsna_score"],
            "RSNA score, mAP, AUROC",
            ["validation RSNA score", "validation mAP at 0.5", "validation mAP", "validation AUROC"],
        ),
    ],
)
def test_learning_curves__right_panel_holds_the_rates_of_the_task_and_names_them(columns, y, entries) -> None:
    history = pd.DataFrame({"epoch": [0, 1]} | {column: [k / 10, k / 10 + 0.05] for k, column in enumerate(columns)})
    _, right = learning_curves(history).axes
    assert right.get_ylabel() == y
    assert [entry.get_text() for entry in right.get_legend().get_texts()] == entries
    drawn = {line.get_label(): list(line.get_ydata()) for line in right.lines}
    assert sorted(drawn.values()) == [list(history[column]) for column in columns]
    for look in (Line2D.get_color, Line2D.get_linestyle, Line2D.get_marker):
        assert len({look(curve) for curve in right.lines}) == len(columns)


@pytest.mark.parametrize(
    ("column", "name", "value"),
    [
        ("val/dice", "validation Dice, mean", 0.1),
        ("train/dice_pooled", "training Dice, pooled", 0.15),
        ("val/dice_pooled", "validation Dice, pooled", 0.2),
        ("val/iou", "validation IoU", 0.3),
        ("val/rsna_score", "validation RSNA score", 0.4),
        ("val/map_50", "validation mAP at 0.5", 0.5),
        ("val/map", "validation mAP", 0.6),
    ],
)
def test_learning_curves__each_rate_stands_under_its_own_name(column, name, value) -> None:
    _, right = learning_curves(pd.DataFrame({"epoch": [4], column: [value]})).axes
    np.testing.assert_allclose(line(right, name), [(5, value)])


def test_learning_curves__parts_of_the_loss_and_learning_rates_stay_out() -> None:
    history = HISTORY.assign(**{"train/loss_box_reg": 0.1, "train/grad_norm": 3.0})
    left, right = learning_curves(history).axes
    assert [curve.get_label() for curve in left.lines] == ["training", "validation"]
    assert [curve.get_label() for curve in right.lines] == ["validation accuracy", "validation AUROC"]


def test_learning_curves__epoch_without_a_value_is_bridged() -> None:
    left, _ = learning_curves(HISTORY).axes
    np.testing.assert_allclose(line(left, "validation"), [(1, 0.8), (3, 0.6), (4, 0.7)])


def test_learning_curves__single_epoch_shows_as_a_marker() -> None:
    left, _ = learning_curves(HISTORY.iloc[:1]).axes
    assert all(curve.get_marker() not in ("", "None", None) for curve in left.lines)
    low, high = left.get_xlim()
    assert low < 1 < high


def test_learning_curves__best_epoch_and_stages_are_marked_and_named() -> None:
    for axes in learning_curves(HISTORY, best_epoch=2, stages=[0, 3]).axes:
        assert sorted(vertical_lines(axes)) == [1, 3, 4]
        assert sorted(texts(axes)) == ["best epoch 3", "stage 1", "stage 2"]


def test_learning_curves__panel_without_numbers_says_not_recorded() -> None:
    _, right = learning_curves(HISTORY[["epoch", "train/loss"]], best_epoch=1).axes
    assert texts(right) == ["not recorded"]


def test_learning_curves__no_epoch_at_all_says_not_recorded() -> None:
    assert [texts(axes) for axes in learning_curves(HISTORY.iloc[:0]).axes] == [["not recorded"]] * 2


def test_learning_curves__history_without_epoch_is_refused() -> None:
    with pytest.raises(ValueError, match="expected `epoch`"):
        learning_curves(HISTORY.drop(columns="epoch"))


def test_score_histogram__bins_hold_the_images_of_each_class() -> None:
    axes = score_histogram([0.01, 0.02, 0.99, 0.51], [0, 0, 1, 1], class_names=("normal", "pneumonia")).axes[0]
    normal, pneumonia = (patch.get_data() for patch in axes.patches)
    assert (normal.values[0], pneumonia.values[-1], pneumonia.values[20]) == (2, 1, 1)
    assert normal.values[1:].max() < 1  # an empty bin lies below one image, where a logarithm still exists
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["normal (2)", "pneumonia (2)"]


def test_score_histogram__thresholds_are_lines_with_names() -> None:
    axes = score_histogram([0.2, 0.8], [0, 1], {"fitted": 0.48, "0.5": 0.5}).axes[0]
    assert sorted(vertical_lines(axes)) == [0.48, 0.5]
    assert sorted(texts(axes)) == ["0.5", "fitted 0.48"]


@pytest.mark.parametrize(
    "thresholds",
    [
        {"fitted": 0.48, "0.5": 0.5, "youden": 0.5, "0.25": 0.25, "high": 0.97},
        {"long name": 0.1, "b": 0.28, "c": 0.29, "d": 0.31, "sensitivity": 0.05},
    ],
)
def test_score_histogram__names_of_close_thresholds_touch_neither_each_other_nor_a_line(thresholds) -> None:
    figure = score_histogram([0.2, 0.8], [0, 1], thresholds)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    names = [text for text in axes.texts if text.get_text()]
    boxes = [super(type(text), text).get_window_extent() for text in names]
    assert len(boxes) == 5
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    tops = [(axes.transData.transform((text.xy[0], 1))[0], box.y1) for text, box in zip(names, boxes, strict=True)]
    assert not any(box.x0 < x < box.x1 and top > box.y0 for box in boxes for x, top in tops)


def test_score_histogram__equal_scores_stand_in_one_bin() -> None:
    axes = score_histogram(np.full(6, 0.5), [0, 1, 0, 1, 0, 0]).axes[0]
    assert [patch.get_data().values.max() for patch in axes.patches] == [4, 2]
    assert axes.get_xlim() == (0, 1)


def test_score_histogram__class_without_images_is_named_with_zero() -> None:
    axes = score_histogram([0.2, 0.3], [0, 0]).axes[0]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["negative (2)", "positive (0)"]
