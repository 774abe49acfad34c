"""Forest plot: a figure of many subgroups with its intervals, one below the other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pulmo.report.style import BLACK, BLUE, GREY, new_figure, styled

WIDTH, ROW, ABOVE, BELOW = 7.2, 0.24, 0.6, 0.55  # inches
NAMES, INDENT, IMAGES, AXES = 0.1, 0.12, 2.75, (2.95, 5.3)
"""Inches from the left: where names begin and how far those of subgroups are moved in, counts end, axes lie."""

LONGEST = 32  # characters of a name


@dataclass(frozen=True)
class Row:
    """A subgroup: what it is of, its name, how many images; the figure and the ends of its interval.

    A NaN `value` is not drawn: `note` says why. A NaN `low` leaves the point alone.
    """

    by: str
    name: str
    images: str
    value: float
    low: float
    high: float
    note: str = ""


@styled
def forest_plot(rows: Sequence[Row], whole: Row, figure_name: str, title: str = "") -> Figure:
    """The `whole` first and as a line down the plot, then each subgroup with its name, its images, figure and interval.

    The axis covers what is drawn, within [0, 1]. Raises ValueError without a row.
    """
    if not rows:
        raise ValueError("no subgroup to draw")
    lines: list[Row | str] = [whole]
    for row in rows:
        if row.by not in [line for line in lines if isinstance(line, str)]:
            lines.append(row.by)
        lines.append(row)
    height = ABOVE + ROW * len(lines) + BELOW
    figure = new_figure(WIDTH, height)
    figure.set_layout_engine("none")  # words stand left and right of the axes, which are to keep their room
    left, right = AXES
    bounds = (left / WIDTH, BELOW / height, (right - left) / WIDTH, ROW * len(lines) / height)
    axes = figure.add_axes(bounds, xlabel=f"{figure_name} (95 % interval)")
    axes.set(xlim=(_left(rows, whole), 1), ylim=(len(lines) - 0.5, -0.5), yticks=[])
    axes.spines["left"].set_visible(False)
    figure.text(NAMES / WIDTH, 1 - 0.18 / height, title, size="large", va="center")
    axes.text(_share(IMAGES), -1, "images", transform=axes.get_yaxis_transform(), ha="right", va="center", color=GREY)
    if not math.isnan(whole.value):
        axes.axvline(whole.value, color=GREY, linestyle=":", linewidth=1.0, zorder=0)
    for place, line in enumerate(lines):
        if isinstance(line, str):
            _write(axes, NAMES, place, line, weight="bold")
        else:
            _draw(axes, place, line, BLACK if line is whole else BLUE)
    return figure


def _left(rows: Sequence[Row], whole: Row) -> float:
    ends = [end for row in (*rows, whole) for end in (row.value, row.low) if not math.isnan(end)]
    return max(0.0, math.floor(10 * min(ends, default=0.0) - 0.5) / 10)


def _draw(axes: Axes, place: int, row: Row, colour: str) -> None:
    name = row.name if len(row.name) <= LONGEST else f"{row.name[: LONGEST - 1]}…"
    _write(axes, NAMES + (INDENT if row.by else 0), place, name)
    axes.text(_share(IMAGES), place, row.images, transform=axes.get_yaxis_transform(), ha="right", va="center")
    if math.isnan(row.value):
        _write(axes, AXES[1] + 0.1, place, row.note, style="italic", color=GREY)
        return
    if not math.isnan(row.low):
        axes.plot([row.low, row.high], [place, place], color=colour, linewidth=1.4, solid_capstyle="butt")
    axes.plot(row.value, place, "s", color=colour, markersize=5, clip_on=False)
    interval = "" if math.isnan(row.low) else f" ({row.low:.3f}–{row.high:.3f})"
    _write(axes, AXES[1] + 0.1, place, f"{row.value:.3f}{interval}")


def _write(axes: Axes, inches: float, place: int, text: str, **looks: str) -> None:
    """Text in the line at `place`, from so many inches off the figure's left edge on."""
    axes.text(_share(inches), place, text, transform=axes.get_yaxis_transform(), ha="left", va="center", **looks)  # type: ignore[arg-type]


def _share(inches: float) -> float:
    """Inches from the figure's left edge in widths of the axes."""
    return (inches - AXES[0]) / (AXES[1] - AXES[0])
