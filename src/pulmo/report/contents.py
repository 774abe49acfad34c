"""What a data set holds, drawn: images by class and split, ages, boxes, sizes, copies of a film, mean films."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike, NDArray

from pulmo.report.overlays import shorten
from pulmo.report.style import BLACK, BLUE, COLOURS, GREY, LINE_STYLES, legend_below, new_figure, say, styled

HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "oooo")
PICTURE = 1.35  # inches
GRID = 64  # cells a side of the map of boxes


@dataclass(frozen=True, eq=False)
class Film:
    """A small grey picture (H, W) uint8, and two lines beneath it."""

    image: NDArray[np.uint8]
    name: str
    caption: str


@styled
def class_counts(counts: Mapping[str, Sequence[int]], class_names: Sequence[str]) -> Figure:
    """Images of each class in each split, as bars; `counts` is split → number by class."""
    width = 0.8 / len(class_names)
    figure = new_figure(5.6, 0.8 + 0.3 * len(counts) * max(2, len(class_names)))
    axes = figure.add_subplot(xlabel="Images", ylabel="Split")
    most = max((max(numbers) for numbers in counts.values()), default=0)
    for place, (name, hatch) in enumerate(zip(class_names, cycle(HATCHES), strict=False)):
        at = np.arange(len(counts)) + (place - (len(class_names) - 1) / 2) * width
        numbers = [counts[split][place] for split in counts]
        colour = COLOURS[place % len(COLOURS)]
        bars = axes.barh(
            at, numbers, width * 0.92, label=name, facecolor=(colour, 0.25), edgecolor=(colour, 1.0), hatch=hatch
        )
        axes.bar_label(bars, [f"{number:,}" for number in numbers], padding=3, fontsize=8)
    axes.set_yticks(range(len(counts)), list(counts))
    axes.invert_yaxis()
    axes.set_xlim(0, max(1, most) * 1.13)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    legend_below(axes, columns=_columns(class_names, 3))
    return figure


@styled
def age_histogram(years: ArrayLike, labels: ArrayLike, class_names: Sequence[str]) -> Figure:
    """The share of each class's images by age in bands of five years; NaN ages are left out."""
    ages, of_class = np.asarray(years, float), np.asarray(labels)
    figure = new_figure(5.6, 3.2)
    axes = figure.add_subplot(xlabel="Age in years", ylabel="Share of the class's images")
    known = np.isfinite(ages)
    if not known.any():
        say(axes, "undefined: no image with an age")
        return figure
    edges = np.arange(0, ages[known].max() // 5 * 5 + 6, 5)
    for label, (name, line_style) in enumerate(zip(class_names, cycle(LINE_STYLES), strict=False)):
        chosen = ages[known & (of_class == label)]
        if not chosen.size:
            continue
        counts, _ = np.histogram(chosen, edges)
        colour = COLOURS[label % len(COLOURS)]
        axes.stairs(
            counts / chosen.size,
            edges,
            color=colour,
            linestyle=line_style,
            linewidth=1.5,
            label=f"{name} ({chosen.size:,}, median {np.median(chosen):.0f})",
        )
    axes.set(xlim=(0, edges[-1]), ylim=(0, None))
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    legend_below(axes, columns=_columns(class_names, 2))
    return figure


@styled
def box_map(boxes: ArrayLike) -> Figure:
    """Where boxes lie: of (N, 4) xyxy, as shares of the image's sides, how many cover each place, and their sizes."""
    values = np.asarray(boxes, float).reshape(-1, 4)
    values = values[np.isfinite(values).all(axis=1)]
    figure = new_figure(7.2, 3.4)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    if not len(values):
        for axes in (left, right):
            say(axes, "undefined: no box of known size")
        return figure
    cover = coverage(values)
    white_to_blue = LinearSegmentedColormap.from_list("boxes", ["white", BLUE, "#00253b"])
    shown = left.imshow(cover / len(values), cmap=white_to_blue, extent=(0, 1, 1, 0), vmin=0)
    left.set(xlabel="Part of the width", ylabel="Part of the height", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    left.spines[:].set_visible(True)
    bar = figure.colorbar(shown, ax=left, shrink=0.9, format=PercentFormatter(1, decimals=0, symbol=" %"))
    bar.set_label("Boxes that cover the place")
    area = np.clip((values[:, 2] - values[:, 0]) * (values[:, 3] - values[:, 1]), 1e-5, 1)
    edges = np.geomspace(min(1e-3, area.min()), 1, 31)
    counts, _ = np.histogram(area, edges)
    right.stairs(counts, edges, fill=True, facecolor=(BLUE, 0.18), edgecolor=(BLUE, 1.0), linewidth=1.3)
    middle = float(np.median(area))
    right.axvline(middle, color=BLACK, linestyle="--", linewidth=1.0)
    right.set(
        xscale="log", xlabel="Box's share of the image (log scale)", ylabel="Boxes", ylim=(0, counts.max() * 1.08)
    )
    right.set_title(f"{len(values):,} boxes, median {100 * middle:.1f} %")
    right.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    right.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure


def coverage(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(GRID, GRID) number of boxes, xyxy as shares of the sides, that hold the middle of each cell."""
    middles = (np.arange(GRID) + 0.5) / GRID
    across = (boxes[:, :1] <= middles) & (middles < boxes[:, 2:3])
    down = (boxes[:, 1:2] <= middles) & (middles < boxes[:, 3:4])
    return down.T.astype(np.float64) @ across.astype(np.float64)


@styled
def image_sizes(widths: ArrayLike, heights: ArrayLike) -> Figure:
    """Width against height of (N,) images in pixels, a mark for each size, larger where more images have it.

    The dotted line is that of squares.
    """
    pairs, counts = np.unique(np.stack([np.asarray(widths), np.asarray(heights)], 1), axis=0, return_counts=True)
    figure = new_figure(3.7, 3.5)
    axes = figure.add_subplot(xlabel="Width in pixels", ylabel="Height in pixels", aspect="equal")
    largest = max(1, int(pairs.max())) * 1.08 if len(pairs) else 1
    area = 12 + 240 * counts / max(1, counts.sum())
    axes.plot([0, largest], [0, largest], color=GREY, linewidth=0.8, linestyle=":")
    axes.scatter(pairs[:, 0], pairs[:, 1], s=area, color=(BLUE, 0.3), edgecolor=(BLUE, 0.9), linewidth=0.7)
    axes.set(xlim=(0, largest), ylim=(0, largest))
    axes.set_title(f"{counts.sum():,} images, {len(pairs):,} size{'s' if len(pairs) != 1 else ''}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))
        axis.set_major_formatter("{x:,.0f}")
    return figure


@styled
def same_films(groups: Mapping[str, Sequence[Film]]) -> Figure:
    """Images that show one film side by side, with the name of each of the `groups`, up to two lines, above its own.

    Pairs stand two in a row.
    """
    if not groups:
        figure = new_figure(3.2, 1.0)
        say(figure.add_subplot(xticks=[], yticks=[], frame_on=False), "no film stands there twice")
        return figure
    wide = max(2, *map(len, groups.values()))
    beside = 2 if wide == 2 and len(groups) > 1 else 1
    rows = -(-len(groups) // beside)
    ratio = max(film.image.shape[0] / film.image.shape[1] for films in groups.values() for film in films)
    figure = new_figure(beside * wide * (PICTURE + 0.25), rows * (PICTURE * ratio + 0.72))
    figure.get_layout_engine().set(hspace=0.25)  # type: ignore[union-attr, call-arg]  # room for the names
    places = figure.subplots(rows, beside * wide, squeeze=False).reshape(-1, wide)
    for axes in places.flat:
        axes.set_axis_off()
    for line, (name, films) in zip(places, groups.items(), strict=False):
        line[0].set_title(name, loc="left", fontsize=8).set_in_layout(False)  # it reaches over the next picture
        for axes, film in zip(line, films, strict=False):
            axes.set_axis_on()
            _show(axes, film)
            height, width = film.image.shape  # as much room for each, so that rows stay in line
            room = max(width, height / ratio)
            axes.set(xlim=((width - room) / 2, (width + room) / 2), ylim=(height, height - room * ratio))
    return figure


@styled
def mean_films(films: Sequence[Film], difference: NDArray[np.float64] | None = None) -> Figure:
    """The mean picture of each class; with two classes also the second less the first, in grey levels."""
    number = len(films) + (difference is not None)
    figure = new_figure(number * 1.95 + 0.4, 2.55)
    axes = figure.subplots(1, number, squeeze=False)[0]
    for place, film in zip(axes, films, strict=False):
        _show(place, film)
    if difference is not None:
        most = max(1.0, float(np.abs(difference).max()))
        shown = axes[-1].imshow(difference, cmap="PuOr_r", vmin=-most, vmax=most)
        axes[-1].set(xticks=[], yticks=[])
        axes[-1].set_xlabel(f"{films[1].name} −\n{films[0].name}", fontsize=8)
        figure.colorbar(shown, ax=axes[-1], shrink=0.8).set_label("Grey levels")
    return figure


def _columns(class_names: Sequence[str], most: int) -> int:
    """Of a legend that is no wider than its axes: up to `most`, fewer where names are long."""
    return max(1, min(most, len(class_names), 72 // (14 + max(map(len, class_names)))))


def _show(axes: Axes, film: Film) -> None:
    axes.imshow(film.image, cmap="gray", vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_xlabel(f"{shorten(film.name, 0.9 * PICTURE * 72, 7)}\n{film.caption}", fontsize=7)
