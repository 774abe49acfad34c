"""From a file to grey: one channel, air dark, bone bright, full range of its dtype.

Every later step relies on this convention, so it is made here, once, whatever the file was.
"""

import stat
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pulmo.data.claimed import claimed_shape, pages
from pulmo.data.dicom import is_dicom, read_dicom
from pulmo.data.grey import MAX_SIDE, Grey, Reading, full_range, refuse_large
from pulmo.data.jpeg import decoded, is_whole, shape_of
from pulmo.errors import UnreadableImageError

MAX_BYTES = 2 << 30  # of a file: more than so many pixels take


def read_grey(path: str | Path, side: int | None = None) -> Reading:
    """Read a DICOM, PNG, JPEG, TIFF or BMP file as `Reading`.

    `side` tells that the whole picture will be averaged to so many pixels: a large grey JPEG is then decoded at a
    fraction of its size.

    DICOM: rescale and VOI LUT applied, MONOCHROME1 inverted, palette and RGB turned to luminance. More than
    8 bits are stretched to the full range of uint16, since the stored range differs by device (12 bits in
    16, PadChest's narrow PNGs); 8-bit images are left as they are. Transparent pixels become black.

    Raises `UnreadableImageError`, with the cause, for anything that gives no single grey image. More pixels than
    `MAX_SIDE` a side are refused by the header alone, before memory is taken for them.
    """
    return grey_of(content_of(path), path, side)


def content_of(path: str | Path) -> bytes:
    """The bytes of an image file; raises `UnreadableImageError` where there are none."""
    path = Path(path)
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # a pipe would be waited for
            raise UnreadableImageError(str(path), "neither a file nor a link to one")
        if status.st_size > MAX_BYTES:
            raise UnreadableImageError(str(path), f"{status.st_size >> 20} MB; at most {MAX_BYTES >> 20}")
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # a name that the system cannot have is a ValueError
        raise UnreadableImageError(str(path), getattr(error, "strerror", None) or str(error)) from error
    if not data:
        raise UnreadableImageError(str(path), "the file is empty")
    return data


def grey_of(data: bytes, path: str | Path, side: int | None = None, *, mask: bool = False) -> Reading:
    """What `read_grey` gives of a file's bytes; `path` is named in errors, and its suffix tells bare DICOM.

    A `mask` may be a DICOM segmentation.
    """
    path = Path(path)
    reading = read_dicom(data, path, side, mask=mask) if is_dicom(data, path) else _read_picture(data, path, side)
    refuse_large(reading.shape, path)  # of the few kinds whose header is not read
    return reading


def read_mask(path: str | Path, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Read a mask as (H, W) uint8 {0, 1} of the image's `shape`; any non-zero pixel is inside.

    A mask drawn at another resolution of the same picture is scaled to it (nearest neighbour).
    """
    mask = (grey_of(content_of(path), path, mask=True).image > 0).astype(np.uint8)
    if mask.shape != shape:
        mask = cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(mask, np.uint8)


# OpenCV 5 moved it.
_set_opencv_log_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel


def _read_picture(data: bytes, path: Path, side: int | None) -> Reading:
    # OpenCV writes its complaints about damaged files to stderr, once a file; ours names the file.
    _set_opencv_log_level(0)
    shape = shape_of(data) if side is not None else None
    if shape is not None and max(shape) <= MAX_SIDE and (smaller := decoded(data, shape, side)) is not None:
        return Reading(smaller, shape)
    image = _whole_picture(data, path)
    return Reading(image, image.shape)


def _whole_picture(data: bytes, path: Path) -> Grey:
    try:
        data = _undamaged(data, path)
        refuse_large(claimed_shape(data), path)
        if (count := pages(data)) > 1:
            raise UnreadableImageError(str(path), f"{count} pages; a radiograph has one")
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is None:
            raise UnreadableImageError(str(path), "not an image that can be decoded, or cut short")
        if pixels.dtype not in (np.uint8, np.uint16):
            pixels = pixels.astype(np.float32)  # the only other type that cvtColor takes
        if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
            opaque = pixels[..., -1:] > 0
            pixels = np.where(opaque, pixels[..., :-1], 0).astype(pixels.dtype)
        if pixels.ndim == 3:
            pixels = pixels[..., 0] if pixels.shape[2] == 1 else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    except cv2.error as error:
        raise UnreadableImageError(str(path), f"cannot be decoded ({error.err or error})") from error
    return full_range(pixels, path)


def _undamaged(data: bytes, path: Path) -> bytes:
    """Give the bytes that make pixels; raise where a JPEG or PNG lacks its end, or a PNG's checksums fail.

    OpenCV fills what is missing with grey and says nothing, while libpng and libjpeg write to stderr.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data, path)
    if data.startswith(b"\xff\xd8") and not is_whole(data):
        raise UnreadableImageError(str(path), f"cut short: the file ends after {len(data)} bytes, inside the image")
    return data


def _png(data: bytes, path: Path) -> bytes:
    """Check a PNG's chunks; keep those that make pixels, since libpng prints what it thinks of the others."""
    position, kept, kind = 8, [data[:8]], b""
    while kind != b"IEND":
        if len(data) < position + 12:
            cause = f"cut short: the file ends after {len(data)} bytes, inside the image"
            raise UnreadableImageError(str(path), cause)
        length, kind = struct.unpack_from(">I4s", data, position)
        chunk = data[position : position + length + 12]
        position += len(chunk)
        if kind[:1].isupper() or kind == b"tRNS":
            if len(chunk) == length + 12 and zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
                raise UnreadableImageError(str(path), f"damaged: wrong checksum {position - 4} bytes into the file")
            kept.append(chunk)
    return b"".join(kept)
