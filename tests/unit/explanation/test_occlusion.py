"""What an occlusion leaves, and that it leaves nothing else."""

import numpy as np
import pytest

from pulmo.explanation.occlusion import OCCLUSIONS

BY_NAME = {part.name: part for part in OCCLUSIONS}
SHAPE = (40, 60)


def grey(lung_value: int, dtype: type = np.uint8) -> np.ndarray:
    image = np.random.default_rng(0).integers(50, 200, SHAPE).astype(dtype)
    image[lungs() > 0] = lung_value
    return image


def lungs() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:30, 10:25], mask[2:30, 35:50] = 1, 1  # both reach into the frame of 4 rows
    return mask


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", [part.name for part in OCCLUSIONS if part.blind or part.name == "outline alone"])
def test_blind__leaves_nothing_of_the_lungs(name: str, dtype: type) -> None:
    dark, bright = (BY_NAME[name].apply(grey(value, dtype), lungs()) for value in (3, 240))
    np.testing.assert_array_equal(dark, bright)
    assert dark.dtype == dtype


def test_lungs_only__leaves_nothing_of_the_rest() -> None:
    one, other = grey(80), grey(80)
    other[lungs() == 0] = 7
    outputs = [BY_NAME["lungs only"].apply(image, lungs()) for image in (one, other)]
    np.testing.assert_array_equal(*outputs)
    assert set(outputs[0].ravel()) == {80, 128}


def test_filled__is_half_of_the_range_whatever_is_kept() -> None:
    image = grey(3)
    left = BY_NAME["lungs removed"].apply(image, lungs())
    np.testing.assert_array_equal(left[lungs() == 0], image[lungs() == 0])
    assert set(left[lungs() > 0]) == {128}
    assert set(BY_NAME["lungs removed"].apply(image.astype(np.uint16), lungs())[lungs() > 0]) == {32768}


def test_borders__and_centre_share_the_image_at_a_tenth_of_each_side() -> None:
    image = grey(3)
    borders, centre = (BY_NAME[name].apply(image, None) for name in ("borders only", "centre only"))
    inside = np.zeros(SHAPE, bool)
    inside[4:36, 6:54] = True
    np.testing.assert_array_equal(borders[~inside], image[~inside])
    assert len(set(borders[inside])) == 1
    np.testing.assert_array_equal(centre[inside], image[inside])
    assert len(set(centre[~inside])) == 1


def test_lung_box__hides_the_outline() -> None:
    rounded = lungs()
    rounded[2, 10] = 0  # another outline, the same box
    image = grey(3)
    outputs = [BY_NAME["lung box removed"].apply(image, mask) for mask in (lungs(), rounded)]
    np.testing.assert_array_equal(*outputs)
