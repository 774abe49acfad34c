"""Grey JPEG, as files and inside DICOM, decoded straight to the scale that is needed."""

import struct
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pulmo.data.claimed import ALONE

KEPT = 2  # pixels along a side for each of the result's
LITTLE = 1.25  # by which a picture can shrink without an average

REDUCED = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}

START, END = b"\xff\xd8", b"\xff\xd9"
WITH_LONG_LENGTH = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
BASELINE = b"1.2.840.10008.1.2.4.50"
PIXELS, ITEM = (0x7FE0, 0x0010), (0xFFFE, 0xE000)
UNDEFINED = 0xFFFFFFFF
CHANGES_GREYS = {(0x0028, part) for part in (0x1050, 0x1052, 0x1053, 0x3000, 0x3010)}  # window, rescale, tables
FACTS = {(0x0010, 0x0040): "sex", (0x0010, 0x1010): "age", (0x0018, 0x5101): "view"}
PLAIN = {(0x0028, 0x0002): 1, (0x0028, 0x0100): 8, (0x0028, 0x0101): 8, (0x0028, 0x0103): 0}  # one 8-bit channel


@dataclass(frozen=True)
class PlainDicom:
    """A DICOM that is a grey 8-bit JPEG with a header, and nothing that changes its greys."""

    jpeg: bytes
    shape: tuple[int, int]
    inverted: bool
    header: dict[str, str]


def decoded(jpeg: bytes, shape: tuple[int, int], side: int | None) -> npt.NDArray[np.uint8] | None:
    """Decode a grey JPEG of `shape` (H, W) for a result of `side` pixels; None where OpenCV cannot.

    libjpeg reduces within its blocks of 8, to a half or less as long as `KEPT` pixels are left for each of the result;
    a picture that is near to just so many is brought to them, since they are fast to average. On RSNA's 1024 pixels at
    224 the mean difference from averaging the whole picture is 0.2 grey levels, and a classifier's scores move by 0.009
    on average (a quarter of the scale would move them by 0.037). Without `side` it is decoded at its full scale.
    """
    scale = 1 if side is None else max(by for by in REDUCED if by == 1 or min(shape) >= by * KEPT * side)
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), REDUCED[scale] | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        return None
    if side is not None and scale > 1 and max(pixels.shape) <= LITTLE * KEPT * side:
        pixels = cv2.resize(pixels, (KEPT * side, KEPT * side), interpolation=cv2.INTER_LINEAR)
    return np.asarray(pixels, np.uint8)


def shape_of(jpeg: bytes) -> tuple[int, int] | None:
    """Height and width that a whole, grey, 8-bit JPEG says; None for any other."""
    position = 2
    if not jpeg.startswith(b"\xff\xd8") or b"\xff\xd9" not in jpeg[-16:]:
        return None
    while position + 10 <= len(jpeg) and jpeg[position] == 0xFF:
        marker, length = jpeg[position + 1], int.from_bytes(jpeg[position + 2 : position + 4], "big")
        if marker in (0xC0, 0xC1, 0xC2):  # baseline, extended, progressive
            bits, height, width, channels = struct.unpack_from(">BHHB", jpeg, position + 4)
            return (height, width) if (bits, channels) == (8, 1) and height and width else None
        position += 2 + length
    return None


def is_whole(jpeg: bytes) -> bool:
    """Whether the marker that ends a JPEG is there; whatever stands behind it, or inside of its header, is not it.

    Bytes between segments are passed by, as libjpeg does.
    """
    position = 2
    while 0 <= (position := jpeg.find(b"\xff", position)) < len(jpeg) - 1:
        marker = jpeg[position + 1]
        if marker == END[1]:
            return True
        if marker == START[1]:  # of another picture, before this one has ended
            return False
        if marker == 0xFF:  # any number of them may stand before a marker
            position += 1
        elif marker == 0 or marker in ALONE:  # within a scan's data, which have no length
            position += 2
        else:
            position += 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
    return False


def plain_dicom(data: bytes) -> PlainDicom | None:
    """Take apart the bytes of a DICOM file as most archives have them; None where it takes a whole reader.

    That is for anything but JPEG Baseline, explicit lengths, one frame, one channel of 8 bits, greys as they are.
    """
    try:
        return _taken_apart(data)
    except (struct.error, LookupError, ValueError):
        return None


def _taken_apart(data: bytes) -> PlainDicom | None:
    if data[128:132] != b"DICM":
        return None
    position, values = 132, {}
    while True:
        tag = struct.unpack_from("<HH", data, position)
        kind = data[position + 4 : position + 6]
        if kind in WITH_LONG_LENGTH:
            length, position = struct.unpack_from("<I", data, position + 8)[0], position + 12
        else:
            length, position = struct.unpack_from("<H", data, position + 6)[0], position + 8
        if tag == PIXELS:
            break
        if length == UNDEFINED or tag in CHANGES_GREYS or not kind.isupper():
            return None
        values[tag] = data[position : position + length]
        position += length
    text = {tag: value.strip(b" \0").decode("ascii", "replace") for tag, value in values.items()}
    photometric = text.get((0x0028, 0x0004), "")
    numbers = {tag: struct.unpack("<H", values[tag])[0] for tag in [*PLAIN, (0x0028, 0x0010), (0x0028, 0x0011)]}
    simple = values.get((0x0002, 0x0010), b"").strip(b" \0") == BASELINE and length == UNDEFINED
    simple &= all(numbers[tag] == number for tag, number in PLAIN.items())
    simple &= text.get((0x0028, 0x0008), "1") == "1" and photometric in ("MONOCHROME1", "MONOCHROME2")
    jpeg = _fragments(data, position) if simple else b""
    shape = (numbers[0x0028, 0x0010], numbers[0x0028, 0x0011])
    if shape_of(jpeg) != shape:
        return None
    header = {name: text[tag] for tag, name in FACTS.items() if text.get(tag)}
    return PlainDicom(jpeg, shape, photometric == "MONOCHROME1", header)


def _fragments(data: bytes, position: int) -> bytes:
    """Join the items behind the offset table."""
    parts = []
    while struct.unpack_from("<HH", data, position) == ITEM:
        length = struct.unpack_from("<I", data, position + 4)[0]
        parts.append(data[position + 8 : position + 8 + length])
        position += 8 + length
    return b"".join(parts[1:]).rstrip(b"\0")
