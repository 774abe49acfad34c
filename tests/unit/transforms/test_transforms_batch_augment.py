"""The same changes in batches: against albumentations itself, and each image on its own."""

from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pulmo.errors import ConfigError
from pulmo.phantom import Anatomy, draw
from pulmo.transforms.augment import Augment
from pulmo.transforms.batch_augment import BatchAugment, unsupported
from pulmo.transforms.batch_draws import draw as draw_batch

HEIGHT, WIDTH = SHAPE = (128, 160)  # not square, so that no axis is taken for the other
SEEDS = np.random.default_rng(0).integers(2**31, size=3000)


def affine(**settings: Any) -> A.Affine:
    return A.Affine(
        **{key: value if isinstance(value, dict) else (value, value) for key, value in settings.items()}, p=1
    )


def shift(x: float, y: float) -> dict[str, tuple[float, float]]:
    return {"x": (x, x), "y": (y, y)}


FIXED = {
    "turn left": affine(rotate=10),
    "turn right": affine(rotate=-12),
    "turn far": affine(rotate=130),
    "shift right and up": affine(translate_percent=shift(0.07, -0.04)),
    "shift left and down": affine(translate_px=shift(-9, 14)),
    "grow": affine(scale=1.15),
    "shrink": affine(scale={"x": (0.8, 0.8), "y": (0.9, 0.9)}),
    "shear": affine(shear={"x": (8, 8), "y": (-3, -3)}),
    "all of affine": affine(rotate=7, scale=1.1, shear=4, translate_percent=shift(-0.1, 0.05)),
    "still": affine(),
    "flip": A.HorizontalFlip(p=1),
    "flip upside down": A.VerticalFlip(p=1),
    "darker": A.RandomBrightnessContrast((-0.15, -0.15), (0.3, 0.3), p=1),
    "brighter": A.RandomBrightnessContrast((0.2, 0.2), (-0.25, -0.25), p=1),
    "gamma below 1": A.RandomGamma((70, 70), p=1),
    "gamma of 1": A.RandomGamma((100, 100), p=1),
    "gamma above 1": A.RandomGamma((140, 140), p=1),
    "blur by nothing": A.GaussianBlur(sigma_limit=(0.2, 0.2), p=1),
    "blur": A.GaussianBlur(sigma_limit=(1.3, 1.3), p=1),
    "blur of a width": A.GaussianBlur(blur_limit=(7, 7), sigma_limit=(3, 3), p=1),
    "no noise": A.GaussNoise(std_range=(0, 0), mean_range=(0.1, 0.1), p=1),
}
EXACT = {name for name in FIXED if name.split()[0] in ("still", "flip", "darker", "brighter", "gamma", "no")}


@pytest.fixture(scope="module")
def radiograph() -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    """A drawn image, its lungs, and boxes inside, at the border, and in a corner."""
    rng = np.random.default_rng(3)
    drawn = draw(rng, Anatomy.sample(rng), "bacteria", size=HEIGHT, aspect=WIDTH / HEIGHT)
    corners = np.random.default_rng(4).uniform(0, 1, (40, 2, 2)) * (WIDTH, HEIGHT)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1) + 2], axis=1).astype(np.float32)
    boxes[0], boxes[1] = (0, 20, 9, 50), (150, 120, 160, 128)
    return (drawn.image * 255).astype(np.uint8), drawn.lungs, boxes


