"""Radiographs with the truth and the prediction outlined on them: masks, boxes or both."""

import textwrap
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from pulmo.report.annotation import text_size
from pulmo.report.style import BLACK, BLUE, VERMILLION, new_figure, say, settle, styled

COLUMNS, ROWS = 4, 3
PANEL = 2.25  # inches, the longer side of a picture: 337 pixels at 150 dpi
TEXT_LINE, ROW_NAME, GAP, LEGEND, TITLE = 0.16, 0.2, 0.12, 0.35, 0.3  # inches
NARROWEST = 3.2  # inches, what the legend needs
TEXT_POINTS, SCORE_POINTS = 8.0, 6.5

LOOKS: dict[str, tuple[str, Any]] = {"truth": (BLUE, "-"), "prediction": (VERMILLION, (0, (3.0, 1.5)))}
LINE_POINTS, HALO_POINTS = 1.3, 2.7
"""The halo is white: both colours are dark enough to show on bright bone, and too dark to show on air."""

Boxes = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Case:
    """One image with what is true of it and what was predicted; raises ValueError where these do not fit.

    What is None is not drawn. The pixel in column i reaches from x = i to i + 1, and boxes count so.
    """

    image: NDArray[np.uint8]  # (H, W)
    title: str  # such as the image's id
    caption: str = ""  # such as "Dice 0.93"
    group: str = ""  # such as "best": the row it stands in
    true_mask: NDArray[np.uint8] | None = None  # (H, W) {0, 1}
    predicted_mask: NDArray[np.uint8] | None = None  # (H, W) {0, 1}
    true_boxes: Boxes | None = None  # (N, 4) xyxy, pixels of `image`
    predicted_boxes: Boxes | None = None  # (N, 4) xyxy, pixels of `image`
    scores: NDArray[np.floating[Any]] | None = None  # (N,), of the predicted boxes

    def __post_init__(self) -> None:
        if self.image.ndim != 2 or self.image.size == 0:
            raise ValueError(f"{self.title}: image of shape {self.image.shape}; expected (H, W)")
        for mask in (self.true_mask, self.predicted_mask):
            if mask is not None and mask.shape != self.image.shape:
                raise ValueError(f"{self.title}: mask of shape {mask.shape} on an image of shape {self.image.shape}")
        for boxes in (self.true_boxes, self.predicted_boxes):
            if boxes is not None and boxes.shape[1:] != (4,):
                raise ValueError(f"{self.title}: boxes of shape {boxes.shape}; expected (N, 4)")
        predicted = 0 if self.predicted_boxes is None else len(self.predicted_boxes)
        if self.scores is not None and self.scores.shape != (predicted,):
            raise ValueError(f"{self.title}: scores of shape {self.scores.shape} for {predicted} predicted boxes")

    @property
    def known(self) -> dict[str, tuple[NDArray[np.uint8] | None, Boxes | None]]:
        """Mask and boxes under each name of `LOOKS` of which there is at least one, be it empty."""
        both = {
            "truth": (self.true_mask, self.true_boxes),
            "prediction": (self.predicted_mask, self.predicted_boxes),
        }
        return {name: (mask, boxes) for name, (mask, boxes) in both.items() if mask is not None or boxes is not None}


@styled
def overlays(cases: Sequence[Case], title: str = "") -> Figure:
    """The cases' images in grey, the truth in solid blue, the prediction in dashed vermillion with its scores.

    Each group is a row, named at its left, in the order in which groups first appear. A title too long for its
    picture loses its middle. Raises ValueError on more than 3 groups, and on more than 4 cases in one.
    """
    rows: dict[str, list[Case]] = {}
    for case in cases:
        rows.setdefault(case.group, []).append(case)
    columns = max(map(len, rows.values()), default=1)
    if len(rows) > ROWS or columns > COLUMNS:
        raise ValueError(f"{len(rows)} groups of up to {columns} cases; expected up to {ROWS} of {COLUMNS}")
    if not cases:
        figure = new_figure(NARROWEST, 1.0)
        say(figure.add_subplot(title=title, xticks=[], yticks=[], frame_on=False), "no image to show")
        return figure
    room = _room(cases)
    lines = 1 + max(len(wrap(case.caption, room[0])) for case in cases)
    figure = new_figure(
        max(NARROWEST, columns * (room[0] + GAP) + ROW_NAME),
        len(rows) * (room[1] + lines * TEXT_LINE + GAP) + LEGEND + (TITLE if title else 0),
    )
    if title:
        figure.suptitle(title)
    drawn = []
    for line, (group, members) in zip(figure.subplots(len(rows), columns, squeeze=False), rows.items(), strict=True):
        named = shorten(group, 0.85 * room[1] * 72, TEXT_POINTS + 1)  # bold is wider than what is measured
        line[0].set_ylabel(named, fontsize=TEXT_POINTS + 1, weight="bold")
        for axes in line[len(members) :]:
            axes.set_axis_off()
        for axes, case in zip(line, members, strict=False):
            _show(axes, case, room)
            drawn.append((axes, case))
    _add_legend(figure, cases)
    settle(figure)  # where a score has room is measured in the picture's final size
    for axes, case in drawn:
        _write_scores(axes, case)
    return figure


def shorten(text: str, width_points: float, font_points: float) -> str:
    """The text, or as much of its two ends as fits, with "…" between: ids often differ at the end alone."""
    if len(text) < 4 or text_size(text, font_points)[0] <= width_points:
        return text

    def ends(kept: int) -> str:
        return f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"

    fitting = bisect_right(range(3, len(text)), width_points, key=lambda kept: text_size(ends(kept), font_points)[0])
    return ends(2 + fitting)


