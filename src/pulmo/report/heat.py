"""Heat maps: laid over radiographs, and beside them on a sheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from pulmo.report.overlays import HALO_POINTS, LINE_POINTS, TEXT_POINTS, outline, shorten, wrap
from pulmo.report.style import BLUE, SKY, new_figure, say, styled

COLOURS = "inferno"  # lightness rises evenly, in print and to the colour-blind
STRONGEST = 0.65  # opacity at a heat of 1
COLUMNS, ROWS = 3, 6
PANEL = 1.55  # inches
HALF = 0.495  # of a case's frame, for each of its two pictures

BOXES: tuple[str, Any] = (BLUE, "-")
LUNGS: tuple[str, Any] = (SKY, (0, (3.0, 1.5)))


@dataclass(frozen=True, eq=False)
class HeatCase:
    """One image, its heat, and what is known of it; all of one size."""

    image: NDArray[np.uint8]  # (H, W)
    heat: NDArray[np.float32]  # (H, W) in [0, 1]
    title: str
    caption: str = ""
    lungs: NDArray[np.uint8] | None = None  # (H, W) {0, 1}
    boxes: NDArray[np.floating[Any]] | None = None  # (N, 4) xyxy, pixels of `image`


def overlay(image: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB: the image in grey, the heat over it, opaque as it is strong; no heat hides nothing."""
    colour = matplotlib.colormaps[COLOURS](heat)[..., :3] * 255
    share = STRONGEST * heat[..., None]
    return np.asarray(np.rint(image[..., None] * (1 - share) + colour * share), np.uint8)


@styled
def heat_sheet(cases: Sequence[HeatCase], title: str = "") -> Figure:
    """Each case twice: the image with the true boxes and the lungs, and with its heat. Up to 18 cases."""
    if len(cases) > COLUMNS * ROWS:
        raise ValueError(f"{len(cases)} cases; expected up to {COLUMNS * ROWS} on a sheet")
    if not cases:
        figure = new_figure(4, 1)
        say(figure.add_subplot(title=title, xticks=[], yticks=[], frame_on=False), "no image to show")
        return figure
    columns = min(COLUMNS, len(cases))
    rows = -(-len(cases) // columns)
    tall = max(case.image.shape[0] / case.image.shape[1] for case in cases)
    lines = 1 + max(len(wrap(case.caption, 2 * PANEL)) for case in cases)
    figure = new_figure(columns * (2 * PANEL + 0.2), rows * (PANEL * tall + 0.17 * lines + 0.12) + 0.85)
    if title:
        figure.suptitle(title)
    grid = figure.subplots(rows, columns, squeeze=False)
    for place, frame in enumerate(grid.flat):
        if place >= len(cases):
            frame.set_axis_off()
            continue
        case = cases[place]
        frame.set(xticks=[], yticks=[], anchor="N", box_aspect=tall * HALF)
        frame.spines[:].set_visible(False)
        frame.set_title(shorten(case.title, 2 * PANEL * 72, TEXT_POINTS), fontsize=TEXT_POINTS, pad=3, loc="left")
        frame.set_xlabel("\n".join(wrap(case.caption, 2 * PANEL)), fontsize=TEXT_POINTS, labelpad=3, loc="left")
        _draw(frame.inset_axes((0, 0, HALF, 1)), case.image, case)
        _draw(frame.inset_axes((1 - HALF, 0, HALF, 1)), overlay(case.image, case.heat), case)
    _legend(figure, cases)
    scale = ScalarMappable(Normalize(0, 1), COLOURS)
    bar = figure.colorbar(scale, ax=grid, location="bottom", shrink=0.5, aspect=40, pad=0.02, fraction=0.03)
    bar.set_label("heat, as a share of the image's largest")
    return figure


def _draw(axes: Axes, image: NDArray[np.uint8], case: HeatCase) -> None:
    height, width = case.image.shape
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0), interpolation="antialiased")
    outline(axes, case.lungs, None, *LUNGS, 0.9, 2.0)
    outline(axes, None, case.boxes, "white", "-", HALO_POINTS - 0.6, 2.1)
    outline(axes, None, case.boxes, *BOXES, LINE_POINTS, 2.2)
    axes.set(xlim=(0, width), ylim=(height, 0), anchor="N")
    axes.set_axis_off()


def _legend(figure: Figure, cases: Sequence[HeatCase]) -> None:
    known = {
        "true box": (BOXES, any(case.boxes is not None and len(case.boxes) for case in cases)),
        "lung mask": (LUNGS, any(case.lungs is not None and case.lungs.any() for case in cases)),
    }
    handles = [
        Line2D([], [], color=colour, linestyle=line, label=name)
        for name, ((colour, line), there) in known.items()
        if there
    ]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


@styled
def feature_grid(maps: NDArray[np.float32], channels: Sequence[int], title: str) -> Figure:
    """Maps (N, h, w) of a layer's `channels`, each from black, its least value, to white, its largest."""
    columns = min(8, max(1, len(maps)))
    rows = max(1, -(-len(maps) // columns))
    figure = new_figure(columns * 1.0 + 0.2, rows * 1.15 + 0.4)
    figure.suptitle(title, fontsize=9)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, values, channel in zip(grid.flat, maps, channels, strict=False):
        axes.imshow(values, cmap="gray", interpolation="nearest")
        axes.set_title(str(channel), fontsize=7, pad=2)
    return figure
