"""Whether scores are probabilities: shares of positives by score."""

from collections.abc import Sequence
from typing import Protocol

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from pulmo.metrics.bootstrap import Interval
from pulmo.report.style import BLUE, GREY, VERMILLION, legend_below, new_figure, say, styled

SIDE = 4.2  # inches


class Bin(Protocol):
    """Images of like score."""

    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def images(self) -> int: ...
    @property
    def mean_score(self) -> float: ...
    @property
    def share_positive(self) -> Interval: ...


@styled
def reliability(bins: Sequence[Bin], scaled: Sequence[Bin] = (), title: str = "") -> Figure:
    """Share of positives against mean score, with 95 % intervals; below, how many images each score has.

    `scaled` are the bins after temperature scaling. On the diagonal a score is a probability; below it, too sure.
    """
    figure = new_figure(SIDE, SIDE + 1.35)
    if not bins:
        say(figure.add_subplot(title=title), "undefined: no labelled image")
        return figure
    above, below = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    above.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.0, label="scores are probabilities")
    _draw(above, scaled, VERMILLION, "--", "s", "after temperature scaling")
    _draw(above, bins, BLUE, "-", "o", "as the run scores")
    above.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="Share of positives", title=title)
    above.yaxis.set_major_locator(MultipleLocator(0.2))
    below.xaxis.set_major_locator(MultipleLocator(0.2))
    widths = [part.high - part.low for part in bins]
    below.bar([part.low for part in bins], [part.images for part in bins], widths, align="edge", color=BLUE, alpha=0.75)
    below.set(xlabel="Score", ylabel="Images")
    legend_below(below)
    return figure


def _draw(axes: Axes, bins: Sequence[Bin], colour: str, line: str, marker: str, label: str) -> None:
    if not bins:
        return
    scores = [part.mean_score for part in bins]
    axes.plot(
        scores, [part.share_positive.value for part in bins], color=colour, linestyle=line, marker=marker, label=label
    )
    for part in bins:
        axes.plot([part.mean_score] * 2, part.share_positive[1:], color=colour, linestyle="-", linewidth=0.9, alpha=0.7)
