"""Grey from PNG, JPEG, TIFF and BMP."""

import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, TiffImagePlugin

from pulmo.data.grey import full_range
from pulmo.data.jpeg import is_whole
from pulmo.data.reading import read_grey, read_mask
from pulmo.errors import UnreadableImageError

Write = Callable[[Path, Any], Path]


@pytest.fixture
def noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(20, 200, (60, 50), np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".tif", ".tiff", ".bmp"])
def test_read_picture__eight_bits_stay_untouched(
    tmp_path: Path, write_image: Write, noise: NDArray[np.uint8], suffix: str
) -> None:
    reading = read_grey(write_image(tmp_path / f"x{suffix}", noise))
    assert reading.image.dtype == np.uint8
    assert reading.header == {}
    np.testing.assert_array_equal(reading.image, noise)


def test_read_picture__jpeg_is_near_the_original(tmp_path: Path, write_image: Write) -> None:
    smooth = np.tile(np.arange(0, 200, 2, dtype=np.uint8), (50, 1))
    grey = read_grey(write_image(tmp_path / "x.jpg", smooth)).image
    assert np.abs(grey.astype(int) - smooth).max() <= 3


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_read_picture__sixteen_bits_are_stretched_to_the_full_range(
    tmp_path: Path, write_image: Write, suffix: str
) -> None:
    grey = read_grey(write_image(tmp_path / f"x{suffix}", np.array([[1000, 1001], [1500, 3000]], np.uint16))).image
    assert grey.dtype == np.uint16
    np.testing.assert_array_equal(grey, [[0, 33], [16384, 65535]])  # (v - 1000) / 2000 of 65535


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32])
@pytest.mark.parametrize("channels", [1, 3])
def test_read_picture__tiffs_of_any_number_type_are_stretched(tmp_path: Path, dtype: type, channels: int) -> None:
    values = np.array([[-500, 0], [250, 500]], dtype)
    plain = [cv2.IMWRITE_TIFF_COMPRESSION, 1]  # OpenCV 4 would store floats as LogLuv, which has no numbers below 0
    cv2.imwrite(str(tmp_path / "x.tif"), np.dstack([values] * channels), plain)
    np.testing.assert_array_equal(read_grey(tmp_path / "x.tif").image, [[0, 32768], [49151, 65535]])


def test_read_picture__colour_becomes_luminance(tmp_path: Path, write_image: Write) -> None:
    blue_green_red_white = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    path = write_image(tmp_path / "x.png", blue_green_red_white)
    np.testing.assert_array_equal(read_grey(path).image, [[29, 150], [76, 255]])


def test_read_picture__a_palette_becomes_luminance(tmp_path: Path) -> None:
    indexed = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), "P")
    indexed.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    indexed.save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "x.png").image, [[0, 76], [150, 29]])
    indexed.save(tmp_path / "x.png", transparency=2)
    np.testing.assert_array_equal(read_grey(tmp_path / "x.png").image, [[0, 76], [0, 29]])


def test_read_picture__one_bit_is_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False], [False, True]])).save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "x.png").image, [[255, 0], [0, 255]])


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_read_picture__what_is_transparent_is_black(tmp_path: Path, mode: str) -> None:
    grey, alpha = np.array([[100, 200], [50, 0]], np.uint8), np.array([[255, 0], [1, 255]], np.uint8)
    layers = [grey] * (len(mode) - 1) + [alpha]
    Image.fromarray(np.dstack(layers), mode).save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "x.png").image, [[100, 0], [50, 0]])


def test_read_picture__sixteen_bits_with_alpha_are_stretched(tmp_path: Path, write_image: Write) -> None:
    pixels = np.full((2, 2, 4), 65535, np.uint16)
    pixels[..., :3] = np.array([[300, 300], [100, 200]])[..., None]
    pixels[0, 1, 3] = 0  # transparent
    np.testing.assert_array_equal(
        read_grey(write_image(tmp_path / "x.png", pixels)).image, [[65535, 0], [21845, 43690]]
    )


@pytest.mark.parametrize("value", [np.uint8(7), np.uint16(7)])
def test_read_picture__a_single_pixel_is_an_image(
    tmp_path: Path, write_image: Write, value: np.unsignedinteger[Any]
) -> None:
    grey = read_grey(write_image(tmp_path / "x.png", np.array([[value]]))).image
    assert grey.tolist() == [[7 if value.dtype == np.uint8 else 0]]  # one value has no range to stretch


