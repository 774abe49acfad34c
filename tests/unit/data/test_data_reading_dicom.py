"""Grey from DICOM: whatever the device wrote, the picture is the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from pulmo.data.reading import read_grey, read_mask
from pulmo.errors import UnreadableImageError

Write = Callable[..., Path]
TWELVE_BITS = {"BitsStored": 12, "HighBit": 11}
PALETTE = {"PhotometricInterpretation": "PALETTE COLOR"} | {
    f"{colour}PaletteColorLookupTable{part}": value
    for colour, shades in (("Red", [0, 255, 0, 0]), ("Green", [0, 0, 255, 0]), ("Blue", [0, 0, 0, 255]))
    for part, value in (
        ("Descriptor", [4, 0, 16]),
        ("Data", (np.array(shades) * 257).astype("<u2").tobytes()),
    )
}


def full_range(twelve_bits: NDArray[np.uint16]) -> NDArray[np.float64]:
    return twelve_bits * (65535 / 4095)


def test_read_dicom__eight_bits_stay_untouched(write_dicom: Write, picture: NDArray[np.uint8]) -> None:
    narrow = picture // 2 + 40
    grey = read_grey(write_dicom(narrow)).image
    assert grey.dtype == np.uint8
    np.testing.assert_array_equal(grey, narrow)


def test_read_dicom__monochrome1_is_the_inverse_of_monochrome2(
    write_dicom: Write, picture: NDArray[np.uint8], ramp: NDArray[np.uint16]
) -> None:
    bright_air = write_dicom(255 - picture, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_grey(bright_air).image, picture)
    deep = write_dicom(4095 - ramp, PhotometricInterpretation="MONOCHROME1", **TWELVE_BITS)
    np.testing.assert_allclose(read_grey(deep).image, full_range(ramp), atol=1)


def test_read_dicom__twelve_bits_are_stretched_to_sixteen(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    grey = read_grey(write_dicom(ramp, **TWELVE_BITS)).image
    assert grey.dtype == np.uint16
    np.testing.assert_allclose(grey, full_range(ramp), atol=1)


def test_read_dicom__the_window_cuts_off_and_its_middle_is_grey(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    # Centre 1000, width 1001: black up to 499.5, white above 1499.5 (PS3.3, C.11.2.1.2.1), in rescaled values.
    window = {"WindowCenter": "1000", "WindowWidth": "1001", "RescaleSlope": "1", "RescaleIntercept": "-1024"}
    grey = read_grey(write_dicom(ramp, **TWELVE_BITS, **window)).image.ravel()
    assert grey[: 1024 + 500].max() == 0
    assert grey[1024 + 1500 :].min() == 65535
    assert grey[1024 + 999] == pytest.approx(0.4995 * 65535, abs=1)


def test_read_dicom__rescaled_devices_look_alike(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    even = ramp - ramp % 2
    window = {"WindowCenter": "2000", "WindowWidth": "3001"}
    plain = read_grey(write_dicom(even, **TWELVE_BITS, **window)).image
    halved = read_grey(
        write_dicom(even // 2 + 100, **TWELVE_BITS, **window, RescaleSlope="2", RescaleIntercept="-200")
    ).image
    np.testing.assert_array_equal(halved, plain)


@pytest.mark.parametrize("empty", ["RescaleSlope", "WindowCenter", "WindowWidth"])
def test_read_dicom__an_empty_element_counts_as_absent(
    write_dicom: Write, ramp: NDArray[np.uint16], empty: str
) -> None:
    np.testing.assert_array_equal(
        read_grey(write_dicom(ramp, **TWELVE_BITS, **{empty: None})).image,
        read_grey(write_dicom(ramp, **TWELVE_BITS)).image,
    )


def test_read_dicom__a_slope_of_nothing_counts_as_absent(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    plain = read_grey(write_dicom(ramp)).image
    np.testing.assert_array_equal(read_grey(write_dicom(ramp, RescaleSlope="0", RescaleIntercept="0")).image, plain)


def test_read_dicom__the_first_of_two_windows_counts(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    two = write_dicom(ramp, **TWELVE_BITS, WindowCenter=["1000", "3000"], WindowWidth=["1001", "11"])
    grey = read_grey(two).image.ravel()
    assert grey[499] == 0
    assert 0 < grey[1000] < grey[1400] < 65535


def test_read_dicom__the_modality_table_is_applied(write_dicom: Write) -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4, 0, 16], "US"
    table.add_new("LUTData", "US", [0, 10, 20, 100])
    path = write_dicom(np.array([[0, 1], [2, 3]], np.uint16), ModalityLUTSequence=[table])
    np.testing.assert_array_equal(read_grey(path).image, np.rint(np.array([[0, 10], [20, 100]]) * 655.35))


def test_read_dicom__signed_pixels_keep_their_order(write_dicom: Write) -> None:
    grey = read_grey(write_dicom(np.array([[-1000, 0], [500, 1000]], np.int16))).image
    np.testing.assert_array_equal(grey, [[0, 32768], [49151, 65535]])  # (v + 1000) / 2000 of 65535, to even


def test_read_dicom__a_palette_becomes_luminance(write_dicom: Write) -> None:
    grey = read_grey(write_dicom(np.array([[0, 1], [2, 3]], np.uint8), **PALETTE)).image
    np.testing.assert_array_equal(grey, [[0, 76], [150, 29]])  # 0.299 R + 0.587 G + 0.114 B


def test_read_dicom__colour_becomes_luminance(write_dicom: Write) -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    path = write_dicom(colours, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    np.testing.assert_array_equal(read_grey(path).image, [[76, 150], [29, 255]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_read_dicom__a_single_pixel_is_an_image(write_dicom: Write, dtype: type[np.unsignedinteger[Any]]) -> None:
    assert read_grey(write_dicom(np.array([[7]], dtype))).image.tolist() == [[7 if dtype is np.uint8 else 0]]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_read_dicom__other_uncompressed_syntaxes_give_the_same(
    write_dicom: Write, picture: NDArray[np.uint8], syntax: Any
) -> None:
    np.testing.assert_array_equal(read_grey(write_dicom(picture, syntax=syntax)).image, picture)


def test_read_dicom__jpeg_baseline_is_near_the_original(write_dicom: Write, picture: NDArray[np.uint8]) -> None:
    frame = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    grey = read_grey(write_dicom(picture, syntax=JPEGBaseline8Bit, frame=frame)).image
    assert grey.dtype == np.uint8
    assert np.abs(grey.astype(int) - picture).max() <= 4


def test_read_dicom__rle_is_exact(write_dicom: Write, picture: NDArray[np.uint8], ramp: NDArray[np.uint16]) -> None:
    np.testing.assert_array_equal(read_grey(write_dicom(picture, compress=RLELossless)).image, picture)
    deep = write_dicom(ramp, compress=RLELossless, **TWELVE_BITS)
    np.testing.assert_allclose(read_grey(deep).image, full_range(ramp), atol=1)


def test_read_dicom__jpeg_ls_is_exact(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    pytest.importorskip("jpeg_ls")
    path = write_dicom(ramp, compress=JPEGLSLossless, **TWELVE_BITS)
    np.testing.assert_allclose(read_grey(path).image, full_range(ramp), atol=1)


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEG2000Lossless])
def test_read_dicom__other_lossless_syntaxes_are_exact(
    write_dicom: Write, ramp: NDArray[np.uint16], syntax: Any
) -> None:
    gdcm = pytest.importorskip("gdcm")
    path = write_dicom(ramp, **TWELVE_BITS)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_allclose(read_grey(path).image, full_range(ramp), atol=1)


def test_read_dicom__is_known_by_its_content(write_dicom: Write, picture: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(read_grey(write_dicom(picture, "IM000001")).image, picture)


def test_read_dicom__rsna_ages_give_no_warning(
    write_dicom: Write, picture: NDArray[np.uint8], recwarn: pytest.WarningsRecorder
) -> None:
    path = write_dicom(picture, PatientAge="48", PatientSex="F", ViewPosition="PA")
    assert read_grey(path).header == {"sex": "F", "age": "48", "view": "PA"}
    assert not recwarn.list


@pytest.mark.parametrize(("written", "years"), [("048Y", "48"), ("48", "48"), ("100", "100"), ("", None)])
def test_read_dicom__the_age_is_in_years(
    write_dicom: Write, picture: NDArray[np.uint8], written: str, years: str | None
) -> None:
    assert read_grey(write_dicom(picture, PatientAge=written)).header.get("age") == years


def test_read_dicom__two_frames_are_refused(write_dicom: Write) -> None:
    path = write_dicom(np.zeros((2, 4, 4), np.uint8), Rows=4, Columns=4, NumberOfFrames=2)
    with pytest.raises(UnreadableImageError, match="2 frames; a radiograph has one"):
        read_grey(path)


@pytest.mark.parametrize("modality", ["SEG", "PR", "SR", "KO"])
def test_read_dicom__what_an_archive_keeps_beside_radiographs_is_refused_but_as_a_mask(
    write_dicom: Write, picture: NDArray[np.uint8], modality: str
) -> None:
    path = write_dicom(np.where(picture > 99, 255, 0).astype(np.uint8), Modality=modality)
    with pytest.raises(UnreadableImageError, match=rf"\(Modality {modality}\), no radiograph"):
        read_grey(path)
    np.testing.assert_array_equal(read_mask(path, picture.shape), picture > 99)


def test_read_dicom__one_bit_is_a_mask(write_dicom: Write, picture: NDArray[np.uint8]) -> None:
    path = write_dicom(picture)
    dataset = pydicom.dcmread(path)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 1, 0
    dataset.PixelData = np.packbits((picture > 99).ravel(), bitorder="little").tobytes()
    dataset.save_as(path)
    with pytest.raises(UnreadableImageError, match="its pixels have one bit: a mask, no radiograph"):
        read_grey(path)
    np.testing.assert_array_equal(read_mask(path, picture.shape), picture > 99)


def test_read_dicom__what_a_detector_cannot_be_is_refused(write_dicom: Write) -> None:
    with pytest.raises(UnreadableImageError, match="17000×1 pixels; at most 16384 a side"):
        read_grey(write_dicom(np.zeros((1, 17000), np.uint8)))


def test_read_dicom__a_missing_decoder_names_its_package(write_dicom: Write, picture: NDArray[np.uint8]) -> None:
    path = write_dicom(picture, syntax=HTJ2KLossless, frame=b"\0" * 64)
    with pytest.raises(UnreadableImageError, match=r"High-Throughput JPEG 2000.*pip install 'pulmo\[dicom\]'"):
        read_grey(path)
