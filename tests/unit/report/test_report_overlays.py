"""Outlines on radiographs, proved on the rendered pixels; and where rows, names and scores stand."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pulmo.report.figures import Case, overlays
from pulmo.report.overlays import shorten
from pulmo.report.style import BLUE, VERMILLION

TRUTH, PREDICTION = (tuple(round(255 * part) for part in to_rgb(colour)) for colour in (BLUE, VERMILLION))
DPI = 600  # a pixel of the pictures below is about 13 pixels of the rendering: half of one cannot hide

LEFT, TOP, RIGHT, BOTTOM = 30, 20, 70, 45
MASK = np.zeros((100, 100), np.uint8)
MASK[TOP:BOTTOM, LEFT:RIGHT] = 1
BOX = np.array([[LEFT, TOP, RIGHT, BOTTOM]], np.float32)
BLANK = Case(np.zeros((100, 100), np.uint8), "id")


def render(figure: Figure, dpi: int = DPI) -> NDArray[np.int64]:
    """(H, W, 3) in 0 … 255."""
    figure.set_dpi(dpi)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)


def near(pixels: NDArray[np.int64], colour: tuple[int, ...], tolerance: int = 30) -> NDArray[np.bool_]:
    return np.abs(pixels - colour).max(axis=-1) <= tolerance


def inside(axes: Axes, pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rendered picture alone, its border included."""
    (x0, y0), (x1, y1) = axes.bbox.get_points().round().astype(int)
    return pixels[len(pixels) - y1 : len(pixels) - y0, x0:x1]


def first_and_last(flags: NDArray[np.bool_]) -> tuple[int, int]:
    at = np.flatnonzero(flags)
    return int(at[0]), int(at[-1])