def test_read_picture__spaces_and_any_letters_may_be_in_the_path(
    tmp_path: Path, write_image: Write, noise: NDArray[np.uint8]
) -> None:
    path = write_image(tmp_path / "Ordner für Röntgen" / "胸部 X線 %20.png", noise)
    np.testing.assert_array_equal(read_grey(path).image, noise)


def test_read_picture__content_counts_not_the_suffix(
    tmp_path: Path, write_image: Write, noise: NDArray[np.uint8]
) -> None:
    path = write_image(tmp_path / "x.png", noise).rename(tmp_path / "x.jpg")
    np.testing.assert_array_equal(read_grey(path).image, noise)


def test_read_picture__bytes_behind_the_image_do_no_harm(
    tmp_path: Path, write_image: Write, noise: NDArray[np.uint8]
) -> None:
    for suffix in (".png", ".jpg"):
        path = write_image(tmp_path / f"x{suffix}", noise)
        whole = read_grey(path).image
        for behind in (b"\0" * 9000, b"a vendor's own text " * 900):
            path.write_bytes(path.read_bytes() + behind)
            np.testing.assert_array_equal(read_grey(path).image, whole)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_read_picture__a_jpeg_cut_off_behind_its_preview_is_cut_short(
    tmp_path: Path, noise: NDArray[np.uint8], settings: dict[str, Any], kept: float
) -> None:
    inside = BytesIO()
    Image.fromarray(noise).save(inside, "JPEG")
    picture = Image.fromarray(np.tile(noise, (8, 8)))
    picture.save(tmp_path / "x.jpg", exif=b"Exif\0\0" + inside.getvalue(), quality=95, **settings)
    data = (tmp_path / "x.jpg").read_bytes()
    assert is_whole(data + b"text" * 3000)
    assert not is_whole(data[: int(len(data) * kept)] + b"\xff" * 5000)
    (tmp_path / "x.jpg").write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(UnreadableImageError, match="cut short"):
        read_grey(tmp_path / "x.jpg")


def test_whole__a_jpeg_cut_off_shortly_behind_its_preview_is_not(noise: NDArray[np.uint8]) -> None:
    inside, whole = BytesIO(), BytesIO()
    Image.fromarray(noise).save(inside, "JPEG", quality=30)
    Image.fromarray(np.tile(noise, (8, 8))).save(whole, "JPEG", exif=b"Exif\0\0" + inside.getvalue())
    data, preview = whole.getvalue(), inside.getvalue()
    ends = data.index(preview) + len(preview)
    for cut in (1, 100, 1000, 3000):
        assert not is_whole(data[: ends + cut])
    assert not is_whole(data[: len(data) // 2] + preview)
    between = data.index(b"\xff\xdb")  # libjpeg passes stray bytes by
    assert is_whole(data[:between] + b"stray" + data[between:] + b"a vendor's own" * 500)


def test_read_picture__floats_at_the_ends_of_their_range_are_stretched(tmp_path: Path) -> None:
    plain = [cv2.IMWRITE_TIFF_COMPRESSION, 1]
    cv2.imwrite(str(tmp_path / "x.tif"), np.array([[-3e38, 0], [1.5e38, 3e38]], np.float32), plain)
    np.testing.assert_array_equal(read_grey(tmp_path / "x.tif").image, [[0, 32768], [49151, 65535]])
    np.testing.assert_allclose(full_range(np.array([[-1.7e308, 0, 1.7e308]]), tmp_path), [[0, 32768, 65535]], atol=1)
    cv2.imwrite(str(tmp_path / "x.tif"), np.array([[0, 1e-45]], np.float32), plain)
    np.testing.assert_array_equal(read_grey(tmp_path / "x.tif").image, [[0, 65535]])


def test_read_picture__several_pages_are_refused_but_not_a_smaller_version(
    tmp_path: Path, noise: NDArray[np.uint8]
) -> None:
    first, second = Image.fromarray(noise), Image.fromarray(255 - noise)
    first.save(tmp_path / "x.tif", save_all=True, append_images=[second])
    with pytest.raises(UnreadableImageError, match="2 pages; a radiograph has one"):
        read_grey(tmp_path / "x.tif")
    for tag, value in ((254, 1), (254, 4), (255, 2)):  # smaller, transparency, smaller in old files
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[tag] = value
        second.encoderinfo = {"tiffinfo": tags}
        first.save(tmp_path / "x.tif", save_all=True, append_images=[second])
        with Image.open(tmp_path / "x.tif") as written:
            written.seek(1)
            if written.tag_v2.get(tag) != value:
                pytest.skip("this Pillow writes no tags of a further page")
        np.testing.assert_array_equal(read_grey(tmp_path / "x.tif").image, noise)


def test_read_picture__a_wrong_colour_profile_is_passed_over_in_silence(
    tmp_path: Path, noise: NDArray[np.uint8], capfd: pytest.CaptureFixture[str]
) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()  # libpng: not on grey
    Image.fromarray(noise).save(tmp_path / "x.png", icc_profile=profile)
    np.testing.assert_array_equal(read_grey(tmp_path / "x.png").image, noise)
    assert capfd.readouterr() == ("", "")


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 255]) + data[position + 1 :]


