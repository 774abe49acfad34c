"""FROC curves: what stands at which number of false positives an image."""

import numpy as np
import pytest
from matplotlib.axes import Axes

from pulmo.report.figures import froc_curve

# Ten images and five true boxes. Going down the scores: two boxes found, then a false alarm and so on.
FALSE_POSITIVES = [0.0, 0.0, 0.1, 0.3, 1.2, 3.0]
SENSITIVITY = [0.2, 0.4, 0.4, 0.6, 0.8, 0.8]
CURVE = (FALSE_POSITIVES, SENSITIVITY)


def height_at(axes: Axes, x: float, line: int = 0) -> float:
    """Where the drawn line, in straight pieces on the logarithmic axis, stands at x."""
    xs, ys = axes.lines[line].get_data()
    return float(np.interp(np.log(x), np.log(xs), ys))


def legend(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def markers(axes: Axes) -> list[tuple[float, float, str]]:
    single = [line for line in axes.lines if len(line.get_xdata()) == 1]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0]), line.get_marker()) for line in single]


def test_froc__axis_runs_from_an_eighth_to_eight_with_fractions_for_names() -> None:
    axes = froc_curve({"test": CURVE}).axes[0]
    assert (axes.get_xscale(), axes.get_xlim(), axes.get_ylim()) == ("log", (1 / 8, 8), (0, 1))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1/8", "1/4", "1/2", "1", "2", "4", "8"]
    assert list(axes.get_xticks()) == [1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8]
    assert len(axes.get_xticks(minor=True)) == 0


@pytest.mark.parametrize(("at", "sensitivity"), [(0.125, 0.4), (0.29, 0.4), (0.31, 0.6), (1.1, 0.6), (1.3, 0.8)])
def test_froc__line_stands_at_the_sensitivity_that_was_reached_so_far(at, sensitivity) -> None:
    assert height_at(froc_curve({"test": CURVE}).axes[0], at) == pytest.approx(sensitivity)


def test_froc__line_ends_where_the_last_threshold_was_measured() -> None:
    xs, ys = froc_curve({"test": CURVE}).axes[0].lines[0].get_data()
    assert (xs[-1], ys[-1]) == (3.0, 0.8)


def test_froc__order_of_the_thresholds_does_not_matter() -> None:
    backwards = froc_curve({"test": (FALSE_POSITIVES[::-1], SENSITIVITY[::-1])}).axes[0].lines[0].get_data()
    np.testing.assert_array_equal(backwards, froc_curve({"test": CURVE}).axes[0].lines[0].get_data())


def test_froc__operating_points_are_marked_and_told_under_their_curves() -> None:
    curves = {"validation": CURVE, "test": (FALSE_POSITIVES, np.array(SENSITIVITY) / 2)}
    axes = froc_curve(curves, {"test": (0.3, 0.3), "validation": (1.2, 0.8)}).axes[0]
    assert [(x, y) for x, y, _ in markers(axes)] == [(1.2, 0.8), (0.3, 0.3)]
    assert legend(axes) == [
        "validation: sensitivity 0.800 at 1.2 per image",
        "test: sensitivity 0.300 at 0.3 per image",
    ]
    assert axes.get_legend().get_title().get_text() == "marked: the operating point"


@pytest.mark.parametrize(("x", "at", "arrow"), [(0.0, 1 / 8, "<"), (0.05, 1 / 8, "<"), (12.0, 8, ">")])
def test_froc__operating_point_beyond_the_axis_is_an_arrow_at_its_end(x, at, arrow) -> None:
    axes = froc_curve({"test": CURVE}, {"test": (x, 0.5)}).axes[0]
    assert markers(axes) == [(at, 0.5, arrow)]
    assert legend(axes) == [f"test: sensitivity 0.500 at {x:.3g} per image"]


def test_froc__each_curve_has_its_own_colour_line_and_marker_as_the_legend_shows() -> None:
    names = ["fold 0", "fold 1", "fold 2"]
    axes = froc_curve(dict.fromkeys(names, CURVE), dict.fromkeys(names, (1.0, 0.5))).axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata()) > 1]
    points = [line for line in axes.lines if len(line.get_xdata()) == 1]
    drawn = [(c.get_color(), c.get_linestyle(), p.get_marker()) for c, p in zip(curves, points, strict=True)]
    assert all(len(set(looks)) == 3 for looks in zip(*drawn, strict=True))
    entries = axes.get_legend().get_lines()
    assert [(e.get_color(), e.get_linestyle(), e.get_marker()) for e in entries] == drawn


def test_froc__split_without_boxes_is_undefined_and_the_other_is_drawn() -> None:
    undefined = (FALSE_POSITIVES, [np.nan] * 6)
    axes = froc_curve({"validation": undefined, "test": CURVE}).axes[0]
    assert legend(axes) == ["validation: undefined, no true box", "test"]
    assert not axes.texts
    (text,) = froc_curve({"validation": undefined}, {"validation": (np.nan, np.nan)}).axes[0].texts
    assert text.get_text() == "undefined: no true box in this split"


@pytest.mark.parametrize(
    ("curve", "points", "match"),
    [
        (([0.1, 0.2], [0.5]), {}, r"test: false positives of shape \(2,\)"),
        (CURVE, {"val": (1.0, 0.5)}, r"operating points of \['val'\]; expected names of curves, \['test'\]"),
    ],
)
def test_froc__what_does_not_fit_is_refused(curve, points, match) -> None:
    with pytest.raises(ValueError, match=match):
        froc_curve({"test": curve}, points)
