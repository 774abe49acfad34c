"""How the scores of both classes lie about the thresholds."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import ArrayLike

from pulmo.report.annotation import Flag, flag_lines
from pulmo.report.operating_points import check_scores, threshold_labels
from pulmo.report.style import BLUE, LINE_STYLES, VERMILLION, legend_below, new_figure, say, styled

BINS = 40
FLOOR = 0.7  # where the logarithmic axis begins: below one image, so that one image shows


@styled
def score_histogram(
    scores: ArrayLike,
    labels: ArrayLike,
    thresholds: Mapping[str, float] | None = None,
    class_names: Sequence[str] = ("negative", "positive"),
    title: str = "",
) -> Figure:
    """Images of either class by score, with a vertical line at each threshold.

    `scores` (N,) are probabilities of the positive class, `labels` (N,) are 0 or 1, `thresholds` is name →
    value. The count axis is logarithmic: trained networks heap most scores at 0 and 1, and the errors lie
    between. Raises ValueError on NaN scores and where there are not two class names.
    """
    s, y = check_scores(scores, labels)
    if len(class_names) != 2:
        raise ValueError(f"{len(class_names)} class names; expected 2")
    figure = new_figure(5.6, 3.6)
    axes = figure.add_subplot(xlabel="Score (probability of the positive class)", ylabel="Images (log scale)")
    if y.size == 0:
        say(axes, "undefined: no labelled image in this split")
        axes.set(xlim=(0, 1), yticks=[], title=title)
        return figure
    edges = np.linspace(min(0.0, float(s.min())), max(1.0, float(s.max())), BINS + 1)
    fullest = 1
    looks = ((BLUE, "-", ""), (VERMILLION, "--", "////"))
    for k, (colour, line_style, hatch) in enumerate(looks):
        counts, _ = np.histogram(s[y == k], edges)
        fullest = max(fullest, int(counts.max()))
        axes.stairs(
            np.maximum(counts, FLOOR),
            edges,
            baseline=FLOOR,
            fill=True,
            facecolor=(colour, 0.18),
            edgecolor=(colour, 1.0),
            linestyle=line_style,
            linewidth=1.3,
            hatch=hatch,
            label=f"{class_names[k]} ({counts.sum():,})",
        )
    axes.set(yscale="log", xlim=(edges[0], edges[-1]), ylim=(FLOOR, fullest * 1.6))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if fullest < 50 else (1,)))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    labelled = threshold_labels(thresholds or {}).items()
    flags = [Flag(x, text, line_style) for (text, x), line_style in zip(labelled, cycle(LINE_STYLES), strict=False)]
    flag_lines(axes, flags, width_points=340)
    legend_below(axes, columns=2)
    if title:
        figure.suptitle(title)  # not the axes' title: the flags stand there
    return figure
