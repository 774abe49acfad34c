"""From a file to grey: one channel, air dark, bone bright, full range of its dtype.

Every later step relies on this convention, so it is made here, once, whatever the file was.
"""

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pulmo.errors import UnreadableImageError

Grey = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""(H, W) uint8 or uint16; 16 bits are kept until preprocess."""

MAX_SIDE = 16_384  # larger than any detector: a damaged header, or an attempt to fill the memory


@dataclass(frozen=True)
class Reading:
    """A grey image and what its header says of the patient: any of `sex`, `age` (years), `view`."""

    image: Grey
    header: dict[str, str] = field(default_factory=dict)


def read_grey(path: str | Path) -> Reading:
    """Read a DICOM, PNG, JPEG, TIFF or BMP file as `Reading`.

    DICOM: rescale and VOI LUT applied, MONOCHROME1 inverted, palette and RGB turned to luminance. More than
    8 bits are stretched to the full range of uint16, since the stored range differs by device (12 bits in
    16, PadChest's narrow PNGs); 8-bit images are left as they are. Transparent pixels become black.

    Raises `UnreadableImageError`, with the cause, for anything that gives no single grey image.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            start = stream.read(132)
    except OSError as error:
        raise UnreadableImageError(str(path), error.strerror or str(error)) from error
    if not start:
        raise UnreadableImageError(str(path), "the file is empty")
    if start[128:] == b"DICM" or path.suffix.lower() in {".dcm", ".dicom"}:
        reading = _read_dicom(path)
    else:
        reading = Reading(_read_picture(path))
    if max(reading.image.shape) > MAX_SIDE:
        raise UnreadableImageError(str(path), f"{_shape(reading.image)} pixels; at most {MAX_SIDE} a side")
    return reading


def read_mask(path: str | Path, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Read a mask as (H, W) uint8 {0, 1} of the image's `shape`; any non-zero pixel is inside.

    A mask drawn at another resolution of the same picture is scaled to it (nearest neighbour).
    """
    mask = (read_grey(path).image > 0).astype(np.uint8)
    if mask.shape != shape:
        mask = cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(mask, np.uint8)


def _shape(image: npt.NDArray[Any]) -> str:
    return "×".join(map(str, image.shape[1::-1]))


def _read_picture(path: Path) -> Grey:
    # OpenCV writes its complaints about damaged files to stderr, once a file; ours names the file.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise UnreadableImageError(str(path), f"cannot be decoded ({error.err or error})") from error
    if pixels is None:
        raise UnreadableImageError(str(path), "not an image that can be decoded, or cut short")
    _refuse_cut_short(path)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        opaque = pixels[..., -1:] > 0
        pixels = np.where(opaque, pixels[..., :-1], 0).astype(pixels.dtype)
    if pixels.ndim == 3:
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    return _full_range(pixels, path)


def _refuse_cut_short(path: Path) -> None:
    """Raise where a JPEG or PNG lacks its end: OpenCV fills the rest with grey and says nothing."""
    with path.open("rb") as stream:
        start = stream.read(4)
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 4096))
        end = stream.read()
    if (start[:2] == b"\xff\xd8" and b"\xff\xd9" not in end) or (start == b"\x89PNG" and b"IEND" not in end):
        raise UnreadableImageError(str(path), f"cut short: the file ends after {size} bytes, inside the image")


def _full_range(pixels: npt.NDArray[Any], path: Path) -> Grey:
    """Leave uint8 alone; stretch everything else from its lowest..highest value to 0..65535."""
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels).astype(np.uint8, copy=False)
    values = pixels.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        raise UnreadableImageError(str(path), f"{int((~finite).sum())} pixels are not finite numbers")
    low, high = float(values.min()), float(values.max())
    scale = 65535.0 / (high - low) if high > low else 0.0
    stretched: npt.NDArray[np.uint16] = np.rint((values - low) * scale).astype(np.uint16)
    return stretched


def _read_dicom(path: Path) -> Reading:
    import pydicom
    from pydicom.errors import InvalidDicomError
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    # RSNA's ages are written "48", not "048Y": without this pydicom warns at every file.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
            pixels = _decode(dataset, path)
            photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
            if photometric == "PALETTE COLOR":
                pixels = pydicom.pixels.apply_color_lut(pixels, dataset)
                pixels = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
            if pixels.ndim == 3:
                pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
            else:
                if (dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)) != (1, 0):
                    pixels = apply_modality_lut(pixels, dataset)  # would turn bytes to floats for nothing
                pixels = apply_voi_lut(pixels, dataset)
    except InvalidDicomError as error:
        raise UnreadableImageError(str(path), "not a DICOM file, whatever its name says") from error
    except (AttributeError, KeyError, EOFError) as error:
        raise UnreadableImageError(str(path), f"the DICOM lacks pixels or their description ({error})") from error
    except (NotImplementedError, RuntimeError, ValueError, TypeError, OSError, cv2.error) as error:
        raise UnreadableImageError(str(path), _remedy(str(error).split("\n")[0])) from error
    image = _full_range(pixels, path)
    return Reading(np.invert(image) if photometric == "MONOCHROME1" else image, _header(dataset))


def _decode(dataset: Any, path: Path) -> npt.NDArray[Any]:
    """Decode the only frame: Pillow first, since gdcm, where installed, is four times slower on JPEG."""
    from pydicom.pixels import pixel_array

    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise UnreadableImageError(str(path), f"{frames} frames; a radiograph has one")
    compressed = dataset.file_meta.TransferSyntaxUID.is_compressed
    if compressed:
        try:
            return np.asarray(pixel_array(dataset, decoding_plugin="pillow"))
        except (NotImplementedError, RuntimeError, ValueError):
            pass  # a syntax that Pillow has not: let pydicom choose among all decoders
    return np.asarray(pixel_array(dataset))


def _remedy(cause: str) -> str:
    if "decod" in cause or "plugin" in cause:
        return f"{cause}; `pip install 'pulmo[dicom]'` brings decoders for more transfer syntaxes"
    return cause


def _header(dataset: Any) -> dict[str, str]:
    facts = {
        "sex": str(dataset.get("PatientSex") or ""),
        "age": str(dataset.get("PatientAge") or "").rstrip("Yy").lstrip("0"),
        "view": str(dataset.get("ViewPosition") or ""),
    }
    return {name: value for name, value in facts.items() if value}
