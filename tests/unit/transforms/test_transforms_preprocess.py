"""Contrast, lungs, crop, size: the same for every image."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pulmo.errors import ConfigError, DataError
from pulmo.transforms.preprocess import Preprocess, hull, lung_box, to_uint8


@pytest.fixture
def lungs() -> NDArray[np.uint8]:
    """Two lungs of 20 × 40 at x 20..40 and 60..80, y 30..70, in 100 × 100."""
    mask = np.zeros((100, 100), np.uint8)
    mask[30:70, 20:40] = mask[30:70, 60:80] = 1
    return mask


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(1, 256, (100, 100), np.uint8)


@pytest.mark.parametrize(
    ("margin", "box"),
    [
        (0.0, (20, 30, 80, 70)),
        (0.1, (14, 26, 86, 74)),  # 6 of 60 columns, 4 of 40 rows, on each side
        (0.5, (0, 10, 100, 90)),  # 30 columns, of which 20 are there
        (0.99, (0, 0, 100, 100)),
    ],
)
def test_lung_box__is_widened_by_the_margin_within_the_image(
    lungs: NDArray[np.uint8], margin: float, box: tuple[int, ...]
) -> None:
    assert lung_box(lungs, margin) == box


def test_lung_box__of_a_single_pixel() -> None:
    mask = np.zeros((9, 9), np.uint8)
    mask[8, 0] = 1
    assert lung_box(mask, 0.06) == (0, 8, 1, 9)


def test_hull__holds_the_lungs_and_what_lies_between(lungs: NDArray[np.uint8]) -> None:
    thorax = hull(lungs)
    assert set(np.unique(thorax)) == {0, 1}
    assert (thorax >= lungs).all()
    expected = np.zeros_like(lungs)
    expected[30:70, 20:80] = 1
    np.testing.assert_array_equal(thorax, expected)


def test_hull__of_slanted_lungs_is_slanted() -> None:
    slanted = np.zeros((40, 40), np.uint8)
    for row in range(10, 30):
        slanted[row, row] = slanted[row, 39 - row] = 1
    thorax = hull(slanted)
    assert thorax[11, 20] == thorax[20, 11] == thorax[20, 20] == 1
    assert thorax[9, 20] == thorax[20, 9] == 0
    assert hull(slanted).sum() == 400  # the square of the four ends


def test_crop__fills_the_square_with_the_lungs_box(lungs: NDArray[np.uint8]) -> None:
    image = np.full((100, 100), 50, np.uint8)
    image[30:70, 20:80] = 200
    for keep_aspect, bars in ((False, 0), (True, 5)):
        crop = Preprocess(size=30, use="crop", margin=0.0, keep_aspect=keep_aspect)
        made, geometry = crop(image, lungs)
        assert geometry.crop == (20, 30, 80, 70)
        assert (made[bars : 30 - bars] == 200).all()
        assert made.sum() == 200 * 30 * (30 - 2 * bars)


def test_lungs__are_multiplied_onto_the_image(image: NDArray[np.uint8], lungs: NDArray[np.uint8]) -> None:
    made, geometry = Preprocess(size=100, use="lungs")(image, lungs)
    np.testing.assert_array_equal(made, image * lungs)
    assert geometry.crop == (0, 0, 100, 100)


def test_thorax__keeps_the_mediastinum(image: NDArray[np.uint8], lungs: NDArray[np.uint8]) -> None:
    made, _ = Preprocess(size=100, use="thorax")(image, lungs)
    np.testing.assert_array_equal(made[30:70, 20:80], image[30:70, 20:80])
    assert made.sum() == image[30:70, 20:80].sum()


def test_lungs__sixteen_bits_keep_theirs(lungs: NDArray[np.uint8]) -> None:
    deep = np.full((100, 100), 51400, np.uint16)
    made, _ = Preprocess(size=100, use="lungs")(deep, lungs)
    np.testing.assert_array_equal(made, 200 * lungs)


@pytest.mark.parametrize("use", ["lungs", "thorax", "crop"])
def test_use__without_a_mask_or_with_an_empty_one_is_an_error(image: NDArray[np.uint8], use: Any) -> None:
    preprocess = Preprocess(size=32, use=use)
    for nothing in (None, np.zeros_like(image)):
        with pytest.raises(DataError, match="its lung mask is missing or empty"):
            preprocess(image, nothing)


def test_mask_none__turns_use_off(image: NDArray[np.uint8], lungs: NDArray[np.uint8]) -> None:
    off = Preprocess(size=100, use="lungs", mask="none")
    assert not off.needs_mask
    np.testing.assert_array_equal(off(image, lungs)[0], image)


def test_plain__an_image_of_the_right_size_is_untouched(image: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(Preprocess(size=100)(image)[0], image)


def test_to_uint8__rounds_the_full_range() -> None:
    deep = np.array([0, 128, 129, 257 * 100, 257 * 100 + 128, 257 * 100 + 129, 65535], np.uint16)
    made = to_uint8(deep)
    assert made.dtype == np.uint8
    assert made.tolist() == [0, 0, 1, 100, 100, 101, 255]


def test_to_uint8__bytes_stay(image: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(to_uint8(image), image)


def test_preprocess__eight_and_sixteen_bits_look_alike(image: NDArray[np.uint8]) -> None:
    deep = image.astype(np.uint16) * 257
    for size in (30, 100, 150):
        shallow, _ = Preprocess(size=size)(image)
        np.testing.assert_allclose(Preprocess(size=size)(deep)[0], shallow.astype(int), atol=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_clahe__spreads_a_narrow_range(dtype: Any) -> None:
    top = np.iinfo(dtype).max
    faint = np.tile(np.linspace(0.45, 0.55, 256) * top, (256, 1)).astype(dtype)
    plain, _ = Preprocess(size=256)(faint)
    mild, _ = Preprocess(size=256, clahe=2.0, tiles=2)(faint)
    strong, _ = Preprocess(size=256, clahe=10.0, tiles=2)(faint)
    assert 1.2 * plain.std() < mild.std()
    assert 2 * mild.std() < strong.std()
    assert mild.dtype == np.uint8


def test_clahe__does_not_depend_on_the_depth(image: NDArray[np.uint8]) -> None:
    clahe = Preprocess(size=100, clahe=2.0, tiles=2)
    np.testing.assert_array_equal(clahe(image.astype(np.uint16) * 257)[0], clahe(image)[0])


def test_preprocess__is_deterministic_and_leaves_its_input(image: NDArray[np.uint8], lungs: NDArray[np.uint8]) -> None:
    preprocess, before = Preprocess(size=64, clahe=2.0, use="thorax"), image.copy()
    first, _ = preprocess(image, lungs)
    np.testing.assert_array_equal(preprocess(image, lungs)[0], first)
    np.testing.assert_array_equal(image, before)


BASE = Preprocess(size=64, clahe=2.0, tiles=2, use="crop")
OTHERS = {
    "size": 65,
    "clahe": 1.0,
    "tiles": 4,
    "use": "lungs",
    "mask": "none",
    "margin": 0.2,
    "keep_aspect": True,
    "missing": "skip",
}


def test_settings__every_field_is_judged_here() -> None:
    assert set(OTHERS) == {field.name for field in fields(Preprocess)}


@pytest.mark.parametrize("name", OTHERS)
def test_settings__differ_with_every_field_that_changes_pixels(
    name: str, image: NDArray[np.uint8], lungs: NDArray[np.uint8]
) -> None:
    lungs[30:50] = 0  # so that the box is not square
    other = replace(BASE, **{name: OTHERS[name]})
    changes_pixels = not np.array_equal(other(image, lungs)[0], BASE(image, lungs)[0])
    assert changes_pixels == (name != "missing")
    assert (other.settings != BASE.settings) == changes_pixels


def test_settings__are_those_of_plain_where_masks_are_off() -> None:
    plain = Preprocess(size=64)
    assert replace(plain, margin=0.3, mask="none").settings == plain.settings
    assert replace(plain, use="lungs", mask="none").settings == plain.settings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 15}, r"preprocess\.size=15: at least 16"),
        ({"tiles": 0}, r"preprocess\.tiles=0: at least 1"),
        ({"mask": "unet"}, r"preprocess\.mask=unet: no checkpoints.*dataset, none, or the folder"),
        ({"margin": 1.0}, r"preprocess\.margin=1\.0: a part"),
        ({"margin": -0.1}, r"preprocess\.margin=-0\.1: a part"),
    ],
)
def test_preprocess__values_that_cannot_work_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Preprocess(**({"size": 64} | arguments))
