"""What an image file says of itself, without decoding it: format, size, bits, how greys or colours are meant."""

import struct
import warnings
from dataclasses import dataclass
from io import BytesIO

import PIL.Image

PNG_KINDS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with transparency", 6: "RGB with transparency"}
PIL_KINDS = {"1": "grey", "L": "grey", "P": "palette", "LA": "grey with transparency", "RGBA": "RGB with transparency"}
PIL_BITS = {"1": 1, "I;16": 16, "I;16B": 16, "I": 32, "F": 32}


@dataclass(frozen=True)
class Facts:
    """A file's own words; what it does not say is "" or 0.

    format  "DICOM", "PNG", "JPEG", …; of a DICOM with the kind of compression
    bits    used of each grey value (DICOM's BitsStored)
    kind    DICOM's photometric interpretation, or "grey", "RGB", "palette"
    """

    format: str = ""
    width: int = 0
    height: int = 0
    bits: int = 0
    kind: str = ""


def facts_of(data: bytes, suffix: str = "") -> Facts:
    """Read the header of a file's bytes; `Facts()` where there is none that can be read."""
    if data[128:132] == b"DICM" or suffix.lower() in {".dcm", ".dicom"}:
        return _of_dicom(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 26:
        width, height, bits, kind = struct.unpack_from(">IIBB", data, 16)
        return Facts("PNG", width, height, bits, PNG_KINDS.get(kind, ""))
    return _of_picture(data)


def _of_picture(data: bytes) -> Facts:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's fear of large pictures: none is decoded here
            with PIL.Image.open(BytesIO(data)) as picture:
                kind = PIL_KINDS.get(picture.mode, "grey" if picture.mode in PIL_BITS else picture.mode)
                return Facts(str(picture.format), *picture.size, PIL_BITS.get(picture.mode, 8), kind)
    except (OSError, ValueError, SyntaxError, struct.error, PIL.Image.DecompressionBombError):
        return Facts()


def _of_dicom(data: bytes) -> Facts:
    import pydicom
    from pydicom.errors import BytesLengthException, InvalidDicomError

    tags = ["Rows", "Columns", "BitsStored", "BitsAllocated", "PhotometricInterpretation"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=tags)
            bits = dataset.get("BitsStored") or dataset.get("BitsAllocated") or 0
            kind = str(dataset.get("PhotometricInterpretation") or "")
            syntax = getattr(dataset.file_meta.get("TransferSyntaxUID"), "name", "")
            width, height = int(dataset.get("Columns") or 0), int(dataset.get("Rows") or 0)
            return Facts(" ".join(("DICOM", _compression(syntax))).strip(), width, height, int(bits), kind)
    except (InvalidDicomError, BytesLengthException):
        return Facts()
    except (AttributeError, LookupError, EOFError, struct.error, NotImplementedError, ValueError, TypeError, OSError):
        return Facts("DICOM")


def _compression(syntax: str) -> str:
    """The part of a transfer syntax's name that tells how its pixels are packed: "JPEG Baseline", "RLE Lossless"."""
    if "Endian" in syntax and "Deflated" not in syntax:
        return "uncompressed"
    return syntax.partition(" (")[0].partition(",")[0].replace(" Image Compression", "")