@pytest.mark.parametrize(
    ("outlined", "colour"),
    [
        ({"true_mask": MASK}, TRUTH),
        ({"true_boxes": BOX}, TRUTH),
        ({"predicted_mask": MASK}, PREDICTION),
        ({"predicted_boxes": BOX}, PREDICTION),
    ],
)
def test_outline__runs_on_the_edge_between_the_pixels_of_the_rendered_picture(outlined, colour) -> None:
    figure = overlays([Case(MASK * 255, "id", **outlined)])
    axes = figure.axes[0]
    lines = near(inside(axes, render(figure)), colour)
    for artist in (*axes.collections, *axes.patches):
        artist.set_visible(False)
    bright = inside(axes, render(figure))[..., 0] > 127
    for axis in (0, 1):
        low, high = first_and_last(bright.any(axis=axis))  # the rendered pixels that show the mask's own
        outer_low, outer_high = first_and_last(lines.any(axis=axis))
        thickness = 1.3 / 72 * DPI
        assert outer_low == pytest.approx(low - thickness / 2, abs=1.5)
        assert outer_high == pytest.approx(high + thickness / 2, abs=1.5)


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_outline__has_a_white_halo_on_either_side(grey) -> None:
    figure = overlays([replace(BLANK, image=np.full((100, 100), grey, np.uint8), true_mask=MASK)])
    pixels = inside(figure.axes[0], render(figure))
    across = pixels[int((TOP + BOTTOM) / 200 * len(pixels)), : len(pixels) // 2]
    low, high = first_and_last(near(across, TRUTH))
    halo = round((2.7 - 1.3) / 2 / 72 * DPI)
    assert np.all(across[low - halo + 1 : low - 1] > 250)
    assert np.all(across[high + 2 : high + halo - 1] > 250)
    assert np.all(near(across[: low - halo - 2], (grey,) * 3, 0))
    assert np.all(near(across[high + halo + 3 :], (grey,) * 3, 0))


@pytest.mark.parametrize(
    "agreeing",
    [{"true_mask": MASK, "predicted_mask": MASK}, {"true_boxes": BOX, "predicted_boxes": BOX}],
)
def test_outline__where_both_agree_both_are_seen(agreeing) -> None:
    figure = overlays([replace(BLANK, **agreeing)])
    pixels = inside(figure.axes[0], render(figure))
    dashes, gaps = (int(near(pixels, colour).sum()) for colour in (PREDICTION, TRUTH))
    assert 0.2 < gaps / (dashes + gaps) < 0.5


def test_outline__truth_is_solid_and_prediction_broken_without_their_colours() -> None:
    figure = overlays([replace(BLANK, true_boxes=BOX, predicted_boxes=BOX + np.array([0, 40, 0, 40]))])
    pixels = inside(figure.axes[0], render(figure))
    for colour, top, gaps in ((TRUTH, TOP, False), (PREDICTION, TOP + 40, True)):
        line = pixels[round(top / 100 * len(pixels)), int(0.35 * len(pixels)) : int(0.65 * len(pixels))]
        drawn = near(line, colour)
        assert drawn.any()
        assert (~drawn).any() == gaps


@pytest.mark.parametrize(
    "whole", [{"true_mask": np.ones((100, 100), np.uint8)}, {"true_boxes": np.array([[0.0, 0, 100, 100]])}]
)
def test_outline__along_the_border_is_closed_and_stands_half_outside(whole) -> None:
    figure = overlays([replace(BLANK, **whole)])
    lines = near(render(figure), TRUTH)
    legend = round(figure.legends[0].get_window_extent().y1)
    lines = lines[: len(lines) - legend]
    height, width = (np.ptp(np.flatnonzero(lines.any(axis=axis))) + 1 for axis in (1, 0))
    thickness = 1.3 / 72 * DPI
    assert height == pytest.approx(figure.axes[0].bbox.height + thickness, abs=3)
    assert width == pytest.approx(figure.axes[0].bbox.width + thickness, abs=3)
    picture = inside(figure.axes[0], np.pad(lines, ((0, legend), (0, 0))))
    for edge in (picture[1], picture[-2], picture[:, 1], picture[:, -2]):
        assert edge.mean() > 0.98


def test_outline__mask_with_a_hole_and_a_speck_has_three_outlines() -> None:
    mask = MASK.copy()
    mask[25:30, 40:50] = 0
    mask[80, 80] = 1
    axes = overlays([replace(BLANK, predicted_mask=mask)]).axes[0]
    line = next(c for c in axes.collections if c.get_edgecolor()[0][:3] == pytest.approx(to_rgb(VERMILLION)))
    assert len(line.get_paths()[0].to_polygons(closed_only=False)) == 3


@pytest.mark.parametrize(
    "nothing",
    [{"true_mask": np.zeros((100, 100), np.uint8)}, {"predicted_boxes": np.zeros((0, 4)), "scores": np.zeros(0)}],
)
def test_outline__empty_truth_or_prediction_leaves_the_picture_bare(nothing) -> None:
    figure = overlays([replace(BLANK, **nothing)])
    assert inside(figure.axes[0], render(figure)).max() == 0


def test_outline__box_beyond_the_image_is_cut_at_its_border() -> None:
    axes = overlays([replace(BLANK, true_boxes=np.array([[-20.0, 50, 40, 130]]))]).axes[0]
    assert {patch.get_bbox().bounds for patch in axes.patches} == {(0, 50, 40, 50)}


def test_picture__small_image_keeps_its_greys_and_its_edges() -> None:
    checks = np.where(np.indices((200, 200)).sum(axis=0) % 2, 90, 120).astype(np.uint8)
    figure = overlays([replace(BLANK, image=checks)])
    greys = np.unique(inside(figure.axes[0], render(figure, 150))[2:-2, 2:-2])
    np.testing.assert_allclose(greys, [90, 120], atol=1)  # a colour map's own rounding


def test_picture__of_more_pixels_than_the_panel_is_averaged_not_sampled() -> None:
    stripes = np.zeros((1500, 1500), np.uint8)
    stripes[:, ::2] = 200
    figure = overlays([replace(BLANK, image=stripes)])
    pixels = inside(figure.axes[0], render(figure, 150))
    assert np.abs(pixels[5:-5, 5:-5] - 100).max() <= 12


def test_picture__keeps_its_proportions() -> None:
    axes = overlays([replace(BLANK, image=np.zeros((60, 90), np.uint8))]).axes[0]
    assert axes.bbox.width / axes.bbox.height == pytest.approx(1.5)


def test_overlays__groups_are_rows_in_order_of_appearance_named_at_the_left() -> None:
    groups = ["best", "worst", "best", "median", "worst", "worst"]
    figure = overlays([replace(BLANK, title=str(k), group=group) for k, group in enumerate(groups)])
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in shown] == ["0", "2", "1", "4", "5", "3"]
    assert [axes.get_ylabel() for axes in shown] == ["best", "", "worst", "", "", "median"]
    rows = [round(axes.bbox.y0) for axes in shown]
    assert rows[0] == rows[1] > rows[2] == rows[3] == rows[4] > rows[5]
    columns = [round(axes.bbox.x0) for axes in shown]
    assert columns[0] == columns[2] == columns[5] < columns[1] == columns[3] < columns[4]


@pytest.mark.parametrize("groups", [["a"] * 5, ["a", "b", "c", "d"]])
def test_overlays__more_than_fit_are_refused(groups) -> None:
    with pytest.raises(ValueError, match="expected up to 3 of 4"):
        overlays([replace(BLANK, group=group) for group in groups])


