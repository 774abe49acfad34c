"""What claims to be larger than any detector is refused by its header, before memory is taken for its pixels."""

import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from pulmo.data.claimed import claimed_shape
from pulmo.data.reading import read_grey
from pulmo.errors import UnreadableImageError

SIDE = 20_000
Write = Callable[..., Path]


def png(folder: Path, _: Write) -> Path:
    """Of 20,000 × 20,000 black pixels, whole, in 400 kB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(SIDE + 1)) for _ in range(SIDE)) + packer.flush()
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return _written(folder / "x.png", data)


def grey_jpeg(folder: Path, _: Write) -> Path:
    return _written(folder / "x.jpg", _claiming(np.zeros((16, 16), np.uint8)))


def colour_jpeg(folder: Path, _: Write) -> Path:
    return _written(folder / "x.jpg", _claiming(np.zeros((16, 16, 3), np.uint8)))


def tiff(folder: Path, _: Write) -> Path:
    """The width and height of a real one changed in its tags, which are short numbers: 256 and 257."""
    path = folder / "x.tif"
    Image.fromarray(np.zeros((16, 16), np.uint16)).save(path)
    data = path.read_bytes()
    for tag in (256, 257):
        for kind in (3, 4):  # short, long
            data = data.replace(struct.pack("<HHII", tag, kind, 1, 16), struct.pack("<HHII", tag, kind, 1, SIDE))
    return _written(path, data)


def bmp(folder: Path, _: Write) -> Path:
    data = bytearray(cv2.imencode(".bmp", np.zeros((16, 16), np.uint8))[1].tobytes())
    struct.pack_into("<ii", data, 18, SIDE, SIDE)
    return _written(folder / "x.bmp", bytes(data))


def run_lengths(_: Path, write_dicom: Write) -> Path:
    path = write_dicom(np.zeros((64, 64), np.uint8), compress=RLELossless)
    exam = pydicom.dcmread(path)
    exam.Rows = exam.Columns = SIDE
    exam.save_as(path)
    return path


def jpeg_in_dicom(_: Path, write_dicom: Write) -> Path:
    """Whose own header is modest."""
    picture = np.zeros((16, 16), np.uint8)
    return write_dicom(picture, syntax=JPEGBaseline8Bit, frame=_claiming(picture))


def _claiming(picture: NDArray[np.uint8]) -> bytes:
    data = cv2.imencode(".jpg", picture)[1].tobytes()
    return data.replace(struct.pack(">HH", 16, 16), struct.pack(">HH", SIDE, SIDE), 1)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("make", [png, grey_jpeg, colour_jpeg, tiff, bmp, run_lengths, jpeg_in_dicom])
@pytest.mark.parametrize("side", [None, 64])
def test_read_grey__a_claim_of_20000_pixels_a_side_takes_no_memory(
    tmp_path: Path, write_dicom: Write, make: Callable[[Path, Write], Path], side: int | None
) -> None:
    path = make(tmp_path, write_dicom)
    read_grey(_small(tmp_path))  # imports, once
    before = _peak_kb()
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableImageError, match=f"({SIDE}×{SIDE}|far too many) pixels; at most 16384 a side"):
            read_grey(path, side)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 << 20, "Python's own, numpy's arrays among them"
    assert _peak_kb() - before < 40 << 10, "and what decoders take by themselves"


def test_read_grey__twenty_thousand_wide_jpeg_2000_in_dicom_is_refused(write_dicom: Write) -> None:
    stream = BytesIO()
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(stream, "JPEG2000", no_jp2=True)
    frame = stream.getvalue().replace(struct.pack(">II", 16, 16), struct.pack(">II", SIDE, SIDE))
    path = write_dicom(np.zeros((16, 16), np.uint8), syntax=JPEG2000Lossless, frame=frame)
    with pytest.raises(UnreadableImageError, match="at most 16384 a side"):
        read_grey(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_claimed_shape__is_that_of_the_decoded(suffix: str, channels: int) -> None:
    picture = np.zeros((21, 34, channels), np.uint8)
    assert claimed_shape(cv2.imencode(suffix, picture)[1].tobytes()) == (21, 34)


def test_claimed_shape__knows_progressive_jpeg_and_deep_tiffs() -> None:
    progressive = cv2.imencode(".jpg", np.zeros((21, 34), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1]
    assert claimed_shape(progressive.tobytes()) == (21, 34)
    for dtype in (np.uint16, np.float32, np.float64):
        assert claimed_shape(cv2.imencode(".tif", np.zeros((21, 34, 3), dtype))[1].tobytes()) == (21, 34)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"II*\0", b"II*\0\xff\xff\xff\xff", b"text"])
def test_claimed_shape__is_unknown_of_what_is_cut_short(data: bytes) -> None:
    assert claimed_shape(data) is None


def test_read_grey__a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(UnreadableImageError, match="neither a file nor a link to one"):
        read_grey(tmp_path / "x.png")


def test_read_grey__a_folder_named_like_an_image_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").mkdir()
    with pytest.raises(UnreadableImageError, match=r"x\.dcm: Is a directory"):
        read_grey(tmp_path / "x.dcm")


def test_read_grey__a_broken_link_and_an_impossible_name_are_told(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").symlink_to(tmp_path / "gone.dcm")
    with pytest.raises(UnreadableImageError, match="No such file"):
        read_grey(tmp_path / "x.dcm")
    with pytest.raises(UnreadableImageError, match="null"):
        read_grey("x\0.dcm")


def test_read_grey__what_cannot_be_opened_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _small(tmp_path)

    def denied(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))  # whom root could not be by chmod

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(UnreadableImageError, match=r"small\.png: Permission denied"):
        read_grey(path)


def _small(folder: Path) -> Path:
    return _written(folder / "small.png", cv2.imencode(".png", np.zeros((16, 16), np.uint8))[1].tobytes())


def _peak_kb() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_read_dicom__without_rows_says_so_in_the_words_of_dicom(write_dicom: Write) -> None:
    path = write_dicom(np.zeros((16, 16), np.uint8))
    exam = pydicom.dcmread(path)
    del exam.Rows
    exam.save_as(path)
    with pytest.raises(UnreadableImageError, match=r"lacks pixels or their description \(no Rows\)"):
        read_grey(path)
