"""What files say of themselves, beside what they were written as."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from pydicom.uid import JPEGBaseline8Bit, RLELossless

from pulmo.data.facts import Facts, facts_of
from pulmo.phantom.writing import jpeg

PIXELS = np.arange(24 * 16, dtype=np.uint8).reshape(16, 24)


def written(mode: str, kind: str) -> bytes:
    stream = BytesIO()
    PIL.Image.new(mode, (24, 16)).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind", "expected"),
    [
        ("L", "PNG", Facts("PNG", 24, 16, 8, "grey")),
        ("I;16", "PNG", Facts("PNG", 24, 16, 16, "grey")),
        ("1", "PNG", Facts("PNG", 24, 16, 1, "grey")),
        ("P", "PNG", Facts("PNG", 24, 16, 1, "palette")),
        ("RGBA", "PNG", Facts("PNG", 24, 16, 8, "RGB with transparency")),
        ("L", "JPEG", Facts("JPEG", 24, 16, 8, "grey")),
        ("RGB", "JPEG", Facts("JPEG", 24, 16, 8, "RGB")),
        ("I;16", "TIFF", Facts("TIFF", 24, 16, 16, "grey")),
        ("RGB", "BMP", Facts("BMP", 24, 16, 8, "RGB")),
    ],
)
def test_facts__of_pictures(mode: str, kind: str, expected: Facts) -> None:
    assert facts_of(written(mode, kind)) == expected


def test_facts__bits_of_a_dicom_are_those_that_are_used(write_dicom: Callable[..., Path]) -> None:
    path = write_dicom(PIXELS.astype(np.uint16), BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1")
    assert facts_of(path.read_bytes()) == Facts("DICOM uncompressed", 24, 16, 12, "MONOCHROME1")


def test_facts__of_a_dicom_tell_its_compression(write_dicom: Callable[..., Path]) -> None:
    path = write_dicom(PIXELS, syntax=JPEGBaseline8Bit, frame=jpeg(PIXELS))
    assert facts_of(path.read_bytes()).format == "DICOM JPEG Baseline"
    assert facts_of(write_dicom(PIXELS, compress=RLELossless).read_bytes()).format == "DICOM RLE Lossless"


def test_facts__a_header_is_told_where_the_pixels_are_cut_off(write_dicom: Callable[..., Path]) -> None:
    data = write_dicom(PIXELS).read_bytes()
    assert facts_of(data[:-100]) == facts_of(data)
    assert facts_of(written("L", "PNG")[:40]) == Facts("PNG", 24, 16, 8, "grey")


@pytest.mark.parametrize(
    ("data", "suffix"),
    [(b"", ".png"), (b"hello", ".png"), (b"hello", ".dcm"), (b"\x89PNG\r\n\x1a\n", ".png"), (b"\xff\xd8\xff", ".jpg")],
)
def test_facts__of_what_is_no_image_are_none(data: bytes, suffix: str) -> None:
    assert facts_of(data, suffix).width == 0
