"""A figure as pixels: drawn once for all who show it, a file, a page, a logger."""

import io
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from pulmo.report.style import DPI, style

Pixels = npt.NDArray[np.uint8]

_drawn: WeakKeyDictionary[Figure, Pixels] = WeakKeyDictionary()


def pixels(figure: Figure) -> Pixels:
    """(H, W, 3) uint8 at `DPI`; of a figure that was changed since, drawn anew."""
    known = _drawn.get(figure)
    if known is not None and not figure.stale:
        return known
    canvas = figure.canvas if isinstance(figure.canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)
    with style():
        if figure.dpi != DPI:
            figure.set_dpi(DPI)
        canvas.draw()  # type: ignore[no-untyped-call]
    found = np.array(canvas.buffer_rgba(), np.uint8)[..., :3]  # type: ignore[no-untyped-call]
    _drawn[figure] = found
    return found


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    with io.BytesIO() as stream:
        Image.fromarray(np.ascontiguousarray(pixels(figure))).save(stream, "png", dpi=(DPI, DPI))
        return stream.getvalue()
