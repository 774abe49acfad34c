"""How large a picture says it is, read from its first bytes: before a decoder takes the memory for it."""

import struct
import warnings
from io import BytesIO

from PIL import Image, TiffImagePlugin, UnidentifiedImageError

Shape = tuple[int, int]

FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}  # F7: JPEG-LS
ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT = 254, 255, 256, 257
NO_PICTURE, OLD_REDUCED = 1 | 4, 2  # a smaller version, or the transparency, of another picture of the file


def claimed_shape(data: bytes) -> Shape | None:
    """Height and width in pixels by the header of PNG, JPEG, TIFF and whatever else Pillow knows; None of others.

    Nothing is decoded. Pillow itself knows no TIFF of several channels of 16 bits, hence its tags alone are read.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return struct.unpack_from(">II", data, 16)[::-1] if len(data) >= 24 else None
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own about size, and about tags that it does not know
        try:
            return _tiff(data) if data.startswith(TIFF) else _other(data)
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error):
            return None  # the decoder will say what is wrong


def _jpeg(data: bytes) -> Shape | None:
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return height, width
        fill = marker == 0xFF  # any number of them may stand before a marker
        position += (
            1 if fill else 2 if marker in ALONE else 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        )
    return None


def pages(data: bytes) -> int:
    """Pictures in a TIFF, smaller versions and transparencies of one not counted; 1 of other and of damaged files."""
    if not data.startswith(TIFF):
        return 1
    count, seen = 0, set[int]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tags = _directories(data)
            while tags.next and tags.next not in seen:  # a damaged chain may go round
                seen.add(tags.next)
                _load(tags, data)
                count += not (tags.get(SUBFILE, 0) & NO_PICTURE or tags.get(OLD_SUBFILE) == OLD_REDUCED)
        except (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error):
            return max(count, 1)
    return max(count, 1)


def _tiff(data: bytes) -> Shape:
    tags = _directories(data)
    _load(tags, data)
    return int(tags[HEIGHT]), int(tags[WIDTH])


def _directories(data: bytes) -> TiffImagePlugin.ImageFileDirectory_v2:
    return TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[2] == 43 or data[3] == 43 else 8])


def _load(tags: TiffImagePlugin.ImageFileDirectory_v2, data: bytes) -> None:
    """Read the directory to which the last one points."""
    stream = BytesIO(data)
    stream.seek(tags.next)
    tags.load(stream)


def _other(data: bytes) -> Shape:
    try:
        with Image.open(BytesIO(data)) as picture:
            return picture.height, picture.width
    except Image.DecompressionBombError:
        return 2**31, 2**31  # which Pillow refuses to tell