def test_overlays__full_sheet_has_pictures_of_two_inches_and_no_text_on_another() -> None:
    case = replace(BLANK, title="2d1f0b8a-8c7e-4b1d-9a55-0c3f7a1e2b99", caption="Dice 0.93", true_mask=MASK)
    figure = overlays([replace(case, group=group) for group in "abc" for _ in range(4)], "Test split")
    assert all(axes.bbox.width / figure.dpi > 2 for axes in figure.axes)
    texts = [text for axes in figure.axes for text in (axes.title, axes.xaxis.label, axes.yaxis.label)]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    boxes += [axes.bbox for axes in figure.axes] + [figure.legends[0].get_window_extent()]
    assert len(boxes) == 12 + 12 + 3 + 12 + 1
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_overlays__long_title_loses_its_middle_and_fits_its_picture() -> None:
    figure = overlays([replace(BLANK, title="1.2.840.113619.2.30." + "1762295590." * 4 + "7")])
    title = figure.axes[0].title
    assert title.get_text().startswith("1.2.840.113")
    assert "…" in title.get_text()
    assert title.get_text().endswith("295590.7")
    assert title.get_window_extent().width <= figure.axes[0].bbox.width * 1.02


def test_shorten__keeps_both_ends_and_leaves_alone_what_fits() -> None:
    assert shorten("abc", 100, 8) == "abc"
    short = shorten("a" * 40 + "z" * 40, 60, 8)
    assert short.strip("az") == "…"
    assert 0 <= short.count("a") - short.count("z") <= 1


@pytest.mark.parametrize(
    ("known", "entries"),
    [
        ({}, []),
        ({"true_mask": MASK}, ["truth"]),
        ({"predicted_mask": MASK}, ["prediction"]),
        ({"true_boxes": BOX, "predicted_boxes": BOX}, ["truth", "prediction"]),
        ({"predicted_boxes": BOX, "scores": np.array([0.5])}, ["prediction with its score"]),
    ],
)
def test_legend__one_for_the_figure_names_what_is_known(known, entries) -> None:
    figure = overlays([BLANK, replace(BLANK, **known), replace(BLANK, **known)])
    assert [text.get_text() for legend in figure.legends for text in legend.get_texts()] == entries
    assert not any(axes.get_legend() for axes in figure.axes)


def test_legend__shows_the_lines_that_are_drawn() -> None:
    figure = overlays([replace(BLANK, true_boxes=BOX, predicted_boxes=BOX)])
    lines = [patch for patch in figure.axes[0].patches if to_hex(patch.get_edgecolor()) != "#ffffff"]
    drawn = [(to_hex(line.get_edgecolor()), line.get_linestyle() != "-") for line in lines]
    entries = [(to_hex(entry.get_color()), entry.is_dashed()) for entry in figure.legends[0].get_lines()]
    assert entries == drawn == [(BLUE.lower(), False), (VERMILLION.lower(), True)]


def test_scores__of_boxes_at_every_border_and_on_each_other_stay_inside_and_apart() -> None:
    boxes = [[0, 0, 30, 30], [80, 0, 100, 20], [0, 85, 20, 100], [70, 90, 100, 100], [0, 0, 100, 100]]
    boxes += [[40, 40, 70, 70], [41, 40, 70, 70], [40, 41, 71, 69], [90, 45, 130, 60]]
    scores = np.linspace(0.1, 0.98, len(boxes))
    figure = overlays([replace(BLANK, predicted_boxes=np.array(boxes, float), scores=scores)])
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert sorted(text.get_text() for text in axes.texts) == [f"{score:.2f}" for score in scores]
    rooms = [text.get_bbox_patch().get_window_extent() for text in axes.texts]
    for room in rooms:
        assert axes.bbox.x0 <= room.x0 + 0.5
        assert axes.bbox.y0 <= room.y0 + 0.5
        assert room.x1 <= axes.bbox.x1 + 0.5
        assert room.y1 <= axes.bbox.y1 + 0.5
    assert not any(a.overlaps(b) for i, a in enumerate(rooms) for b in rooms[:i])


def test_scores__lone_score_touches_its_own_box_from_outside() -> None:
    figure = overlays([replace(BLANK, predicted_boxes=BOX, scores=np.array([0.876]))])
    figure.draw_without_rendering()
    (text,) = figure.axes[0].texts
    room = text.get_bbox_patch().get_window_extent()
    left, top = figure.axes[0].transData.transform((LEFT, TOP))
    assert text.get_text() == "0.88"
    assert room.y0 == pytest.approx(top, abs=2)
    assert room.x0 == pytest.approx(left, abs=4)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"image": np.zeros((3, 4, 4), np.uint8)}, "id: image of shape"),
        ({"true_mask": np.zeros((100, 99), np.uint8)}, "id: mask of shape"),
        ({"predicted_boxes": np.zeros((2, 5))}, "id: boxes of shape"),
        ({"predicted_boxes": BOX, "scores": np.zeros(2)}, "id: scores of shape .* for 1 predicted"),
        ({"scores": np.zeros(1)}, "for 0 predicted boxes"),
    ],
)
def test_case__parts_that_do_not_fit_are_refused(wrong, match) -> None:
    with pytest.raises(ValueError, match=match):
        replace(BLANK, **wrong)


def test_overlays__no_case_says_so() -> None:
    assert [text.get_text() for text in overlays([], "Test split").axes[0].texts] == ["no image to show"]
