"""From a file to grey: one channel, air dark, bone bright, full range of its dtype.

Every later step relies on this convention, so it is made here, once, whatever the file was.
"""

import logging
import re
import stat
import struct
import warnings
import zlib
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pulmo.data.claimed import claimed_shape, pages
from pulmo.data.jpeg import decoded, is_whole, plain_dicom, shape_of
from pulmo.errors import UnreadableImageError

Grey = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""(H, W) uint8 or uint16; 16 bits are kept until preprocess."""

MAX_SIDE = 16_384  # larger than any detector: a damaged header, or an attempt to fill the memory
MAX_BYTES = 2 << 30  # of a file: more than so many pixels take

RESULTS = {
    "SEG": "a segmentation",
    "PR": "a presentation state",
    "SR": "a structured report",
    "KO": "a selection of key objects",
}
"""DICOM objects about images, by Modality (PS3.3 C.7.3.1.1.1)."""


@dataclass(frozen=True)
class Reading:
    """A grey image and what its header says of the patient: any of `sex`, `age` (years), `view`.

    `shape` (H, W) is the file's; the image is smaller where it was read for a smaller side.
    """

    image: Grey
    shape: tuple[int, int]
    header: dict[str, str] = field(default_factory=dict)


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
    if data[128:132] == b"DICM" or path.suffix.lower() in {".dcm", ".dicom"}:
        reading = _read_plain_dicom(data, side) or _read_dicom(data, path, mask=mask)
    else:
        reading = _read_picture(data, path, side)
    _refuse_large(reading.shape, path)  # of the few kinds whose header is not read
    return reading


def read_mask(path: str | Path, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Read a mask as (H, W) uint8 {0, 1} of the image's `shape`; any non-zero pixel is inside.

    A mask drawn at another resolution of the same picture is scaled to it (nearest neighbour).
    """
    mask = (grey_of(content_of(path), path, mask=True).image > 0).astype(np.uint8)
    if mask.shape != shape:
        mask = cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(mask, np.uint8)


def _refuse_large(shape: tuple[int, int] | None, path: Path) -> None:
    if shape is not None and max(shape) > MAX_SIDE:
        size = f"{shape[1]}×{shape[0]} pixels" if max(shape) < 2**31 else "far too many pixels"
        raise UnreadableImageError(str(path), f"{size}; at most {MAX_SIDE} a side")


# OpenCV 5 moved it.
_set_opencv_log_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel


def _read_plain_dicom(data: bytes, side: int | None) -> Reading | None:
    """Read by OpenCV what is no more than a grey JPEG: several times as fast, and the same pixels at full scale.

    As of JPEG files, damage in the middle that libjpeg passes over gives a partly wrong picture; pydicom's decoders
    refuse some of it.
    """
    plain = plain_dicom(data)
    if plain is None or max(plain.shape) > MAX_SIDE:
        return None
    image = decoded(plain.jpeg, plain.shape, side)
    if image is None:
        return None
    header = plain.header | ({"age": plain.header["age"].rstrip("Yy").lstrip("0")} if "age" in plain.header else {})
    return Reading(np.invert(image) if plain.inverted else image, plain.shape, header)


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
        _refuse_large(claimed_shape(data), path)
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
    return _full_range(pixels, path)


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


def _full_range(pixels: npt.NDArray[Any], path: Path) -> Grey:
    """Leave uint8 alone; stretch everything else from its lowest..highest value to 0..65535."""
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels).astype(np.uint8, copy=False)
    values: npt.NDArray[Any] = pixels.astype(np.float64 if pixels.dtype.kind == "f" else np.float32)  # may overflow
    finite = np.isfinite(values)
    if not finite.all():
        raise UnreadableImageError(str(path), f"{int((~finite).sum())} pixels are not finite numbers")
    low, high = float(values.min()), float(values.max())
    scale = 65535.0 / (high - low) if high - low > 1e-300 else 0.0
    stretched: npt.NDArray[np.uint16] = np.rint((values - low) * scale).astype(np.uint16)
    return stretched