@pytest.mark.parametrize(
    ("name", "damage", "cause"),
    [
        ("x.png", lambda data: b"", "the file is empty"),
        ("x.png", lambda data: b"hello", "not an image that can be decoded"),
        ("x.png", lambda data: data[:20], "cut short: the file ends after 20 bytes"),
        ("x.png", lambda data: data[: len(data) // 2], "cut short: the file ends after"),
        ("x.png", lambda data: data[:-1], "cut short"),
        ("x.png", lambda data: flipped(data, len(data) // 2), "damaged: wrong checksum"),
        ("x.png", lambda data: flipped(data, 18), "damaged: wrong checksum 29 bytes into the file"),  # its width
        ("x.png", lambda data: data.replace(b"\r\n", b"\n"), "not an image that can be decoded"),  # FTP as text
        ("x.jpg", lambda data: data[: len(data) // 2], "cut short: the file ends after"),
        ("x.jpg", lambda data: data[:3], "cut short"),
        ("x.tif", lambda data: data[: len(data) // 2], "not an image that can be decoded, or cut short"),
        ("x.bmp", lambda data: data[: len(data) // 2], "not an image that can be decoded, or cut short"),
    ],
)
def test_read_picture__damage_is_told_with_file_and_cause_in_silence(
    tmp_path: Path,
    write_image: Write,
    noise: NDArray[np.uint8],
    capfd: pytest.CaptureFixture[str],
    name: str,
    damage: Callable[[bytes], bytes],
    cause: str,
) -> None:
    path = write_image(tmp_path / name, noise)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UnreadableImageError, match=f"{re.escape(str(path))}: {cause}"):
        read_grey(path)
    assert capfd.readouterr() == ("", "")


def test_read_grey__an_absent_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="No such file"):
        read_grey(tmp_path / "absent.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UnreadableImageError, match="Is a directory"):
        read_grey(tmp_path / "folder.png")


def test_read_picture__values_that_are_no_numbers_are_counted(tmp_path: Path) -> None:
    values = np.ones((4, 4), np.float32)
    values[0, :2] = np.nan, np.inf
    cv2.imwrite(str(tmp_path / "x.tif"), values)
    with pytest.raises(UnreadableImageError, match="2 pixels are not finite numbers"):
        read_grey(tmp_path / "x.tif")


def test_read_picture__more_than_any_detector_has_is_refused(tmp_path: Path, write_image: Write) -> None:
    with pytest.raises(UnreadableImageError, match="17000×3 pixels; at most 16384 a side"):
        read_grey(write_image(tmp_path / "x.png", np.zeros((3, 17000), np.uint8)))


def test_read_mask__any_grey_is_inside(tmp_path: Path, write_image: Write) -> None:
    drawn = np.array([[0, 1, 255], [0, 128, 0]], np.uint8)
    mask = read_mask(write_image(tmp_path / "x.png", drawn), (2, 3))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, [[0, 1, 1], [0, 1, 0]])


def test_read_mask__is_scaled_to_the_image(tmp_path: Path, write_image: Write) -> None:
    path = write_image(tmp_path / "x.png", np.array([[0, 255], [255, 0]], np.uint8))
    np.testing.assert_array_equal(read_mask(path, (4, 6)), np.kron([[0, 1], [1, 0]], np.ones((2, 3))))
    np.testing.assert_array_equal(read_mask(path, (2, 2)), [[0, 1], [1, 0]])
