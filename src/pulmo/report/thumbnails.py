"""Radiographs small enough for a page of many."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pulmo.report.heat import overlay

QUALITY = 82


def thumbnail(image: NDArray[np.uint8], heat: NDArray[np.float32] | None = None, side: int = 224) -> bytes:
    """A JPEG of the (H, W) image at most `side` pixels high, its heat (H, W) in [0, 1] laid over a copy beside it."""
    shown = [np.repeat(image[..., None], 3, axis=2)]
    if heat is not None:
        shown.append(overlay(image, heat))
    height, width = image.shape
    scale = min(1.0, side / height)
    size = (max(1, round(width * scale * len(shown))), max(1, round(height * scale)))
    with io.BytesIO() as stream:
        picture = Image.fromarray(np.concatenate(shown, axis=1)).resize(size, Image.Resampling.LANCZOS)
        picture.save(stream, format="jpeg", quality=QUALITY, optimize=True)
        return stream.getvalue()
