"""Grey JPEG read for a smaller result: nearly the same picture, the same shape, and only where it is plain."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from pulmo.data import dicom as reader
from pulmo.data import jpeg
from pulmo.data.reading import read_grey
from pulmo.errors import UnreadableImageError
from pulmo.phantom.rsna import write_rsna
from pulmo.transforms.preprocess import Preprocess

Grey = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def radiograph(tmp_path_factory: pytest.TempPathFactory) -> Grey:
    """A drawn one of 512 × 512."""
    folder = tmp_path_factory.mktemp("one")
    write_rsna(folder, images=2, size=512)
    return np.asarray(read_grey(next(folder.rglob("*.dcm"))).image, np.uint8)


def encoded(image: npt.NDArray[Any], *options: int) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90, *options])[1].tobytes()


@pytest.fixture
def dicom(radiograph: Grey, write_dicom: Callable[..., Path]) -> Callable[..., Path]:
    def write(**tags: Any) -> Path:
        return write_dicom(radiograph, syntax=JPEGBaseline8Bit, frame=encoded(radiograph), **tags)

    return write


@pytest.mark.parametrize(
    ("side", "left"),
    [(None, 512), (256, 512), (129, 512), (128, 256), (110, 220), (100, 256), (64, 128), (32, 64), (8, 64)],
)
def test_decoded__keeps_two_pixels_for_each_of_the_result(radiograph: Grey, side: int | None, left: int) -> None:
    pixels = jpeg.decoded(encoded(radiograph), (512, 512), side)
    assert pixels is not None
    assert pixels.shape == (left, left)


def test_decoded__counts_the_shorter_side() -> None:
    pixels = jpeg.decoded(encoded(np.zeros((250, 512), np.uint8)), (250, 512), 64)
    assert pixels is not None
    assert pixels.shape == (250, 512)  # 250 / 2 are fewer than two for each of 64


@pytest.mark.parametrize("suffix", ["dcm", "jpg"])
@pytest.mark.parametrize("size", [64, 128, 224])
def test_smaller__gives_nearly_the_same_picture_and_geometry(
    radiograph: Grey, dicom: Callable[..., Path], tmp_path: Path, suffix: str, size: int
) -> None:
    path = dicom() if suffix == "dcm" else tmp_path / "x.jpg"
    if suffix == "jpg":
        path.write_bytes(encoded(radiograph))
    preprocess = Preprocess(size=size)
    whole, fast = read_grey(path), read_grey(path, preprocess.side)
    assert fast.shape == whole.shape == (512, 512)
    assert fast.header == whole.header
    assert (fast.image.shape == whole.image.shape) == (size == 224)
    (image, geometry), (other, other_geometry) = preprocess(whole.image), preprocess(fast.image, None, fast.shape)
    assert geometry == other_geometry
    difference = image.astype(int) - other
    assert np.abs(difference).mean() < 0.5
    assert abs(difference.mean()) < 0.2


def test_plain__full_scale_is_byte_for_byte_what_pydicom_gives(dicom: Callable[..., Path]) -> None:
    for tags in ({}, {"PhotometricInterpretation": "MONOCHROME1", "PatientSex": "F", "PatientAge": "048Y"}):
        path = dicom(**tags)
        data = path.read_bytes()
        assert jpeg.plain_dicom(data) is not None
        ours, theirs = read_grey(path), reader._read_dicom(data, path)
        np.testing.assert_array_equal(ours.image, theirs.image)
        assert (ours.shape, ours.header) == (theirs.shape, theirs.header)


@pytest.mark.parametrize(
    "tags",
    [
        {"RescaleSlope": "2", "RescaleIntercept": "-10"},
        {"WindowCenter": "100", "WindowWidth": "50"},
        {"NumberOfFrames": "2"},
        {"BitsStored": 7},
        {"PixelRepresentation": 1},
    ],
)
def test_plain__is_left_to_pydicom_where_there_is_more_to_it(dicom: Callable[..., Path], tags: dict[str, Any]) -> None:
    assert jpeg.plain_dicom(dicom(**tags).read_bytes()) is None


def test_plain__damaged_or_other_files_are_left_to_pydicom(
    radiograph: Grey, dicom: Callable[..., Path], write_dicom: Callable[..., Path]
) -> None:
    data = dicom().read_bytes()
    for end in (0, 100, 132, 140, 400, len(data) // 2, len(data) - 30):
        assert jpeg.plain_dicom(data[:end]) is None
    assert jpeg.plain_dicom(write_dicom(radiograph, "raw.dcm", syntax=ExplicitVRLittleEndian).read_bytes()) is None
    assert jpeg.plain_dicom(b"\0" * 128 + b"DICM" + b"\xff" * 500) is None


@pytest.mark.parametrize("image", [np.zeros((64, 64, 3), np.uint8)], ids=["colour"])
def test_shape__is_that_of_grey_jpeg_alone(radiograph: Grey, image: Grey) -> None:
    assert jpeg.shape_of(encoded(radiograph)) == (512, 512)
    assert jpeg.shape_of(encoded(radiograph[:100], cv2.IMWRITE_JPEG_PROGRESSIVE, 1)) == (100, 512)
    assert jpeg.shape_of(encoded(image)) is None
    assert jpeg.shape_of(encoded(radiograph)[:-100]) is None
    assert jpeg.shape_of(b"") is None


@pytest.mark.parametrize(
    ("settings", "side"),
    [
        ({}, 64),
        ({"clahe": 2.0}, None),
        ({"use": "lungs"}, None),
        ({"use": "crop"}, None),
        ({"use": "crop", "mask": "none"}, 64),
    ],
)
def test_preprocess__says_where_each_pixel_of_the_file_counts(settings: dict[str, Any], side: int | None) -> None:
    assert Preprocess(size=64, **settings).side == side


@pytest.mark.parametrize("tag", ["Rows", "Columns", "BitsAllocated", "BitsStored", "SamplesPerPixel"])
def test_plain__what_lacks_its_description_is_left_to_pydicom(dicom: Callable[..., Path], tag: str) -> None:
    path = dicom()
    exam = pydicom.dcmread(path)
    delattr(exam, tag)
    exam.save_as(path)
    assert jpeg.plain_dicom(path.read_bytes()) is None
    with pytest.raises(UnreadableImageError):
        read_grey(path)
