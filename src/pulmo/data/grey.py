"""What any file becomes: one channel, air dark, bone bright, full range of its dtype."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmo.errors import UnreadableImageError

Grey = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""(H, W) uint8 or uint16; 16 bits are kept until preprocess."""

MAX_SIDE = 16_384  # larger than any detector: a damaged header, or an attempt to fill the memory


@dataclass(frozen=True)
class Reading:
    """A grey image and what its header says of the patient: any of `sex`, `age` (years), `view`.

    `shape` (H, W) is the file's; the image is smaller where it was read for a smaller side.
    """

    image: Grey
    shape: tuple[int, int]
    header: dict[str, str] = field(default_factory=dict)


def refuse_large(shape: tuple[int, int] | None, path: Path) -> None:
    """Raise `UnreadableImageError` for more than `MAX_SIDE` pixels a side."""
    if shape is not None and max(shape) > MAX_SIDE:
        size = f"{shape[1]}×{shape[0]} pixels" if max(shape) < 2**31 else "far too many pixels"
        raise UnreadableImageError(str(path), f"{size}; at most {MAX_SIDE} a side")


def full_range(pixels: npt.NDArray[Any], path: Path) -> Grey:
    """Leave uint8 alone; stretch everything else from its lowest..highest value to 0..65535."""
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels).astype(np.uint8, copy=False)
    wide = np.float64 if pixels.dtype.kind == "f" else np.float32  # from lowest to highest a float32 may overflow
    values: npt.NDArray[Any] = pixels.astype(wide)
    finite = np.isfinite(values)
    if not finite.all():
        raise UnreadableImageError(str(path), f"{int((~finite).sum())} pixels are not finite numbers")
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(high - low):
        values, low, high = values / 2, low / 2, high / 2
    scale = 65535.0 / (high - low) if high - low > 1e-300 else 0.0
    stretched: npt.NDArray[np.uint16] = np.rint((values - low) * scale).astype(np.uint16)
    return stretched
