"""Words beside marks, placed so that they cover neither a curve nor each other."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from pulmo.report.style import BLACK, GREY, settle

Points = NDArray[np.float64]

FONT_POINTS = 8.0
ANGLES_DEGREES = (-35, -60, -10, 35, 60, 10, 145, 170, 120, -145, -170, -120, -90, 90)
REACHES_POINTS = (12, 20, 30, 42, 56, 72)
ROW_POINTS = 11.0


@dataclass(frozen=True)
class Label:
    """A text that belongs to the point (x, y) of the axes' data."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Flag:
    """A vertical line at x of the axes' data, with a text at its top end."""

    x: float
    text: str
    line_style: str
    colour: str = BLACK


def text_size(text: str, font_points: float = FONT_POINTS) -> tuple[float, float]:
    """Width and height in points of one line of text in the labels' font."""
    box = TextPath((0, 0), text, size=font_points, prop=FontProperties(family="DejaVu Sans")).get_extents()
    return float(box.width), font_points


def place_labels(axes: Axes, labels: Sequence[Label]) -> None:
    """Write each label near its point, joined to it by a thin line, clear of the lines drawn in the axes.

    Of a fan of places round the point the one is taken that hides the fewest marks; labels already placed and
    the frame of the axes are out of bounds wherever any place is left. Call it last: it measures the axes.
    """
    if not labels:
        return
    figure = axes.figure.figure
    settle(figure)
    points_per_pixel = 72.0 / figure.dpi
    frame = axes.bbox.width * points_per_pixel, axes.bbox.height * points_per_pixel
    anchors = np.array([axes.transData.transform((label.x, label.y)) for label in labels])
    anchors = (anchors - axes.bbox.p0) * points_per_pixel
    marks = np.concatenate([_ink(axes) * points_per_pixel, np.repeat(anchors, 8, axis=0)])
    taken: list[Bbox] = []
    for label, anchor in zip(labels, anchors, strict=True):
        offset, box = _best_place(text_size(label.text), anchor, marks, taken, frame)
        taken.append(box)
        marks = np.concatenate([marks, _leader(anchor, offset)])
        axes.annotate(
            label.text,
            (label.x, label.y),
            offset,
            textcoords="offset points",
            ha="left" if offset[0] > 0 else "right",
            va="center",
            fontsize=FONT_POINTS,
            color=BLACK,
            arrowprops={
                "arrowstyle": "-",
                "color": GREY,
                "lw": 0.6,
                "shrinkA": 1,
                "shrinkB": 4,
                "relpos": (0 if offset[0] > 0 else 1, 0.5),
            },
            annotation_clip=False,
        ).set_in_layout(False)


def _ink(axes: Axes) -> Points:
    """(M, 2) pixels from the corner of the axes, closely spaced along every line that is drawn in them."""
    traces = [np.empty((0, 2))]
    for line in axes.lines:
        path = np.asarray(line.get_transform().transform(line.get_path().vertices))
        if len(path) < 2:
            continue
        length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
        at = np.linspace(0, length[-1], 800)
        traces.append(np.column_stack([np.interp(at, length, path[:, 0]), np.interp(at, length, path[:, 1])]))
    ink: Points = np.concatenate(traces) - axes.bbox.p0
    return ink


def _leader(anchor: Points, offset: tuple[float, float]) -> Points:
    leader: Points = anchor + np.linspace(0.3, 1, 8)[:, None] * np.array(offset)
    return leader


def _places(size: tuple[float, float], anchor: Points) -> Iterator[tuple[tuple[float, float], Bbox]]:
    width, height = size
    for reach, angle in product(REACHES_POINTS, np.radians(ANGLES_DEGREES)):
        dx, dy = reach * float(np.cos(angle)), reach * float(np.sin(angle))
        left = anchor[0] + dx - (0 if dx > 0 else width)
        yield (dx, dy), Bbox.from_bounds(left, anchor[1] + dy - height / 2, width, height)


def _best_place(
    size: tuple[float, float],
    anchor: Points,
    marks: Points,
    taken: Sequence[Bbox],
    frame: tuple[float, float],
) -> tuple[tuple[float, float], Bbox]:
    def cost(place: tuple[tuple[float, float], Bbox]) -> float:
        offset, box = place
        padded = box.padded(3)
        hidden = int(np.count_nonzero(np.all((marks > padded.p0) & (marks < padded.p1), axis=1)))
        leader = _leader(anchor, offset)
        clashes = sum(padded.overlaps(other) for other in taken)
        clashes += sum(bool(np.any(np.all((leader > o.p0) & (leader < o.p1), axis=1))) for o in taken)
        outside = box.x0 < 2 or box.y0 < 2 or box.x1 > frame[0] - 2 or box.y1 > frame[1] - 2
        return float(hidden + 1e3 * (clashes + outside) + 0.02 * math.hypot(*offset))

    return min(_places(size, anchor), key=cost)


def flag_lines(axes: Axes, flags: Sequence[Flag], width_points: float) -> None:
    """Draw a vertical line at each flag, its text above the axes, in as many rows as the texts need.

    A text stands to the right of its line's top end, a row higher where it would touch the next one.
    `width_points` is the expected width of the axes, from which it is told what touches.
    """
    low, high = axes.get_xlim()
    rows: list[float] = []  # where the leftmost text of each row begins, in points
    for flag in sorted(flags, key=lambda flag: -flag.x):
        x = (flag.x - low) / (high - low) * width_points
        end = x + text_size(flag.text)[0] + 8
        # Higher rows count too: the lines of their flags rise through this one.
        row = next(r for r in range(len(rows) + 1) if all(end < left for left in rows[r:]))
        rows[row : row + 1] = [x]
        _raise_flag(axes, flag, ROW_POINTS * row + 2)


def _raise_flag(axes: Axes, flag: Flag, foot_points: float) -> None:
    axes.axvline(flag.x, color=flag.colour, linestyle=flag.line_style, linewidth=1.0, zorder=1.5)
    staff = {"arrowstyle": "-", "color": flag.colour, "ls": flag.line_style, "lw": 1.0, "shrinkA": 0, "shrinkB": 0}
    for text, offset, arrow in (
        (flag.text, (3.0, foot_points), None),
        ("", (0.0, foot_points + FONT_POINTS), staff),
    ):
        axes.annotate(
            text,
            (flag.x, 1.0),
            offset,
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=FONT_POINTS,
            arrowprops=arrow,
        )
