"""Reliability diagram: of the images with a score of 0.8, how many are positive?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator
from numpy.typing import ArrayLike, NDArray

from pulmo.report.style import BLUE, GREY, VERMILLION, legend_below, new_figure, say, styled
from pulmo.sheets.calibration import Bin

SIDE = 4.2  # inches
FEWEST = 5  # images of a bin that the line goes through, and whose interval is drawn

Values = NDArray[np.float64]
LOOKS = ((BLUE, "-", "o"), (VERMILLION, "--", "s"))


@dataclass(frozen=True)
class Reliability:
    """K bins: mean score, share that is positive with the ends of its interval, images; all (K,)."""

    mean: ArrayLike
    share: ArrayLike
    low: ArrayLike
    high: ArrayLike
    images: ArrayLike

    @classmethod
    def of(cls, bins: Sequence[Bin]) -> "Reliability":
        """The curve of these bins."""
        shares = [part.share_positive for part in bins]
        return cls(
            mean=[part.mean_score for part in bins],
            share=[share.value for share in shares],
            low=[share.low for share in shares],
            high=[share.high for share in shares],
            images=[part.images for part in bins],
        )

    def arrays(self) -> tuple[Values, Values, Values, Values, Values]:
        """All five; raises ValueError where they differ in length."""
        columns = (self.mean, self.share, self.low, self.high, self.images)
        mean, share, low, high, images = (np.asarray(column, np.float64) for column in columns)
        if len({column.shape for column in (mean, share, low, high, images)}) != 1:
            raise ValueError("the columns of a reliability curve differ in length")
        return mean, share, low, high, images


@styled
def reliability_diagram(
    curves: Mapping[str, Reliability], title: str = "", x: str = "Mean score", y: str = "Share of positive images"
) -> Figure:
    """Share of positives against the mean score of each bin, with intervals, and below how the scores are spread.

    `curves` is name → bins, one or two, such as before and after temperature scaling. The area of a marker grows with
    its bin's images; a bin of fewer than 5 is pale, and neither line nor interval is drawn of it. The lower axes count
    the images of the first.
    """
    figure = new_figure(SIDE, SIDE + 1.6)
    grid = figure.add_gridspec(2, 1, height_ratios=(4, 1))
    axes = figure.add_subplot(grid[0], xlim=(0, 1), ylim=(0, 1), ylabel=y, title=title)
    below = figure.add_subplot(grid[1], sharex=axes, xlabel=x, ylabel="Images")
    axes.tick_params(labelbottom=False)
    for each in (axes.xaxis, axes.yaxis):
        each.set_major_locator(MultipleLocator(0.2))
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.0)
    if not any(np.size(curve.mean) for curve in curves.values()):
        say(axes, "undefined: no labelled image in this split")
        return figure
    for (name, curve), look in zip(curves.items(), LOOKS, strict=False):
        _draw(axes, name, curve, look)
    mean, _, _, _, images = next(iter(curves.values())).arrays()
    below.vlines(mean, 0, images, color=BLUE, linewidth=5)
    below.set_ylim(0, images.max() * 1.08)
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    figure.set_size_inches(SIDE, SIDE + 1.35 + 0.185 * (len(curves) + 1))
    for (name, _), (colour, line_style, marker) in zip(curves.items(), LOOKS, strict=False):
        below.plot([], [], color=colour, linestyle=line_style, linewidth=1.2, marker=marker, label=name)
    below.plot([], [], color=GREY, linestyle=":", linewidth=1.0, label="perfectly calibrated")
    legend_below(below)  # under both
    return figure


def _draw(axes: Axes, name: str, curve: Reliability, look: tuple[str, str, str]) -> None:
    colour, line_style, marker = look
    mean, share, low, high, images = curve.arrays()
    shown = images >= FEWEST
    axes.vlines(mean[shown], low[shown], high[shown], color=colour, linewidth=1.0, alpha=0.7)
    sizes = 12 + 60 * images / images.max()
    for part, fill, edge in ((shown, 0.55, 1.0), (~shown, 0.1, 0.55)):
        looks = {"color": (colour, fill), "edgecolor": (colour, edge), "zorder": 3}
        axes.scatter(mean[part], share[part], sizes[part], marker=marker, clip_on=False, **looks)  # type: ignore[arg-type]
    axes.plot(mean[shown], share[shown], color=colour, linestyle=line_style, linewidth=1.2)
