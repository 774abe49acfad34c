"""Reliability diagram and forest plot: what is drawn is what was given."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from pulmo.metrics.bootstrap import Interval
from pulmo.report.forest import Row, forest_plot
from pulmo.report.reliability import Reliability, reliability_diagram
from pulmo.sheets.calibration import Bin

BINS = Reliability([0.1, 0.6, 0.9], [0.0, 0.5, 1.0], [0.0, 0.4, 0.9], [0.1, 0.6, 1.0], [50, 3, 20])


def texts(figure: Figure) -> list[str]:
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    legends = [axes.get_legend() for axes in figure.axes]
    return found + [text.get_text() for legend in legends if legend for text in legend.get_texts()]


def test_reliability__has_an_interval_for_each_bin_that_holds_enough() -> None:
    figure = reliability_diagram({"as it is": BINS}, "test")
    upper, lower = figure.axes
    segments = [
        segment for lines in upper.collections if hasattr(lines, "get_segments") for segment in lines.get_segments()
    ]
    assert [segment[0][0] for segment in segments] == [0.1, 0.9]
    bars = [segment[1][1] for lines in lower.collections for segment in lines.get_segments()]
    assert bars == [50, 3, 20]
    assert texts(figure) == ["as it is", "perfectly calibrated"]


def test_reliability__curve_has_the_bins_of_a_sheet() -> None:
    bins = [Bin(0.0, 0.5, 50, 0.1, Interval(0.2, 0.1, 0.3)), Bin(0.5, 1.0, 3, 0.6, Interval(0.5, 0.4, 0.7))]
    columns = [column.tolist() for column in Reliability.of(bins).arrays()]
    assert columns == [[0.1, 0.6], [0.2, 0.5], [0.1, 0.4], [0.3, 0.7], [50, 3]]


def test_reliability__of_nothing_says_so_and_of_unequal_columns_refuses() -> None:
    assert "undefined" in texts(reliability_diagram({"as it is": Reliability([], [], [], [], [])}))[0]
    with pytest.raises(ValueError, match="differ in length"):
        reliability_diagram({"as it is": Reliability([0.1], [], [], [], [])})


def test_forest__has_a_line_a_subgroup_with_its_figure_or_the_reason() -> None:
    rows = [
        Row("sex", "F", "1,200", 0.91, 0.88, 0.94),
        Row("sex", "M", "900", 0.93, 0.9, 0.95),
        Row("age", "80 and older", "7", math.nan, math.nan, math.nan, "too few: 2 positives"),
    ]
    figure = forest_plot(rows, Row("", "all images", "2,107", 0.92, 0.9, 0.94), "AUROC")
    written = texts(figure)
    assert {"sex", "age", "F", "0.910 (0.880–0.940)", "too few: 2 positives", "1,200"} <= set(written)
    axes = figure.axes[0]
    intervals = [tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]
    assert (0.88, 0.94) in intervals
    assert np.min(axes.get_xlim()) <= 0.88


def test_forest__names_stay_left_of_the_axes_and_figures_inside_the_paper() -> None:
    rows = [Row("class", "No Lung Opacity / Not Normal at all, whatever", "26,684", 0.5, 0.1, 1.0)]
    figure = forest_plot(rows, Row("", "all images", "26,684", 0.92, 0.9, 0.94), "specificity", "RSNA")
    figure.draw_without_rendering()
    axes, paper = figure.axes[0], figure.bbox
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert all(box.x0 >= 0 and box.x1 <= paper.x1 for box in boxes.values())
    name = next(box for text, box in boxes.items() if text.startswith("No Lung"))
    count = boxes["26,684"]
    assert name.x1 < count.x0
    assert count.x1 < axes.get_window_extent().x0


def test_forest__of_no_subgroup_refuses() -> None:
    with pytest.raises(ValueError, match="no subgroup"):
        forest_plot([], Row("", "all images", "5", 0.9, 0.8, 1.0), "AUROC")
