"""Grey from DICOM: by OpenCV what is a plain JPEG inside, by pydicom everything else."""

import logging
import re
import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pulmo.data.claimed import claimed_shape
from pulmo.data.grey import MAX_SIDE, Reading, full_range, refuse_large
from pulmo.data.jpeg import decoded, plain_dicom
from pulmo.errors import UnreadableImageError

RESULTS = {
    "SEG": "a segmentation",
    "PR": "a presentation state",
    "SR": "a structured report",
    "KO": "a selection of key objects",
}
"""DICOM objects about images, by Modality (PS3.3 C.7.3.1.1.1)."""


def is_dicom(data: bytes, path: Path) -> bool:
    """Whether bytes are a DICOM file's, by their mark or, of bare ones, by the suffix."""
    return data[128:132] == b"DICM" or path.suffix.lower() in {".dcm", ".dicom"}


def read_dicom(data: bytes, path: Path, side: int | None, *, mask: bool = False) -> Reading:
    """The only frame, as `reading.read_grey` says; of a `mask` a segmentation object too.

    Raises `UnreadableImageError` with the cause.
    """
    return _read_plain_dicom(data, side) or _read_dicom(data, path, mask=mask)


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
            if not len(dataset):  # pydicom drops all elements where the last one, the pixels, is cut off
                raise UnreadableImageError(
                    str(path), f"cut short: the file ends after {len(data)} bytes, in an element"
                )
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
                rescale = (_number(dataset, "RescaleSlope", 1), _number(dataset, "RescaleIntercept", 0))
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
    image = full_range(pixels, path)
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
    refuse_large((int(dataset.Rows), int(dataset.Columns)), path)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:  # whose frame has a header of its own
        framed = claimed_shape(next(generate_frames(dataset.PixelData, number_of_frames=1)))
        refuse_large(framed, path)
        if framed is not None and all(framed) and framed != (int(dataset.Rows), int(dataset.Columns)):
            said = f"{dataset.Columns}×{dataset.Rows} pixels, its compressed picture {framed[1]}×{framed[0]}"
            raise UnreadableImageError(str(path), f"damaged: the header says {said}")
    plugins = get_decoder(syntax).available_plugins if syntax.is_compressed else ()
    return np.asarray(pixel_array(dataset, decoding_plugin=next((name for name in plugins if name != "gdcm"), "")))


def _number(dataset: Any, name: str, otherwise: float) -> float:
    value = dataset.get(name)
    try:
        return otherwise if value in (None, "", 0) else float(value)
    except TypeError as error:  # several values
        raise ValueError(f"could not convert string to float: {value!r}") from error


def _cause(error: Exception) -> str:
    """One line of pydicom's message, which lists the decoders that it tried line by line."""
    lines = re.sub(r" <_io\.[^>]*>", "", str(error)).strip().split("\n")
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
