"""Chance, by seed alone."""

import warnings

import albumentations as A
import numpy as np
import pytest
from numpy.typing import NDArray

from pulmo.errors import ConfigError
from pulmo.transforms.augment import Augment

AFFINE = {"rotate": (-10, 10), "translate_percent": (-0.1, 0.1)}


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)


@pytest.fixture
def rectangle() -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    """A bright rectangle in the dark, its mask and its box."""
    image = np.zeros((64, 64), np.uint8)
    image[24:44, 14:34] = 255
    return image, (image > 0).astype(np.uint8), np.array([[14, 24, 34, 44]], np.float32)


def test_augment__same_seed_same_result_whatever_came_before(image: NDArray[np.uint8]) -> None:
    transforms = [A.Affine(**AFFINE, p=1), A.RandomBrightnessContrast(p=0.5), A.HorizontalFlip(p=0.5)]
    straight, back = Augment(transforms), Augment([A.Affine(**AFFINE, p=1), *transforms[1:]])
    forward = [straight(image, seed)[0] for seed in range(8)]
    backward = [back(image, seed)[0] for seed in reversed(range(8))]
    for one, other in zip(forward, reversed(backward), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(straight(image, 3)[0], forward[3])


def test_augment__other_seeds_differ(image: NDArray[np.uint8]) -> None:
    augment = Augment([A.Affine(**AFFINE, p=1)])
    assert len({augment(image, seed)[0].tobytes() for seed in range(20)}) == 20


def test_augment__does_not_draw_from_the_worlds_generators(image: NDArray[np.uint8]) -> None:
    augment = Augment([A.Affine(**AFFINE, p=1)])
    # The generators of the module are everybody's, and differ in each worker.
    np.random.seed(0)  # noqa: NPY002
    first = augment(image, 1)[0]
    np.random.seed(5)  # noqa: NPY002
    np.testing.assert_array_equal(augment(image, 1)[0], first)


def test_augment__none_is_the_identity(image: NDArray[np.uint8]) -> None:
    mask, boxes = (image > 99).astype(np.uint8), np.array([[1, 2, 3, 4]], np.float32)
    same, masks, moved = Augment([])(image, 7, [mask], boxes)
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(masks[0], mask)
    np.testing.assert_array_equal(moved, boxes)


def test_augment__p_is_the_part_of_images_that_change(image: NDArray[np.uint8]) -> None:
    augment = Augment([A.Affine(**AFFINE, p=0.3)])
    changed = sum(not np.array_equal(augment(image, seed)[0], image) for seed in range(600))
    assert abs(changed - 180) < 4 * (600 * 0.3 * 0.7) ** 0.5  # binomial: ± 45


def test_augment__shape_and_type_stay(image: NDArray[np.uint8]) -> None:
    augment = Augment([A.Affine(**AFFINE), A.RandomGamma(), A.GaussNoise(p=1), A.RandomResizedCrop(size=(64, 64))])
    for seed in range(10):
        made, masks, boxes = augment(image, seed, [image // 255], np.array([[1, 2, 30, 40]], np.float32))
        assert (made.shape, made.dtype) == ((64, 64), np.uint8)
        assert (masks[0].shape, masks[0].dtype) == ((64, 64), np.uint8)
        assert (boxes.shape[1], boxes.dtype) == (4, np.float32)


def test_augment__flip_is_exact(
    rectangle: tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]],
) -> None:
    image, mask, boxes = rectangle
    flipped, masks, moved = Augment([A.HorizontalFlip(p=1)])(image, 0, [mask], boxes)
    np.testing.assert_array_equal(flipped, image[:, ::-1])
    np.testing.assert_array_equal(masks[0], mask[:, ::-1])
    assert moved.tolist() == [[30, 24, 50, 44]]


@pytest.mark.parametrize("seed", range(12))
def test_augment__masks_and_boxes_move_with_the_image(
    rectangle: tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]], seed: int
) -> None:
    image, mask, boxes = rectangle
    shift = Augment([A.Affine(translate_percent=(-0.2, 0.2), scale=(0.8, 1.2), p=1), A.VerticalFlip(p=0.5)])
    moved_image, masks, moved = shift(image, seed, [mask, 1 - mask], boxes)
    assert not np.array_equal(moved_image, image)
    assert set(np.unique(masks[0])) == {0, 1}
    ys, xs = np.nonzero(moved_image > 127)
    np.testing.assert_allclose([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], moved[0], atol=1.1)
    assert ((moved_image > 127) != masks[0]).sum() < 0.1 * masks[0].sum()  # but for the edge
    assert (masks[0] & masks[1]).sum() == 0


def test_augment__boxes_that_leave_the_picture_are_dropped(image: NDArray[np.uint8]) -> None:
    left = Augment([A.Affine(translate_px={"x": (-20, -20), "y": (0, 0)}, p=1)])
    boxes = np.array([[0, 10, 18, 20], [15, 10, 25, 20], [14, 10, 22, 20], [40, 10, 50, 20]], np.float32)
    # Gone; half of it stays, and is cut at the border; a quarter stays, which is less than 0.3; whole.
    np.testing.assert_allclose(left(image, 0, [], boxes)[2], [[0, 10, 5, 20], [20, 10, 30, 20]], atol=1e-4)


def test_augment__without_boxes_has_none_of_four_sides(image: NDArray[np.uint8]) -> None:
    assert Augment([A.HorizontalFlip(p=1)])(image, 0)[2].shape == (0, 4)


@pytest.mark.parametrize(
    "transform", [A.RandomScale(scale_limit=(0.2, 0.2), p=1), A.ToFloat(p=1), A.Normalize(mean=0.5, std=0.5, p=1)]
)
def test_augment__a_transform_of_size_or_type_is_refused(image: NDArray[np.uint8], transform: A.BasicTransform) -> None:
    with pytest.raises(ConfigError, match=r"augment gives .* leave out transforms that change the size, or normalise"):
        Augment([transform])(image, 0)


def test_augment__pixel_transforms_alone_give_no_warning(image: NDArray[np.uint8]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bright = Augment([A.RandomBrightnessContrast((0.2, 0.2), (0, 0), p=1)])
        made, _, boxes = bright(image // 2, 0, [], np.array([[1, 2, 30, 40]], np.float32))
    assert made.mean() > (image // 2).mean() + 20
    assert boxes.tolist() == [[1, 2, 30, 40]]
