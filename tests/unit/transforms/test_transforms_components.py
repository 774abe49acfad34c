"""Boxes of components, and the components kept of a mask."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from pulmo.transforms.components import boxes_of_mask, largest_components


def blobs(seed: int, shape: tuple[int, int] = (80, 113)) -> NDArray[np.float32]:
    """A smooth random map in [0, 1], mostly low: several components at each of the cut-offs below."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1.2)
    return (((smooth - smooth.min()) / np.ptp(smooth)) ** 2).astype(np.float32)


def picture(*rows: str) -> NDArray[np.uint8]:
    return np.array([[sign == "#" for sign in row] for row in rows], np.uint8)


def test_boxes__by_hand() -> None:
    probabilities = np.zeros((10, 10), np.float32)
    probabilities[4:6, 3:6] = 0.6  # pixels 3..5 and 4..5
    probabilities[0, 8], probabilities[1, 9] = 0.7, 0.9  # joined by a corner
    probabilities[9, 0] = 1  # one pixel of a hundred: too small
    boxes, scores = boxes_of_mask(probabilities, 0.5, 0.02)
    assert boxes.tolist() == [[8, 0, 10, 2], [3, 4, 6, 6]]
    np.testing.assert_allclose(scores, [(0.7 + 0.9) / 2, 0.6], rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cut_off", [0.29, 0.5, 0.57])
@pytest.mark.parametrize("smallest_area", [0.0, 0.0005])
def test_boxes__are_those_of_another_labelling(seed: int, cut_off: float, smallest_area: float) -> None:
    probabilities = blobs(seed).round(2)  # equal scores and values on the cut-off
    labels, _ = ndimage.label(probabilities >= np.float32(cut_off), np.ones((3, 3)))
    expected = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        inside = probabilities[labels == number].astype(np.float64)
        if len(inside) >= smallest_area * probabilities.size:
            expected.append((columns.start, rows.start, columns.stop, rows.stop, inside.mean()))
    assert len(expected) > 2
    boxes, scores = boxes_of_mask(probabilities, cut_off, smallest_area)
    assert boxes.dtype == scores.dtype == np.float32
    found = np.column_stack([boxes, scores])
    np.testing.assert_allclose(found[np.lexsort(found.T[::-1])], sorted(expected), rtol=1e-6)
    assert (np.diff(scores) <= 0).all()


@pytest.mark.parametrize("cut_off", [0.29, np.float64(0.29), np.float32(0.29)])
def test_boxes__a_value_on_the_cut_off_is_inside(cut_off: float) -> None:
    boxes, _ = boxes_of_mask(np.full((4, 6), 0.29, np.float32), cut_off, 1.0)
    assert boxes.tolist() == [[0, 0, 6, 4]]


@pytest.mark.parametrize("pixels", [7, 14, 29, 57])
def test_boxes__the_smallest_area_is_still_kept(pixels: int) -> None:
    probabilities = np.zeros((1, 100), np.float32)
    probabilities[0, :pixels] = 1
    assert len(boxes_of_mask(probabilities, 0.5, pixels / 100)[0]) == 1  # 0.07 * 100 is 7.000000000000001
    assert len(boxes_of_mask(probabilities, 0.5, pixels / 100 + 1e-9)[0]) == 0


def test_boxes__of_equals_the_upper_then_the_left_comes_first() -> None:
    probabilities = picture("....#", ".....", "#.#..", "#....").astype(np.float32)
    boxes, scores = boxes_of_mask(probabilities, 0.5, 0.0)
    assert boxes[:, :2].tolist() == [[4, 0], [0, 2], [2, 2]]
    assert scores.tolist() == [1, 1, 1]


def test_boxes__none_have_four_sides() -> None:
    boxes, scores = boxes_of_mask(np.zeros((5, 5), np.float32), 0.5, 0.0)
    assert (boxes.shape, scores.shape) == ((0, 4), (0,))
    assert boxes.dtype == scores.dtype == np.float32


LUNGS = picture(
    "..........#.",
    ".###..####..",
    ".#.#..#..#..",
    ".###..#.##..",
    "......##.#.#",
    ".#....####..",
    "............",
)


def test_components__two_lungs_are_kept_and_filled() -> None:
    # The pixel at the upper right touches the right lung by a corner; the holes are closed, the specks are gone.
    expected = picture(
        "..........#.",
        ".###..####..",
        ".###..####..",
        ".###..####..",
        "......####..",
        "......####..",
        "............",
    )
    made = largest_components(LUNGS, 2, fill=True)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, expected)


def test_components__holes_stay_where_they_are_not_to_be_filled() -> None:
    kept = LUNGS.copy()
    kept[5, 1] = kept[4, 11] = 0
    np.testing.assert_array_equal(largest_components(LUNGS, 2, fill=False), kept)


def test_components__a_bay_of_the_edge_is_no_hole() -> None:
    bay = picture("##..##", "#....#", "######")
    np.testing.assert_array_equal(largest_components(bay, 1, fill=True), bay)


def test_components__what_lies_in_a_hole_goes_and_is_filled() -> None:
    ring = picture("#####", "#...#", "#.#.#", "#...#", "#####")
    np.testing.assert_array_equal(largest_components(ring, 1, fill=True), np.ones((5, 5)))


def test_components__of_equals_the_upper_then_the_left_is_kept() -> None:
    np.testing.assert_array_equal(
        largest_components(picture("...#", "....", "#.#."), 2, fill=True), picture("...#", "....", "#...")
    )


@pytest.mark.parametrize("mask", [np.zeros((6, 9), np.uint8), picture("....", ".##.")])
def test_components__fewer_than_asked_for_stay_as_they_are(mask: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(largest_components(mask, 2, fill=True), mask)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [1, 2, 5])
def test_components__are_those_of_another_labelling(seed: int, count: int) -> None:
    mask = (blobs(seed, (60, 60)) >= 0.35).astype(np.uint8)
    labels, number = ndimage.label(mask, np.ones((3, 3)))
    sizes = ndimage.sum(mask, labels, range(1, number + 1))
    assert number > 2
    largest = np.argsort(-sizes, kind="stable")[:count]  # scipy numbers them from top to bottom
    kept = np.isin(labels, largest + 1)
    np.testing.assert_array_equal(largest_components(mask, count, fill=False), kept)
    np.testing.assert_array_equal(largest_components(mask, count, fill=True), ndimage.binary_fill_holes(kept))
