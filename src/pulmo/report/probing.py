"""What a network still makes of images of which a part was taken away, and where its heat lies beside chance."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pulmo.metrics.bootstrap import Interval
from pulmo.report.style import BLACK, BLUE, GREY, VERMILLION, legend_below, new_figure, styled


@styled
def occluded_aurocs(names: Sequence[str], aurocs: Sequence[Interval], blind: Sequence[bool]) -> Figure:
    """AUROC and 95 % interval of each row, from above; those without lungs in another colour and mark."""
    figure = new_figure(5.6, 1.1 + 0.3 * len(names))
    axes = figure.add_subplot(xlabel="AUROC, 95 % interval by patient", xlim=(0, 1))
    places = np.arange(len(names))[::-1]
    axes.axvline(0.5, color=GREY, linestyle="--", linewidth=1)
    above: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "top"}
    axes.annotate("chance", (0.5, 1), (3, -2), fontsize=8, color=GREY, **above)
    looks = ((False, BLUE, "o", "the rest"), (True, VERMILLION, "s", "lungs taken away"))
    for lungs_hidden, colour, marker, label in looks:
        chosen = [k for k, hidden in enumerate(blind) if hidden == lungs_hidden and np.isfinite(aurocs[k].value)]
        if not chosen:
            continue
        values = np.array([aurocs[k] for k in chosen], float)
        reach = np.nan_to_num(np.abs(values[:, 1:] - values[:, :1]).T)
        axes.errorbar(values[:, 0], places[chosen], xerr=reach, fmt=marker, color=colour, capsize=3, label=label)
    axes.set_yticks(places, list(names))
    axes.set_ylim(-0.6, len(names) - 0.3)
    legend_below(axes, columns=2)
    return figure


@styled
def occlusion_examples(examples: Mapping[str, Sequence[NDArray[np.uint8]]], labels: Sequence[str]) -> Figure:
    """A row an image, a column an occlusion: what the network was shown."""
    rows = max(1, max(map(len, examples.values()), default=0))
    figure = new_figure(1.25 * max(1, len(examples)) + 0.3, 1.25 * rows + 0.4)
    grid = figure.subplots(rows, max(1, len(examples)), squeeze=False)
    for column, (name, images) in enumerate(examples.items()):
        for row, image in enumerate(images):
            axes = grid[row, column]
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if row == 0:
                axes.set_title(name, fontsize=8)
            if column == 0:
                axes.set_ylabel(labels[row], fontsize=8)
    return figure


@styled
def heat_beside_chance(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Of each region and group, the heat's share inside beside the area's, and the maximum's hits beside chance.

    `rows` have `region`, `group`, `images`, and `heat`, `area`, `points` and `chance` as `Interval`.
    """
    figure = new_figure(7.2, 1.3 + 0.32 * len(rows))
    names = [f"{row['region']}, {row['group']} ({row['images']})" for row in rows]
    places = np.arange(len(rows))[::-1]
    left, right = figure.subplots(1, 2, sharey=True)
    pairs = (
        (left, "share of the heat inside", "heat", "area", "share of the area"),
        (right, "maximum inside (pointing game)", "points", "chance", "a random place"),
    )
    for axes, label, found, chance, chance_label in pairs:
        values = np.array([row[found] for row in rows], float)
        reach = np.nan_to_num(np.abs(values[:, 1:] - values[:, :1]).T)
        axes.plot([row[chance].value for row in rows], places, "|", color=BLACK, markersize=11, label=chance_label)
        axes.errorbar(values[:, 0], places, xerr=reach, fmt="o", color=BLUE, capsize=3, label="heat map, 95 % interval")
        axes.set(xlim=(0, 1), xlabel=label)
        legend_below(axes)
    left.set_yticks(places, names)
    left.set_ylim(-0.6, len(rows) - 0.4)
    return figure