def _room(cases: Sequence[Case]) -> tuple[float, float]:
    """Width and height in inches that hold each of the pictures, whose longer side is `PANEL`."""
    heights, widths = zip(*(PANEL * np.array(case.image.shape) / max(case.image.shape) for case in cases), strict=True)
    return max(widths), max(heights)


def wrap(caption: str, width: float) -> list[str]:
    """Lines of the caption that fit into so many inches."""
    characters = int(width * 72 / (0.6 * TEXT_POINTS))
    return [part for line in caption.splitlines() for part in textwrap.wrap(line, characters)]


def _show(axes: Axes, case: Case, room: tuple[float, float]) -> None:
    axes.set_title(shorten(case.title, room[0] * 72, TEXT_POINTS), fontsize=TEXT_POINTS, pad=3)
    axes.set_xlabel("\n".join(wrap(case.caption, room[0])), fontsize=TEXT_POINTS, labelpad=3)
    height, width = case.image.shape
    axes.set(xticks=[], yticks=[], anchor="N")
    axes.spines[:].set_visible(False)
    # Smoothed only where pixels of the file are left out, lest ribs turn into moiré.
    enlarged = max(height, width) <= PANEL * axes.figure.figure.dpi
    axes.imshow(
        case.image,
        cmap="gray",
        vmin=0,
        vmax=255,
        extent=(0, width, height, 0),
        interpolation="nearest" if enlarged else "antialiased",
    )
    for name, (mask, boxes) in case.known.items():
        colour, line_style = LOOKS[name]
        # All halos lie below all lines: where both outlines run together, blue fills the gaps of the dashes.
        outline(axes, mask, boxes, "white", "-", HALO_POINTS, 2.0)
        outline(axes, mask, boxes, colour, line_style, LINE_POINTS, 2.1 if name == "truth" else 2.2)
    axes.set(xlim=(0, width), ylim=(height, 0))


def outline(
    axes: Axes,
    mask: NDArray[np.uint8] | None,
    boxes: Boxes | None,
    colour: str,
    line_style: Any,
    width_points: float,
    zorder: float,
) -> None:
    """Draw along the edges of the pixels; at the picture's border the line stands half outside, whole."""
    height, width = axes.images[0].get_size()
    if mask is not None and mask.any():
        framed = np.pad(mask > 0, 1).astype(np.float32)  # an outline that meets the border must close along it
        axes.contour(
            np.arange(width + 2) - 0.5,  # the centres of pixels
            np.arange(height + 2) - 0.5,
            framed,
            levels=[0.5],
            colors=[colour],
            linestyles=[line_style],
            linewidths=[width_points],
            zorder=zorder,
        ).set_clip_on(False)
    for x1, y1, x2, y2 in [] if boxes is None else np.clip(boxes, 0, (width, height, width, height)):
        axes.add_patch(
            Rectangle(
                (x1, y1),
                x2 - x1,
                y2 - y1,
                fill=False,
                edgecolor=colour,
                linestyle=line_style,
                linewidth=width_points,
                zorder=zorder,
                clip_on=False,
            )
        )


def _add_legend(figure: Figure, cases: Sequence[Case]) -> None:
    names = [name for name in LOOKS if any(name in case.known for case in cases)]
    if not names:
        return
    scored = any(case.scores is not None for case in cases)
    handles = [
        Line2D(
            [],
            [],
            color=LOOKS[name][0],
            linestyle=LOOKS[name][1],
            label=name + (" with its score" if scored and name == "prediction" else ""),
        )
        for name in names
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def _write_scores(axes: Axes, case: Case) -> None:
    """Write each predicted box's score at one of its corners, inside the picture, clear of other scores."""
    if case.scores is None or case.predicted_boxes is None:
        return
    height, width = case.image.shape
    scale = width / axes.bbox.width * axes.figure.figure.dpi / 72  # pixels of the image per point
    taken: list[Bbox] = []
    for k in np.argsort(-case.scores, kind="stable"):
        text = f"{case.scores[k]:.2f}"
        size = (text_size(text, SCORE_POINTS)[0] + 3) * scale, 1.45 * SCORE_POINTS * scale
        places = _places(case.predicted_boxes[k], size, (width, height))
        room = min(places, key=lambda place: sum(_overlap(place, other) for other in taken))
        taken.append(room)
        axes.text(
            (room.x0 + room.x1) / 2,
            (room.y0 + room.y1) / 2,
            text,
            ha="center",
            va="center",
            fontsize=SCORE_POINTS,
            color=BLACK,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": ("white", 0.85), "edgecolor": "none"},
            zorder=3,
        )


def _places(box: NDArray[Any], size: tuple[float, float], picture: tuple[float, float]) -> Iterator[Bbox]:
    """Room of the given size at the box's corners, outside before inside, pushed into the picture."""
    x1, y1, x2, y2 = box
    width, height = size
    corners = ((x1, y1 - height), (x2 - width, y1 - height), (x1, y2), (x2 - width, y2), (x1, y1), (x2 - width, y1))
    for x, y in corners:
        left = max(0.0, min(x, picture[0] - width))
        top = max(0.0, min(y, picture[1] - height))
        yield Bbox.from_bounds(left, top, width, height)


def _overlap(a: Bbox, b: Bbox) -> float:
    shared = Bbox.intersection(a, b)
    return 0.0 if shared is None else float(shared.width * shared.height)
