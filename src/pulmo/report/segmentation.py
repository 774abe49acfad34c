"""How well masks agree with the truth: by image, by the size of what is to be found, by cut-off."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, MultipleLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

from pulmo.report.annotation import Flag, flag_lines
from pulmo.report.operating_points import threshold_label
from pulmo.report.style import BLACK, BLUE, COLOURS, GREY, LINE_STYLES, legend_below, new_figure, say, styled

Values = NDArray[np.float64]
Curve = tuple[ArrayLike, ArrayLike]

BINS = 25
FEWEST = 5  # images of which a median is drawn


@styled
def dice_histogram(dice: ArrayLike, title: str = "") -> Figure:
    """Images by their Dice coefficient, with vertical lines at the median and the quartiles.

    `dice` (N,) is NaN where it is undefined, as where truth and prediction are both empty; these images are
    left out, and the legend says how many. Raises ValueError where a value lies outside [0, 1].
    """
    all_values = _shares(dice, "Dice coefficients")
    values = all_values[~np.isnan(all_values)]
    figure = new_figure(5.6, 3.6)
    axes = figure.add_subplot(xlabel="Dice coefficient of an image", ylabel="Images", xlim=(0, 1))
    if title:
        figure.suptitle(title)  # not the axes' title: the flags stand there
    if not values.size:
        say(axes, "undefined: no image with a Dice coefficient in this split")
        axes.set(yticks=[])
        return figure
    counts, edges = np.histogram(values, np.linspace(0, 1, BINS + 1))
    axes.stairs(
        counts,
        edges,
        fill=True,
        facecolor=(BLUE, 0.18),
        edgecolor=(BLUE, 1.0),
        linewidth=1.3,
        label=_counted(values.size, all_values.size - values.size, "without a Dice coefficient"),
    )
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.set_ylim(0, counts.max() * 1.06)
    lower, median, upper = np.quantile(values, (0.25, 0.5, 0.75))
    flags = [
        Flag(float(lower), threshold_label("lower quartile", lower), ":"),
        Flag(float(median), threshold_label("median", median), "-"),
        Flag(float(upper), threshold_label("upper quartile", upper), "--"),
    ]
    flag_lines(axes, flags, width_points=340)
    legend_below(axes)
    return figure


@styled
def dice_by_area(dice: ArrayLike, true_area: ArrayLike, title: str = "") -> Figure:
    """Each image's Dice coefficient against the share of the image that its true mask covers.

    `dice` and `true_area` are (N,), shares in [0, 1]. The area's axis is logarithmic: small opacities are what
    fails. Medians are drawn over the images of each doubling of the area. An image without a Dice coefficient
    or with an empty true mask has no place here; the legend says how many. Raises ValueError where the two
    differ in length or a value lies outside [0, 1].
    """
    d, area = _shares(dice, "Dice coefficients"), _shares(true_area, "areas")
    if d.shape != area.shape:
        raise ValueError(f"{d.size} Dice coefficients for {area.size} areas; expected as many")
    shown = ~np.isnan(d) & (area > 0)
    figure = new_figure(5.0, 3.9)
    axes = figure.add_subplot(
        xlabel="True mask's share of the image (log scale)", ylabel="Dice coefficient", ylim=(0, 1), title=title
    )
    if not shown.any():
        say(axes, "undefined: no image with a true mask in this split")
        axes.set(xticks=[], yticks=[])
        return figure
    axes.set_xscale("log")
    axes.scatter(
        area[shown],
        d[shown],
        s=14,
        color=(BLUE, 0.35),
        edgecolor=(BLUE, 0.8),
        linewidth=0.5,
        clip_on=False,
        label=_counted(int(shown.sum()), int((~shown).sum()), "without a true mask"),
    )
    _draw_medians(axes, area[shown], d[shown])
    _percent_axis(axes, area[shown])
    legend_below(axes)
    return figure


@styled
def dice_by_threshold(curves: Mapping[str, Curve], threshold: float | None = None, title: str = "") -> Figure:
    """The Dice coefficient over all pixels of a split against the cut-off on the pixels' probability.

    `curves` is name → (cut-offs (N,), Dice (N,)), as of validation and test; the legend has the highest value
    of each. `threshold` is the run's own cut-off, marked by a vertical line. A curve without any finite value
    is undefined; the legend says so. Raises ValueError where the arrays of a curve differ in length.
    """
    figure = new_figure(5.0, 3.6)
    axes = figure.add_subplot(
        xlabel="Cut-off on the probability", ylabel="Pooled Dice coefficient", xlim=(0, 1), ylim=(0, 1)
    )
    axes.xaxis.set_major_locator(MultipleLocator(0.2))
    if title:
        figure.suptitle(title)  # not the axes' title: the flag stands there
    defined = False
    for k, (name, (cut_offs, dice)) in enumerate(curves.items()):
        x, d = np.asarray(cut_offs, dtype=np.float64), np.asarray(dice, dtype=np.float64)
        if x.ndim != 1 or x.shape != d.shape:
            raise ValueError(f"{name}: cut-offs of shape {x.shape}, Dice coefficients of {d.shape}")
        x, d = x[np.isfinite(d)], d[np.isfinite(d)]
        if not x.size:
            axes.plot([], [], " ", label=f"{name}: undefined")
            continue
        defined = True
        order, best = np.argsort(x), int(np.argmax(d))
        axes.plot(
            x[order],
            d[order],
            color=COLOURS[k % len(COLOURS)],
            linestyle=LINE_STYLES[k % len(LINE_STYLES)],
            label=f"{name}: highest {d[best]:.3f}, at {x[best]:.2f}",
            clip_on=False,
        )
    if not defined:
        say(axes, "undefined: no mask in this split")
        return figure
    if threshold is not None:
        flag_lines(axes, [Flag(threshold, threshold_label("cut-off", threshold), "-", GREY)], width_points=300)
    legend_below(axes)
    return figure


def _shares(values: ArrayLike, what: str) -> Values:
    shares = np.asarray(values, dtype=np.float64)
    outside = int(np.sum((shares < 0) | (shares > 1)))
    if shares.ndim != 1 or outside:
        raise ValueError(f"{outside} of {what} {shares.shape} outside [0, 1]; expected none of (N,)")
    return shares


def _counted(shown: int, left_out: int, why: str) -> str:
    return f"{shown:,} image{'s' * (shown != 1)}" + (f" ({left_out:,} {why} left out)" if left_out else "")


def _draw_medians(axes: Axes, area: Values, dice: Values) -> None:
    octaves = np.floor(np.log2(area))
    inside = [octaves == octave for octave in np.unique(octaves)]
    medians = [(np.median(area[i]), np.median(dice[i])) for i in inside if i.sum() >= FEWEST]
    if medians:
        x, y = zip(*medians, strict=True)
        label = f"median within each doubling of the area ({FEWEST} images or more)"
        axes.plot(x, y, "s-", color=BLACK, markersize=4, label=label)


def _percent_axis(axes: Axes, area: Values) -> None:
    axes.set_xlim(area.min() / 1.3, min(1.0, area.max() * 1.3))
    decades = np.log10(area.max() / area.min())
    labelled = range(1, 10) if decades < 0.6 else (1, 2, 5) if decades < 2 else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=list(labelled)))
    axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:g} %")
    axes.xaxis.set_minor_formatter(NullFormatter())
