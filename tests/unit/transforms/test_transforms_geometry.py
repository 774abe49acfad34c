"""Where pixels, masks and boxes go."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pulmo.transforms.geometry import Box, Geometry


def boxes(*corners: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(corners, np.float32).reshape(-1, 4)


def lit(image: NDArray[Any], threshold: float) -> tuple[int, int, int, int]:
    """Box of the pixels at or above `threshold`."""
    ys, xs = np.nonzero(image >= threshold)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


@pytest.mark.parametrize(
    ("crop", "inner", "offset"),
    [
        ((0, 0, 200, 100), (32, 16), (0, 8)),  # landscape: bars above and below
        ((0, 0, 100, 200), (16, 32), (8, 0)),  # portrait: bars left and right
        ((10, 20, 110, 120), (32, 32), (0, 0)),
        ((0, 0, 300, 100), (32, 11), (0, 10)),  # 10.67 rows: eleven, the odd bar below
        ((0, 0, 1000, 1), (32, 1), (0, 15)),
        ((0, 0, 8, 4), (32, 16), (0, 8)),  # small ones grow
    ],
)
def test_fit__keeps_the_aspect_between_bars(crop: Box, inner: tuple[int, int], offset: tuple[int, int]) -> None:
    assert Geometry.fit(crop, 32, keep_aspect=True) == Geometry(crop, inner, offset, 32)


def test_fit__stretches_to_the_whole_square() -> None:
    assert Geometry.fit((5, 6, 205, 106), 32, keep_aspect=False) == Geometry((5, 6, 205, 106), (32, 32), (0, 0), 32)


def test_image__crops_averages_and_pads_with_black() -> None:
    image = np.full((40, 60), 9, np.uint8)
    image[10:18, 20:36] = [[100, 200, 200, 100] * 4] * 8
    made = Geometry.fit((20, 10, 36, 18), 4, keep_aspect=True).image(image)
    np.testing.assert_array_equal(made, [[0] * 4, [150] * 4, [150] * 4, [0] * 4])


def test_image__sixteen_bits_stay() -> None:
    image = np.array([[1000, 3000], [5000, 7000]], np.uint16)
    made = Geometry.fit((0, 0, 2, 2), 1, keep_aspect=False).image(image)
    assert made.dtype == np.uint16
    assert made.tolist() == [[4000]]


def test_mask__a_pixel_is_inside_where_half_of_it_is() -> None:
    mask = np.zeros((4, 8), np.uint8)  # each pixel will be a quarter of one
    mask[0, 0] = 1
    mask[0, 2:4] = 1
    mask[0, 4:6] = mask[1, 4] = 1
    mask[2:4, 6:8] = 1
    made = Geometry.fit((0, 0, 8, 4), 4, keep_aspect=True).mask(mask)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, [[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]])


@pytest.mark.parametrize("side", [7, 64, 300])
def test_mask__holds_zero_and_one_alone(side: int) -> None:
    mask = np.random.default_rng(0).integers(0, 2, (50, 70), np.uint8)
    made = Geometry.fit((3, 4, 60, 48), side, keep_aspect=True).mask(mask)
    assert made.shape == (side, side)
    assert set(np.unique(made)) == {0, 1}


@pytest.mark.parametrize(
    ("crop", "keep_aspect", "expected"),
    [
        ((0, 0, 200, 100), False, (5, 10, 10, 30)),  # × 0.25 and × 0.5
        ((0, 0, 200, 100), True, (5, 17, 10, 27)),  # × 0.25, below a bar of 12
        ((20, 20, 120, 120), False, (0, 0, 10, 20)),  # × 0.5, from (20, 20)
        ((30, 40, 130, 90), False, (0, 0, 5, 20)),  # its left part is cut off
    ],
)
def test_boxes__go_where_their_corners_go(crop: Box, keep_aspect: bool, expected: tuple[float, ...]) -> None:
    moved = Geometry.fit(crop, 50, keep_aspect=keep_aspect).boxes(boxes((20, 20, 40, 60)))
    np.testing.assert_allclose(moved, [expected], atol=1e-5)


def test_boxes__what_is_cropped_away_is_dropped() -> None:
    geometry = Geometry.fit((50, 50, 100, 100), 50, keep_aspect=False)
    outside, touching, sliver, inside = (0, 0, 50, 50), (100, 60, 120, 70), (40, 60, 50.5, 70), (60, 60, 61, 61)
    assert geometry.boxes(boxes(outside, touching, sliver, inside)).tolist() == [[10, 10, 11, 11]]


def test_boxes__none_stay_none_of_four_sides() -> None:
    geometry = Geometry.fit((0, 0, 9, 9), 16, keep_aspect=False)
    for none in (boxes(), boxes((20, 20, 30, 30))):
        assert geometry.boxes(none).shape == (0, 4)
        assert geometry.boxes(none).dtype == np.float32


@pytest.mark.parametrize("keep_aspect", [False, True])
@pytest.mark.parametrize("crop", [(0, 0, 160, 120), (13, 7, 151, 118)])
@pytest.mark.parametrize("size", [48, 128, 333])
def test_boxes__stay_tight_around_what_is_bright(size: int, crop: Box, keep_aspect: bool) -> None:
    image, geometry = np.zeros((120, 160), np.uint8), Geometry.fit(crop, size, keep_aspect=keep_aspect)
    image[30:75, 50:110] = 255
    moved = geometry.boxes(boxes((50, 30, 110, 75)))[0]
    np.testing.assert_allclose(lit(geometry.image(image), 128), moved, atol=0.51 * max(1, size / 100))
    np.testing.assert_allclose(lit(geometry.mask(image // 255), 1), moved, atol=0.51 * max(1, size / 100))


def test_unmask__grows_linearly_and_is_zero_outside_the_crop() -> None:
    geometry = Geometry.fit((2, 1, 6, 3), 2, keep_aspect=False)  # × 2 across, as it is down
    made = geometry.unmask(np.array([[0, 1], [0.4, 0.4]], np.float32), (4, 7))
    across = [0, 0.25, 0.75, 1]  # centres at 0.25, 0.75, 1.25 and 1.75 pixels; those of the map at 0.5 and 1.5
    expected = [[0] * 7, [0, 0, *across, 0], [0, 0, 0.4, 0.4, 0.4, 0.4, 0], [0] * 7]
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected, atol=1e-6)


def test_unmask__averages_what_shrinks_and_leaves_the_bars_out() -> None:
    geometry = Geometry.fit((0, 0, 2, 1), 8, keep_aspect=True)
    probabilities = np.ones((8, 8), np.float32)
    probabilities[2:6] = [[0, 0, 1, 1, 1, 1, 1, 0]] * 4
    np.testing.assert_allclose(geometry.unmask(probabilities, (1, 2)), [[2 / 4, 3 / 4]], atol=1e-6)


def test_unmask__one_axis_shrinks_while_the_other_grows() -> None:
    ramp = np.tile(np.array([0.25, 0.75], np.float32), 4)  # four pairs down: each averages to a half
    probabilities = np.stack([ramp * (column + 1) / 8 for column in range(8)], axis=1).astype(np.float32)
    made = Geometry.fit((0, 0, 16, 4), 8, keep_aspect=False).unmask(probabilities, (4, 16))
    centres = np.clip((np.arange(16) + 0.5) / 2 - 0.5, 0, 7)  # of the new pixels, in the map's
    np.testing.assert_allclose(made, np.tile(0.5 * (centres + 1) / 8, (4, 1)), atol=1e-6)


@pytest.mark.parametrize("shape", [(33, 97), (300, 7), (300, 500)])
def test_unmask__certain_everywhere_is_at_most_one(shape: tuple[int, int]) -> None:
    crop = (3, 2, shape[1] - 1, shape[0] - 5)
    made = Geometry.fit(crop, 224, keep_aspect=False).unmask(np.ones((224, 224), np.float32), shape)
    assert made.max() <= 1
    np.testing.assert_allclose(made[2:-5, 3:-1], 1, atol=1e-5)
    assert lit(made, 0.5) == crop


@pytest.mark.parametrize("keep_aspect", [False, True])
@pytest.mark.parametrize("crop", [(0, 0, 160, 120), (13, 7, 151, 118), (40, 0, 120, 120)])
@pytest.mark.parametrize("size", [128, 333])
def test_unmask__there_and_back_is_within_a_pixel(size: int, crop: Box, keep_aspect: bool) -> None:
    mask, geometry = np.zeros((120, 160), np.uint8), Geometry.fit(crop, size, keep_aspect=keep_aspect)
    mask[30:75, 50:110] = 1
    back = geometry.unmask(geometry.mask(mask).astype(np.float32), mask.shape) >= 0.5
    np.testing.assert_allclose(lit(back.astype(np.uint8), 1), (50, 30, 110, 75), atol=1)
    edge = np.ones_like(mask)
    edge[32:73, 52:108] = 0
    edge[:28], edge[77:], edge[:, :48], edge[:, 112:] = 0, 0, 0, 0
    np.testing.assert_array_equal(back[edge == 0], mask[edge == 0])


def test_unmask__a_mask_gives_shares() -> None:
    mask = np.array([[1, 0], [0, 0]], np.uint8)
    assert Geometry.fit((0, 0, 1, 1), 2, keep_aspect=True).unmask(mask, (1, 1)).tolist() == [[0.25]]


def test_unbox__by_hand() -> None:
    geometry = Geometry.fit((20, 10, 220, 110), 50, keep_aspect=True)  # × 0.25, bars of 12 and 13
    made = geometry.unbox(boxes((5, 17, 10, 27), (-3, 0, 60, 50)))
    assert made.dtype == np.float32
    assert made.tolist() == [[20 + 5 * 4, 10 + 5 * 4, 20 + 10 * 4, 10 + 15 * 4], [20, 10, 220, 110]]


@pytest.mark.parametrize("keep_aspect", [False, True])
@pytest.mark.parametrize("crop", [(0, 0, 160, 120), (13, 7, 151, 118), (60, 0, 160, 120)])
@pytest.mark.parametrize("size", [48, 333])
def test_unbox__there_and_back_is_the_box_within_the_crop(size: int, crop: Box, keep_aspect: bool) -> None:
    geometry = Geometry.fit(crop, size, keep_aspect=keep_aspect)
    inside, across = (70, 30, 110, 75), (0, 20, 158, 119)
    clipped = (max(0, crop[0]), 20, min(158, crop[2]), min(119, crop[3]))
    made = geometry.unbox(geometry.boxes(boxes(inside, across)))
    np.testing.assert_allclose(made, [inside, clipped], atol=1e-3)


def test_unbox__none_stay_none_of_four_sides() -> None:
    made = Geometry.fit((3, 4, 9, 9), 16, keep_aspect=True).unbox(boxes())
    assert (made.shape, made.dtype) == ((0, 4), np.float32)
