"""Figures of a data set against what was given to them."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from pulmo.report.contents import (
    GRID,
    Film,
    age_histogram,
    box_map,
    class_counts,
    coverage,
    image_sizes,
    mean_films,
    same_films,
)

NAMES = ("Normal", "Opacity")
COUNTS = {"train": [1200, 400], "val": [10, 5], "test": [0, 7]}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_class_counts__a_bar_for_each_class_of_each_split_with_its_number() -> None:
    figure = class_counts(COUNTS, NAMES)
    assert sorted(texts(figure)) == sorted(["1,200", "400", "10", "5", "0", "7"])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["train", "val", "test"]
    assert len({bars[0].get_hatch() for bars in axes.containers}) == 2  # told apart in grey


def test_class_counts__of_an_empty_set_is_drawn() -> None:
    assert texts(class_counts({"train": [0, 0]}, NAMES)) == ["0", "0"]


def test_age_histogram__shares_of_each_class_add_up_to_one() -> None:
    axes = age_histogram([10, 12, 50, 90, np.nan], [0, 0, 0, 1, 1], NAMES).axes[0]
    for patch, expected in zip(axes.patches, ({10: 2 / 3, 50: 1 / 3}, {90: 1.0}), strict=True):
        data = patch.get_data()  # type: ignore[attr-defined]
        assert {int(data.edges[i]): value for i, value in enumerate(data.values) if value} == pytest.approx(expected)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "Normal (3, median 12)",
        "Opacity (1, median 90)",
    ]


def test_age_histogram__without_ages_says_so() -> None:
    assert texts(age_histogram([np.nan], [0], NAMES)) == ["undefined: no image with an age"]


def test_coverage__counts_boxes_over_each_cell() -> None:
    cover = coverage(np.array([[0, 0, 0.5, 1], [0.25, 0, 1, 0.5]]))
    assert cover.shape == (GRID, GRID)
    assert cover[0, 0] == 1  # top left
    assert cover[0, GRID // 4] == 2
    assert cover[-1, GRID // 4] == 1
    assert cover[-1, -1] == 0
    assert cover.sum() == GRID**2 * (0.5 + 0.375)


def test_box_map__counts_every_box_of_known_size() -> None:
    figure = box_map([[0, 0, 0.5, 0.5], [0.2, 0.2, 0.3, 0.3], [np.nan] * 4])
    assert figure.axes[1].get_title() == "2 boxes, median 13.0 %"
    assert texts(box_map(np.full((1, 4), np.nan))) == ["undefined: no box of known size"] * 2


def test_image_sizes__a_mark_for_each_size() -> None:
    axes = image_sizes([100, 100, 200], [50, 50, 300]).axes[0]
    assert axes.get_title() == "3 images, 2 sizes"
    offsets = np.asarray(axes.collections[0].get_offsets())
    np.testing.assert_array_equal(offsets, [[100, 50], [200, 300]])


def test_same_films__each_group_is_named_above_its_pictures() -> None:
    wide, tall = np.zeros((20, 40), np.uint8), np.zeros((50, 40), np.uint8)
    groups = {"1. near": [Film(wide, "a", "train"), Film(tall, "b", "test")], "2. identical": [Film(wide, "c", "val")]}
    figure = same_films(groups)
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title(loc="left") for axes in shown] == ["1. near", "", "2. identical"]
    assert [axes.get_xlabel() for axes in shown] == ["a\ntrain", "b\ntest", "c\nval"]
    ratios = {round(abs(np.diff(axes.get_ylim())[0] / np.diff(axes.get_xlim())[0]), 6) for axes in shown}
    assert ratios == {50 / 40}  # as much room for each


def test_same_films__none_is_said() -> None:
    assert texts(same_films({})) == ["no film stands there twice"]


def test_mean_films__of_two_classes_show_the_difference() -> None:
    films = [Film(np.full((8, 8), grey, np.uint8), name, "1 image") for grey, name in zip((10, 30), NAMES, strict=True)]
    figure = mean_films(films, np.full((8, 8), 20.0))
    assert [axes.get_xlabel() for axes in figure.axes[:3]] == [
        "Normal\n1 image",
        "Opacity\n1 image",
        "Opacity −\nNormal",
    ]
    assert figure.axes[2].images[0].get_clim() == (-20, 20)  # white is no difference
