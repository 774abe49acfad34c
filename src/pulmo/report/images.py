"""Images as the network sees them."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pulmo.report.style import new_figure, say, styled


@styled
def image_grid(images: NDArray[Any], titles: Sequence[str], columns: int = 8) -> Figure:
    """(N, H, W) uint8 images in rows of `columns`, each under its title, black at 0, white at 255.

    Raises ValueError where the images are of another shape or type, or the titles of another number.
    """
    if images.ndim != 3 or images.dtype != np.uint8:
        raise ValueError(f"images are {images.shape} {images.dtype}; expected (N, H, W) uint8")
    if len(titles) != len(images) or columns < 1:
        raise ValueError(f"{len(titles)} titles for {len(images)} images in {columns} columns")
    if len(images) == 0:
        figure = new_figure(3, 1)
        axes = figure.add_subplot()
        axes.set_axis_off()
        say(axes, "no image")
        return figure
    across = min(columns, len(images))
    down = -(-len(images) // across)
    height, width = images.shape[1:]
    titles = [textwrap.fill(title, 22) for title in titles]  # what fits above an image of 1.5 inches
    lines = 1 + max(title.count("\n") for title in titles)
    figure = new_figure(1.5 * across, (1.5 * height / width + 0.16 * lines + 0.08) * down)
    for i, (image, title) in enumerate(zip(images, titles, strict=True)):
        axes = figure.add_subplot(down, across, i + 1)
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
        axes.set_title(title, fontsize=7.5, pad=3)
    return figure
