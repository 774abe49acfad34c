"""Damaged DICOM files: each ends as `UnreadableImageError`, none as somebody else's."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from pulmo.data.reading import read_grey
from pulmo.errors import UnreadableImageError

Write = Callable[..., Path]


def text_renamed(write: Write, picture: NDArray[np.uint8]) -> Path:
    path = write(picture)
    path.write_text("patient,label\n" * 40)
    return path


def without_preamble(write: Write, picture: NDArray[np.uint8]) -> Path:
    path = write(picture)
    path.write_bytes(path.read_bytes()[132:])
    return path


def cut_in_the_pixels(write: Write, picture: NDArray[np.uint8]) -> Path:
    path = write(picture)
    path.write_bytes(path.read_bytes()[:-400])
    return path


def cut_in_the_stream(write: Write, picture: NDArray[np.uint8]) -> Path:
    path = write(picture, syntax=DeflatedExplicitVRLittleEndian)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def half_a_jpeg(write: Write, picture: NDArray[np.uint8]) -> Path:
    frame = cv2.imencode(".jpg", picture)[1].tobytes()
    return write(picture, syntax=JPEGBaseline8Bit, frame=frame[: len(frame) // 2])


def cut_in_the_jpeg(write: Write, picture: NDArray[np.uint8]) -> Path:
    path = write(picture, syntax=JPEGBaseline8Bit, frame=cv2.imencode(".jpg", picture)[1].tobytes())
    path.write_bytes(path.read_bytes()[:-400])
    return path


def half_an_rle(write: Write, picture: NDArray[np.uint8]) -> Path:
    path = write(picture, compress=RLELossless)
    exam = pydicom.dcmread(path)
    exam.PixelData = exam.PixelData[:200] + exam.PixelData[-8:]
    exam.save_as(path)
    return path


def fewer_pixels_than_rows(write: Write, picture: NDArray[np.uint8]) -> Path:
    return write(picture, Rows=80)


def cut_in_the_header(write: Write, picture: NDArray[np.uint8]) -> Path:
    path = write(picture)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\x28\x00\x02\x00US")])
    return path


def smaller_than_its_jpeg(write: Write, picture: NDArray[np.uint8]) -> Path:
    frame = cv2.imencode(".jpg", picture)[1].tobytes()
    return write(picture, syntax=JPEGBaseline8Bit, frame=frame, Rows=picture.shape[0] // 2)


def a_word_for_a_slope(write: Write, picture: NDArray[np.uint8]) -> Path:
    path = write(picture, RescaleSlope="1.50", RescaleIntercept="0")
    path.write_bytes(path.read_bytes().replace(b"1.50", b"abc "))
    return path


def two_slopes(write: Write, picture: NDArray[np.uint8]) -> Path:
    return write(picture, RescaleSlope=[1, 2], RescaleIntercept="0")


def a_frame_that_is_no_picture(write: Write, picture: NDArray[np.uint8]) -> Path:
    return write(picture, syntax=JPEGBaseline8Bit, frame=b"no picture at all " * 20)


def without_photometric(write: Write, picture: NDArray[np.uint8]) -> Path:
    path = write(picture)
    exam = pydicom.dcmread(path)
    del exam.PhotometricInterpretation
    exam.save_as(path)
    return path


def wrong_length_of_an_element(write: Write, picture: NDArray[np.uint8]) -> Path:
    path = write(picture)
    stored = b"\x28\x00\x01\x01US"
    path.write_bytes(path.read_bytes().replace(stored + b"\x02", stored + b"\x87"))
    return path


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (text_renamed, "not a DICOM file, whatever its name says"),
        (without_preamble, "not a DICOM file"),
        (cut_in_the_pixels, "number of bytes of pixel data is less than expected"),
        (cut_in_the_stream, "a damaged DICOM, or cut short"),
        (half_a_jpeg, r"its pixels cannot be decoded \(.*truncated"),
        (cut_in_the_jpeg, r"cut short: the file ends after \d+ bytes, in an element"),
        (cut_in_the_header, r"lacks pixels or their description \(.*\), or is cut short"),
        (smaller_than_its_jpeg, r"damaged: the header says \d+×\d+ pixels, its compressed picture \d+×\d+"),
        (a_word_for_a_slope, r"damaged: a number in its header is none \('abc"),
        (two_slopes, r"damaged: a number in its header is none \(\[1.0, 2.0\]\)"),
        (a_frame_that_is_no_picture, r"its pixels cannot be decoded|image"),
        (half_an_rle, "its pixels cannot be decoded"),
        (fewer_pixels_than_rows, "number of bytes of pixel data is less than expected"),
        (without_photometric, "lacks pixels or their description .*Photometric"),
        (wrong_length_of_an_element, "damaged DICOM|lacks pixels"),
    ],
)
def test_read_dicom__damage_is_told_with_file_and_cause(
    write_dicom: Write, picture: NDArray[np.uint8], damage: Callable[[Write, Any], Path], cause: str
) -> None:
    path = damage(write_dicom, picture)
    with pytest.raises(UnreadableImageError, match=f"{re.escape(str(path))}: .*{cause}") as caught:
        read_grey(path)
    assert "\n" not in str(caught.value)
    assert " at 0x" not in str(caught.value)


@pytest.mark.parametrize("compress", [None, RLELossless])
def test_read_dicom__any_damage_ends_as_an_image_or_as_unreadable(
    write_dicom: Write, ramp: NDArray[np.uint16], compress: Any
) -> None:
    path = write_dicom(ramp[:16, :16], compress=compress, PatientAge="48", WindowCenter="900", WindowWidth="800")
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(80):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(len(damaged), size=4)] = rng.integers(256, size=4)
        path.write_bytes(damaged[: rng.integers(1, len(damaged)) if rng.random() < 0.3 else None].tobytes())
        try:
            assert read_grey(path).image.ndim == 2
        except UnreadableImageError:
            refused += 1
    assert refused > 20
