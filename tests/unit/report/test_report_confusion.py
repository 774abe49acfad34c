"""Confusion matrices: the text of each cell, counted by hand."""

import numpy as np
import pytest
from matplotlib.axes import Axes

from pulmo.report.confusion import relative_luminance
from pulmo.report.figures import confusion_matrices, confusion_matrix

NAMES = ("normal", "pneumonia")


def cells(axes: Axes) -> dict[tuple[int, int], str]:
    """(row, column) → text."""
    return {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in axes.texts}


def test_confusion_matrix__rows_are_truth_and_percentages_are_of_the_row() -> None:
    axes = confusion_matrix([0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1, 0], NAMES).axes[0]
    assert cells(axes) == {(0, 0): "3\n75.0 %", (0, 1): "1\n25.0 %", (1, 0): "1\n33.3 %", (1, 1): "2\n66.7 %"}
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("Truth", "Prediction")
    assert [label.get_text() for label in axes.get_yticklabels()] == list(NAMES)


def test_confusion_matrix__thousands_are_grouped() -> None:
    assert cells(confusion_matrix([0] * 1204, [0] * 1204, NAMES).axes[0])[0, 0] == "1,204\n100.0 %"


def test_confusion_matrix__class_without_images_has_no_percentages() -> None:
    axes = confusion_matrix([0, 2], [0, 0], ["a", "b", "c"]).axes[0]
    assert [cells(axes)[1, column] for column in range(3)] == ["0\n–"] * 3
    assert cells(axes)[2, 0] == "1\n100.0 %"


def test_confusion_matrix__text_contrasts_with_its_cell() -> None:
    labels = np.repeat(np.arange(11), 10)
    predictions = np.concatenate([np.r_[np.zeros(10 - k, int), np.ones(k, int)] for k in range(11)])
    axes = confusion_matrix(labels, predictions, [str(k) for k in range(11)]).axes[0]
    image = axes.images[0]
    colours = image.cmap(image.norm(image.get_array()))
    for text in axes.texts:
        column, row = map(int, text.get_position())
        ground, ink = relative_luminance(colours[row, column]), {"white": 1.0, "black": 0.0}[text.get_color()]
        assert (max(ground, ink) + 0.05) / (min(ground, ink) + 0.05) >= 4.5  # WCAG AA for small text


def test_confusion_matrix__empty_split_says_undefined() -> None:
    (text,) = confusion_matrix([], [], NAMES).axes[0].texts
    assert text.get_text().replace("\n", " ") == "undefined: no labelled image in this split"


@pytest.mark.parametrize(
    ("labels", "predictions", "match"),
    [([0, 1], [0], "2 labels for 1"), ([0, -1], [0, 0], "1 of 2 labels"), ([0, 1], [0, 2], "1 of 2 predictions")],
)
def test_confusion_matrix__indices_that_do_not_fit_are_refused(labels, predictions, match) -> None:
    with pytest.raises(ValueError, match=match):
        confusion_matrix(labels, predictions, NAMES)


def test_confusion_matrices__one_for_each_threshold_in_order() -> None:
    figure = confusion_matrices([0.1, 0.3, 0.45, 0.9], [0, 0, 1, 1], {"fitted": 0.4, "0.25": 0.25, "0.5": 0.5}, NAMES)
    assert [axes.get_title() for axes in figure.axes] == [
        "threshold: fitted 0.40",
        "threshold: 0.25",
        "threshold: 0.5",
    ]
    diagonals = [[cells(axes)[k, k].split("\n")[0] for k in (0, 1)] for axes in figure.axes]
    assert diagonals == [["2", "2"], ["1", "2"], ["2", "1"]]


def test_confusion_matrices__nan_scores_are_counted_in_the_error() -> None:
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        confusion_matrices([np.nan, 0.2], [0, 1], {"0.5": 0.5}, NAMES)
