"""Figures of Dice coefficients, with medians and quartiles worked out by hand."""

import numpy as np
import pytest
from matplotlib.axes import Axes

from pulmo.report.figures import dice_by_area, dice_by_threshold, dice_histogram

NAN = float("nan")


def legend(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_text()]


def flags(axes: Axes) -> list[float]:
    return sorted(float(line.get_xdata()[0]) for line in axes.lines if list(line.get_ydata()) == [0, 1])


def test_dice_histogram__bins_hold_the_images_zero_and_one_included() -> None:
    (patch,) = dice_histogram([0.0, 0.01, 0.5, 1.0, 1.0, NAN]).axes[0].patches
    counts, edges, _ = patch.get_data()
    assert (counts.sum(), counts[0], counts[12], counts[-1]) == (5, 2, 1, 2)
    assert (edges[0], edges[-1]) == (0, 1)


def test_dice_histogram__median_and_quartiles_are_lines_with_their_values() -> None:
    axes = dice_histogram([0.2, 0.4, NAN, 0.6, 0.7, 0.9]).axes[0]
    assert flags(axes) == pytest.approx([0.4, 0.6, 0.7])
    assert sorted(texts(axes)) == ["lower quartile 0.40", "median 0.60", "upper quartile 0.70"]
    assert len({line.get_linestyle() for line in axes.lines}) == 3


@pytest.mark.parametrize(
    ("dice", "entry"),
    [
        ([0.5] * 1200 + [NAN] * 3, "1,200 images (3 without a Dice coefficient left out)"),
        ([0.5, 0.6], "2 images"),
        ([0.5], "1 image"),
    ],
)
def test_dice_histogram__legend_tells_how_many_images_and_how_many_left_out(dice, entry) -> None:
    assert legend(dice_histogram(dice).axes[0]) == [entry]


def test_dice_histogram__names_of_close_quartiles_do_not_touch() -> None:
    figure = dice_histogram(np.linspace(0.9, 0.96, 50))
    figure.draw_without_rendering()
    boxes = [super(type(t), t).get_window_extent() for t in figure.axes[0].texts if t.get_text()]
    assert len(boxes) == 3
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("dice", [[], [NAN, NAN]])
def test_dice_histogram__without_values_says_undefined(dice) -> None:
    assert texts(dice_histogram(dice).axes[0]) == ["undefined: no image with a Dice coefficient in this split"]


@pytest.mark.parametrize("dice", [[0.5, 1.1], [-0.1, 0.5], [[0.5]]])
def test_dice_histogram__what_is_no_dice_is_refused(dice) -> None:
    with pytest.raises(ValueError, match=r"outside \[0, 1\]; expected none of \(N,\)"):
        dice_histogram(dice)


def test_dice_by_area__points_are_the_images_with_a_true_mask() -> None:
    axes = dice_by_area([0.5, NAN, 0.0, 0.9, 0.0], [0.01, 0.0, 0.0, 0.2, 0.004]).axes[0]
    (points,) = axes.collections
    np.testing.assert_allclose(points.get_offsets(), [(0.01, 0.5), (0.2, 0.9), (0.004, 0.0)])
    assert axes.get_xscale() == "log"
    assert legend(axes) == ["3 images (2 without a true mask left out)"]


def test_dice_by_area__medians_are_those_of_each_doubling_with_five_images() -> None:
    # [1/8, 1/4): five images, median Dice 0.8 at the median area 0.16; [1/4, 1/2): four, too few; [1/2, 1): five.
    area = [0.13, 0.15, 0.16, 0.2, 0.24, 0.25, 0.3, 0.3, 0.3, 0.5, 0.5, 0.6, 0.6, 0.9]
    dice = [0.9, 0.8, 0.1, 0.7, 0.95, 0, 0, 0, 0, 0.2, 0.1, 0.3, 0.4, 1.0]
    axes = dice_by_area(dice, area).axes[0]
    np.testing.assert_allclose(np.column_stack(axes.lines[0].get_data()), [(0.16, 0.8), (0.6, 0.3)])
    assert legend(axes)[1] == "median within each doubling of the area (5 images or more)"


@pytest.mark.parametrize(
    ("area", "shown"),
    [
        ([0.0005, 0.3], {"0.1 %", "1 %", "10 %"}),
        ([0.01, 0.2], {"1 %", "2 %", "5 %", "10 %", "20 %"}),
        ([0.2, 0.4], {"20 %", "30 %", "40 %", "50 %"}),
    ],
)
def test_dice_by_area__ticks_are_percentages_however_far_the_areas_reach(area, shown) -> None:
    axes = dice_by_area([0.5, 0.6], area).axes[0]
    low, high = axes.get_xlim()
    ticks = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    assert {label.get_text() for x, label in ticks if low <= x <= high} == shown


def test_dice_by_area__without_true_masks_says_undefined() -> None:
    axes = dice_by_area([0.0, NAN], [0.0, 0.0]).axes[0]
    assert texts(axes) == ["undefined: no image with a true mask in this split"]


@pytest.mark.parametrize(
    ("dice", "area", "match"),
    [
        ([0.5], [0.1, 0.2], "1 Dice coefficients for 2 areas"),
        ([0.5], [30.0], "1 of areas"),
        ([2.0], [0.3], "1 of Dice"),
    ],
)
def test_dice_by_area__what_does_not_fit_is_refused(dice, area, match) -> None:
    with pytest.raises(ValueError, match=match):
        dice_by_area(dice, area)


def test_dice_by_threshold__curves_are_drawn_by_cut_off_with_their_highest_value() -> None:
    axes = dice_by_threshold({"validation": ([0.7, 0.1, 0.4], [0.3, 0.5, 0.8]), "test": ([0.1, 0.4], [0.6, 0.4])}).axes[
        0
    ]
    np.testing.assert_allclose(np.column_stack(axes.lines[0].get_data()), [(0.1, 0.5), (0.4, 0.8), (0.7, 0.3)])
    assert legend(axes) == ["validation: highest 0.800, at 0.40", "test: highest 0.600, at 0.10"]
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 2
    assert flags(axes) == []


def test_dice_by_threshold__own_cut_off_is_a_line_with_its_value() -> None:
    axes = dice_by_threshold({"test": ([0.1, 0.9], [0.5, 0.8])}, 0.372).axes[0]
    assert flags(axes) == [0.372]
    assert texts(axes) == ["cut-off 0.37"]


def test_dice_by_threshold__undefined_values_are_left_out_and_undefined_curves_named() -> None:
    curves = {"validation": ([0.1, 0.5], [NAN, NAN]), "test": ([0.1, 0.5, 0.9], [0.4, NAN, 0.2])}
    axes = dice_by_threshold(curves).axes[0]
    np.testing.assert_allclose(np.column_stack(axes.lines[1].get_data()), [(0.1, 0.4), (0.9, 0.2)])
    assert legend(axes) == ["validation: undefined", "test: highest 0.400, at 0.10"]
    assert texts(dice_by_threshold({"validation": ([0.1], [NAN])}).axes[0]) == ["undefined: no mask in this split"]


def test_dice_by_threshold__arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"test: cut-offs of shape \(2,\)"):
        dice_by_threshold({"test": ([0.1, 0.2], [0.5])})