def in_batch(
    augment: Augment, image: NDArray[np.uint8], mask: NDArray[np.uint8], boxes: NDArray[np.float32], seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    made, masks, moved = BatchAugment(augment)(
        torch.from_numpy(image)[None, None],
        np.array([seed]),
        [torch.from_numpy(mask)[None]],
        [torch.from_numpy(boxes)],
    )
    return made[0, 0].numpy(), masks[0][0].numpy(), moved[0].numpy()


def assert_same(augment: Augment, image: Any, mask: Any, boxes: Any, seed: int = 0, *, exact: bool = False) -> None:
    """Within rounding to whole greys, and to pixels at the edges of masks."""
    made, moved_mask, moved = in_batch(augment, image, mask, boxes, seed)
    expected, (expected_mask,), expected_boxes = augment(image, seed, [mask], boxes)
    difference = np.abs(made.astype(int) - expected)
    assert difference.max() <= (0 if exact else 8)  # OpenCV 4 rounds places to 1/32 pixel
    assert difference.mean() < 0.25
    assert 2 * (moved_mask & expected_mask).sum() > 0.99 * (moved_mask.sum() + expected_mask.sum()) > 0
    np.testing.assert_allclose(moved, expected_boxes, atol=1e-3)


@pytest.mark.parametrize("name", FIXED)
def test_batch_augment__gives_the_picture_of_albumentations(radiograph: Any, name: str) -> None:
    assert_same(Augment([FIXED[name]]), *radiograph, exact=name in EXACT)


@pytest.mark.parametrize("seed", range(8))
def test_batch_augment__crops_as_albumentations(radiograph: Any, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    crop = A.RandomResizedCrop(size=SHAPE, scale=(0.3, 1), ratio=(0.8, 1.6), p=1)
    x, y, width, height = draw_batch(crop, 0, np.array([seed]), SHAPE).table[0].astype(int)
    corners = {"crop_coords": (x, y, x + width, y + height)}
    monkeypatch.setattr(crop, "get_params_dependent_on_data", lambda params, data: corners)
    assert_same(Augment([crop]), *radiograph, seed)


def test_batch_augment__transforms_follow_one_another(radiograph: Any) -> None:
    names = ("turn left", "flip", "shift left and down", "brighter", "gamma above 1", "blur", "grow", "darker")
    made, mask, boxes = in_batch(Augment([FIXED[name] for name in names]), *radiograph)
    image, lungs, given = radiograph
    expected, (expected_mask,), expected_boxes = Augment([FIXED[name] for name in names])(image, 0, [lungs], given)
    assert np.abs(made.astype(int) - expected).mean() < 0.5
    assert 2 * (mask & expected_mask).sum() > 0.99 * (mask.sum() + expected_mask.sum())
    assert 5 < len(expected_boxes) < len(given)
    np.testing.assert_allclose(boxes, expected_boxes, atol=1e-3)


@pytest.mark.parametrize("min_visibility", [0.0, 0.3, 0.8])
def test_batch_augment__boxes_mostly_outside_are_dropped(radiograph: Any, min_visibility: float) -> None:
    image, mask, _ = radiograph
    left = Augment([affine(translate_px=shift(-20, 0))], min_visibility)
    boxes = np.array([[0, 10, 18, 20], [15, 10, 25, 20], [14, 10, 22, 20], [40, 10, 50, 20]], np.float32)
    kept = {0.0: [1, 2, 3], 0.3: [1, 3], 0.8: [3]}[min_visibility]  # a half, a quarter and all of them stay
    moved = in_batch(left, image, mask, boxes)[2]
    np.testing.assert_allclose(moved, np.array([[0, 10, 5, 20], [0, 10, 2, 20], [20, 10, 30, 20]])[np.array(kept) - 1])


def test_batch_augment__each_image_keeps_its_own_boxes() -> None:
    boxes = [torch.tensor([[8.0, 8, 20, 20]]), torch.zeros(0, 4), torch.tensor([[1.0, 1, 2, 2], [30, 8, 50, 20]])]
    flip = BatchAugment(Augment([A.HorizontalFlip(p=1)]))
    moved = flip(torch.zeros(3, 1, 64, 64, dtype=torch.uint8), np.arange(3), boxes=boxes)[2]
    assert [part.tolist() for part in moved] == [[[44, 8, 56, 20]], [], [[62, 1, 63, 2], [14, 8, 34, 20]]]
    assert all(part.dtype == torch.float32 for part in moved)
    assert boxes[0].tolist() == [[8, 8, 20, 20]]


EVERYTHING = [
    A.Affine(rotate=(-15, 15), translate_percent=(-0.1, 0.1), scale=(0.8, 1.2), p=0.7),
    A.HorizontalFlip(p=0.5),
    A.RandomResizedCrop(size=SHAPE, scale=(0.7, 1), ratio=(1, 1.4), p=0.5),
    A.RandomBrightnessContrast(p=0.5),
    A.RandomGamma(p=0.5),
    A.GaussianBlur(sigma_limit=(0.3, 1.5), p=0.5),
    A.GaussNoise(std_range=(0.01, 0.05), p=0.5),
]


def batch(count: int) -> tuple[torch.Tensor, NDArray[np.int64], list[torch.Tensor], list[torch.Tensor]]:
    made = torch.Generator().manual_seed(0)
    image = torch.randint(256, (count, 1, *SHAPE), generator=made, dtype=torch.uint8)
    boxes = [torch.tensor([[10.0, 20, 60, 90], [3, 3, 30, 9]])[: number % 3] for number in range(count)]
    return image, SEEDS[:count], [image[:, 0] // 128, image[:, 0] % 2], boxes


def test_batch_augment__an_image_does_not_depend_on_the_others() -> None:
    augment = BatchAugment(Augment(EVERYTHING))
    image, seeds, masks, boxes = batch(12)
    whole, whole_masks, whole_boxes = augment(image, seeds, masks, boxes)
    for part in ([0], [7, 3, 5], list(range(11, -1, -1))):
        some, some_masks, some_boxes = augment(
            image[part], seeds[part], [mask[part] for mask in masks], [boxes[place] for place in part]
        )
        assert torch.equal(some, whole[part])
        assert all(torch.equal(one, all_[part]) for one, all_ in zip(some_masks, whole_masks, strict=True))
        assert all(torch.equal(one, whole_boxes[place]) for one, place in zip(some_boxes, part, strict=True))


def test_batch_augment__the_seed_alone_decides() -> None:
    image, seeds, masks, boxes = batch(8)
    given = image.clone()
    torch.manual_seed(1)
    first = BatchAugment(Augment(EVERYTHING))(image, seeds, masks, boxes)
    torch.manual_seed(2)
    again = BatchAugment(Augment(EVERYTHING))(image, torch.from_numpy(seeds), masks, boxes)
    other = BatchAugment(Augment(EVERYTHING))(image, seeds + 1)[0]
    assert torch.equal(first[0], again[0])
    assert torch.equal(torch.stack(first[1]), torch.stack(again[1]))
    assert sum(torch.equal(one, two) for one, two in zip(first[0], other, strict=True)) <= 1
    assert torch.equal(image, given)


def test_batch_augment__autocast_moves_no_pixel() -> None:
    image, seeds, masks, boxes = batch(4)
    plain = BatchAugment(Augment(EVERYTHING))(image, seeds, masks, boxes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = BatchAugment(Augment(EVERYTHING))(image, seeds, masks, boxes)
    assert torch.equal(plain[0], mixed[0])
    assert torch.equal(torch.stack(plain[1]), torch.stack(mixed[1]))


def test_batch_augment__reads_nothing_back_from_the_device() -> None:
    image, seeds, masks, _ = batch(6)
    # Tensors on "meta" have no values: whatever would wait for them raises.
    made, moved, boxes = BatchAugment(Augment(EVERYTHING))(
        image.to("meta"), seeds, [mask.to("meta") for mask in masks], [torch.zeros(0, 4)] * 6
    )
    assert {tensor.device.type for tensor in (made, *moved)} == {"meta"}
    assert [part.shape for part in boxes] == [(0, 4)] * 6


def test_batch_augment__shape_and_type_stay() -> None:
    image, seeds, masks, boxes = batch(5)
    made, moved, _ = BatchAugment(Augment(EVERYTHING))(image, seeds, masks, boxes)
    assert (made.shape, made.dtype) == (image.shape, torch.uint8)
    assert [(mask.shape, mask.dtype) for mask in moved] == [((5, *SHAPE), torch.uint8)] * 2
    assert all(set(mask.unique().tolist()) == {0, 1} for mask in moved)
    assert BatchAugment(Augment(EVERYTHING))(image, seeds)[1:] == ([], [])


def test_batch_augment__images_not_drawn_keep_their_bytes() -> None:
    image, seeds, masks, boxes = batch(40)
    never = [type(transform)(**transform.get_transform_init_args() | {"p": 0}) for transform in EVERYTHING]
    for augment in (BatchAugment(Augment(never)), BatchAugment(Augment([]))):
        made, moved, still = augment(image, seeds, masks, boxes)
        assert torch.equal(made, image)
        assert all(torch.equal(one, other) for one, other in zip(moved, masks, strict=True))
        assert all(torch.equal(one, other) for one, other in zip(still, boxes, strict=True))
    turned = BatchAugment(Augment([A.Affine(rotate=(20, 30), p=0.5)]))(image, seeds)[0]
    same = [torch.equal(one, other) for one, other in zip(turned, image, strict=True)]
    drawn = draw_batch(A.Affine(rotate=(20, 30), p=0.5), 0, seeds, SHAPE).rows
    assert sorted(drawn) == [row for row, unchanged in enumerate(same) if not unchanged]


@pytest.mark.parametrize(
    ("transform", "names"),
    [
        (A.ElasticTransform(), ["ElasticTransform"]),
        (A.OneOf([A.HorizontalFlip(), A.VerticalFlip()]), ["OneOf"]),
        (A.SafeRotate(), ["SafeRotate"]),  # albumentations makes it of Affine
        (A.Affine(border_mode=4, rotate_method="ellipse"), ["Affine (border_mode=4, rotate_method=ellipse)"]),
        (A.Affine(fill=9), ["Affine (fill=9.0)"]),
        (A.RandomResizedCrop(size=SHAPE, interpolation=2), ["RandomResizedCrop (interpolation=2)"]),
        (A.RandomBrightnessContrast(brightness_by_max=False), ["RandomBrightnessContrast (brightness_by_max=False)"]),
        (A.GaussNoise(noise_scale_factor=0.5), ["GaussNoise (noise_scale_factor=0.5)"]),
    ],
)
def test_unsupported__is_named_and_refused(transform: Any, names: list[str]) -> None:
    augment = Augment([A.HorizontalFlip(), transform])
    assert unsupported(augment) == names
    with pytest.raises(ConfigError, match=r"cannot be done in batches: .*; augment image by image"):
        BatchAugment(augment)


def test_unsupported__is_nothing_of_what_is_tested_here() -> None:
    assert unsupported(Augment([*EVERYTHING, *FIXED.values()])) == []


def test_batch_augment__another_size_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"augment gives images of \(32, 32\), from \(128, 160\)"):
        BatchAugment(Augment([A.RandomResizedCrop(size=(32, 32))]))(*batch(2))