def _read_dicom(data: bytes, path: Path, *, mask: bool = False) -> Reading:
    import pydicom
    from pydicom.errors import BytesLengthException, InvalidDicomError
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    # RSNA's ages are written "48", not "048Y": without this pydicom warns at every file.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # it logs the stack traces of decoders that failed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(BytesIO(data))
            if not mask:
                _refuse_results(dataset, path)
            pixels = _decode(dataset, path)
            photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
            if photometric == "PALETTE COLOR":
                pixels = pydicom.pixels.apply_color_lut(pixels, dataset)
                pixels = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
            if pixels.ndim == 3:
                pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
            else:
                rescale = (float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0))
                if "ModalityLUTSequence" in dataset or rescale != (1, 0):
                    pixels = apply_modality_lut(pixels, dataset)  # would turn bytes to floats for nothing
                pixels = apply_voi_lut(pixels, dataset)
            header = _header(dataset)
    except InvalidDicomError as error:
        raise UnreadableImageError(str(path), "not a DICOM file, whatever its name says") from error
    except (AttributeError, LookupError, EOFError) as error:
        lacking = re.sub(r"'FileDataset' object has no attribute '(\w+)'", r"no \1", str(error))
        raise UnreadableImageError(
            str(path), f"the DICOM lacks pixels or their description ({lacking}), or is cut short"
        ) from error
    except (BytesLengthException, struct.error, zlib.error) as error:
        raise UnreadableImageError(str(path), "a damaged DICOM, or cut short") from error
    except (NotImplementedError, RuntimeError, ValueError, TypeError, OSError, cv2.error) as error:
        raise UnreadableImageError(str(path), _cause(error)) from error
    image = _full_range(pixels, path)
    return Reading(np.invert(image) if photometric == "MONOCHROME1" else image, image.shape, header)


def _refuse_results(dataset: Any, path: Path) -> None:
    """Raise for what archives keep beside radiographs: it has grey of its own that a network would answer to."""
    modality = str(dataset.get("Modality") or "")
    if modality in RESULTS:
        raise UnreadableImageError(str(path), f"{RESULTS[modality]} (Modality {modality}), no radiograph")
    if dataset.get("BitsAllocated") == 1:
        raise UnreadableImageError(str(path), "its pixels have one bit: a mask, no radiograph")


def _decode(dataset: Any, path: Path) -> npt.NDArray[Any]:
    """Decode the only frame, by gdcm only where no other plugin can.

    It is four times slower on JPEG, and some damaged files make it end the whole process.
    """
    from pydicom.encaps import generate_frames
    from pydicom.pixels import get_decoder, pixel_array

    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise UnreadableImageError(str(path), f"{frames} frames; a radiograph has one")
    _refuse_large((int(dataset.Rows), int(dataset.Columns)), path)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:  # whose frame has a header of its own
        framed = claimed_shape(next(generate_frames(dataset.PixelData, number_of_frames=1)))
        _refuse_large(framed, path)
        if framed is not None and framed != (int(dataset.Rows), int(dataset.Columns)):
            said = f"{dataset.Columns}×{dataset.Rows} pixels, its compressed picture {framed[1]}×{framed[0]}"
            raise UnreadableImageError(str(path), f"damaged: the header says {said}")
    plugins = get_decoder(syntax).available_plugins if syntax.is_compressed else ()
    return np.asarray(pixel_array(dataset, decoding_plugin=next((name for name in plugins if name != "gdcm"), "")))


def _cause(error: Exception) -> str:
    """One line of pydicom's message, which lists the decoders that it tried line by line."""
    lines = str(error).strip().split("\n")
    if lines[0].startswith("could not convert string to float"):
        return f"damaged: a number in its header is none ({lines[0].partition(': ')[2]})"
    if "missing dependencies" in lines[0]:
        return f"{lines[0].rstrip(':')}; `pip install 'pulmo[dicom]'` brings decoders for more transfer syntaxes"
    return f"its pixels cannot be decoded ({lines[-1].strip()})" if len(lines) > 1 else lines[0]


def _header(dataset: Any) -> dict[str, str]:
    facts = {
        "sex": str(dataset.get("PatientSex") or ""),
        "age": str(dataset.get("PatientAge") or "").rstrip("Yy").lstrip("0"),
        "view": str(dataset.get("ViewPosition") or ""),
    }
    return {name: value for name, value in facts.items() if value}
