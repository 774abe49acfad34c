"""One look for every figure: legible in print, in greyscale and to colour-blind readers.

Figures are made with matplotlib's object API and the Agg canvas, never with pyplot: they need no display, and
nothing keeps them alive once the caller lets go.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, ParamSpec

import matplotlib.style
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import ScaledTranslation

BLACK, GREY = "#000000", "#767676"
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY = "#E69F00", "#56B4E9"
"""Okabe and Ito, Color Universal Design, 2008; their yellow is left out, it vanishes on white paper."""

COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
LINE_STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

DPI = 150  # pixels an inch

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same glyphs on every machine
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8.5,
    "legend.title_fontsize": 8.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,  # long enough to tell dashes from dots
    "figure.dpi": DPI,
    "figure.constrained_layout.w_pad": 0.06,  # inches
    "figure.constrained_layout.h_pad": 0.06,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": False,
    "axes.prop_cycle": cycler(linestyle=LINE_STYLES) * cycler(color=COLOURS),
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "hatch.linewidth": 0.6,
    "text.hinting": "none",  # hinted text has another width at each resolution, and settled layouts would not hold
    "text.parse_math": False,  # class names and image ids are text, dollar signs and all
}


P = ParamSpec("P")


def style() -> AbstractContextManager[None]:
    """Give matplotlib the house look inside the block, and only there.

    It starts from matplotlib's own defaults, so that a user's matplotlibrc does not leak into a figure.
    """
    return matplotlib.style.context(["default", RC])


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorate a function that draws a figure: all of it, ticks included, is made in the house look."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with style():
            figure = draw(*args, **kwargs)
            settle(figure)
        return figure

    return drawn


def settle(figure: Figure) -> None:
    """Lay the figure out once and for all: everything keeps its place from here on, at whatever resolution."""
    engine = figure.get_layout_engine()
    if not isinstance(engine, ConstrainedLayoutEngine):
        return  # settled before
    figure.draw_without_rendering()
    for _ in range(6):  # one pass is not enough where axes of a fixed aspect carry a tall legend
        before = [axes.get_position().bounds for axes in figure.axes]
        engine.execute(figure)
        if np.allclose(before, [axes.get_position().bounds for axes in figure.axes], atol=2e-3):
            break
    figure.set_layout_engine("none")


class HouseFigure(Figure):
    """A figure that is drawn in the house look by whoever draws it, such as TensorBoard."""

    def draw(self, renderer: RendererBase) -> None:
        """Draw in the house look: the hinting of text, for one, is looked up only now."""
        with style():
            super().draw(renderer)


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure of the given size in inches, on the Agg canvas; axes lay themselves out."""
    figure = HouseFigure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def legend_below(axes: Axes, columns: int = 1, title: str | None = None) -> None:
    """Put the legend under the x label, where no curve can run beneath it."""
    below_points = 34  # the height of tick labels and x label
    down = ScaledTranslation(0, -below_points / 72, axes.figure.dpi_scale_trans)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=axes.transAxes + down,
        ncols=columns,
        title=title,
        borderaxespad=0.0,
    )


def say(axes: Axes, text: str) -> None:
    """Write in the middle of the axes why nothing is drawn there."""
    axes.text(
        0.5,
        0.5,
        text,
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=GREY,
        style="italic",
        wrap=True,
    )
