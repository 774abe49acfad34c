"""ROC and precision-recall curves with the operating points on them."""

from collections.abc import Mapping, Sequence
from math import isnan

import numpy as np
import sklearn.metrics
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from numpy.typing import ArrayLike

from pulmo.report.annotation import Label, place_labels
from pulmo.report.operating_points import OperatingPoint, check_scores, missing_class, operating_point
from pulmo.report.style import (
    BLACK,
    BLUE,
    COLOURS,
    GREY,
    LINE_STYLES,
    MARKERS,
    ORANGE,
    legend_below,
    new_figure,
    say,
    styled,
)

SIDE = 4.2  # inches


@styled
def roc_curve(
    scores: ArrayLike, labels: ArrayLike, thresholds: Mapping[str, float] | None = None, title: str = ""
) -> Figure:
    """The ROC curve of a binary classifier, its area, and a marker at each threshold.

    `scores` (N,) are probabilities of the positive class, `labels` (N,) are 0 or 1, `thresholds` is name →
    value. Where a class is missing the figure says that the curve is undefined. Raises ValueError on NaN
    scores.
    """
    s, y = check_scores(scores, labels)
    figure, axes = _unit_square("1 − specificity", "Sensitivity", title)
    undefined = missing_class(y)
    if undefined:
        say(axes, undefined)
        return figure
    false_positive_rate, sensitivity, _ = sklearn.metrics.roc_curve(y, s)
    area = sklearn.metrics.roc_auc_score(y, s)
    counts = f"{np.sum(y == 1):,} positive, {np.sum(y == 0):,} negative"
    axes.plot(
        false_positive_rate,
        sensitivity,
        color=BLUE,
        linestyle="-",
        label=f"AUROC {area:.3f} ({counts})",
        clip_on=False,
    )
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.0, label="chance")
    points = [operating_point(s, y, value, name) for name, value in (thresholds or {}).items()]
    names = _mark(axes, [(1 - point.specificity, point.sensitivity, point) for point in points])
    _add_legend(axes)
    place_labels(axes, names)
    return figure


@styled
def precision_recall_curve(
    scores: ArrayLike, labels: ArrayLike, thresholds: Mapping[str, float] | None = None, title: str = ""
) -> Figure:
    """The precision-recall curve in steps, as average precision sums it, with a marker at each threshold.

    Arguments and errors are those of `roc_curve`. A threshold that no score reaches has no precision; the
    legend says so.
    """
    s, y = check_scores(scores, labels)
    figure, axes = _unit_square("Sensitivity (recall)", "Precision (positive predictive value)", title)
    undefined = missing_class(y)
    if undefined:
        say(axes, undefined)
        return figure
    precision, recall, _ = sklearn.metrics.precision_recall_curve(y, s)
    precision[-1] = precision[-2]  # the point (0, 1) that scikit-learn appends was never measured
    average, prevalence = sklearn.metrics.average_precision_score(y, s), float(np.mean(y))
    counts = f"{np.sum(y == 1):,} positive, {np.sum(y == 0):,} negative"
    # Steps are drawn as vertices, not by drawstyle, so that labels can be kept clear of the line as it shows.
    x, height = np.repeat(recall, 2)[1:], np.repeat(precision, 2)[:-1]
    axes.plot(x, height, color=BLUE, linestyle="-", label=f"AP {average:.3f} ({counts})", clip_on=False)
    axes.axhline(prevalence, color=GREY, linestyle=":", linewidth=1.0, label=f"prevalence {prevalence:.3f}")
    points = [operating_point(s, y, value, name) for name, value in (thresholds or {}).items()]
    names = _mark(axes, [(point.sensitivity, point.precision, point) for point in points if not isnan(point.precision)])
    for point in points:
        if isnan(point.precision):
            axes.plot([], [], " ", label=f"{point.label}: no score reaches it, precision undefined")
    _add_legend(axes)
    place_labels(axes, names)
    return figure


@styled
def one_vs_rest_roc(probabilities: ArrayLike, labels: ArrayLike, class_names: Sequence[str], title: str = "") -> Figure:
    """The ROC curve of each class against all others.

    `probabilities` is (N, K), its columns in the order of the K `class_names`; `labels` (N,) are class
    indices. A class without images, or without images of others, has no curve; the legend says so. Raises
    ValueError on NaN scores and where K differs from the number of names.
    """
    s, y = check_scores(probabilities, labels, len(class_names))
    figure, axes = _unit_square("1 − specificity", "Sensitivity", title)
    if y.size == 0:
        say(axes, "undefined: no labelled image in this split")
        return figure
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.0)
    for k, name in enumerate(class_names):
        of_class, count = (y == k).astype(int), f"{np.sum(y == k):,} of {y.size:,}"
        if missing_class(of_class):
            axes.plot([], [], " ", label=f"{name}: undefined ({count})")
            continue
        false_positive_rate, sensitivity, _ = sklearn.metrics.roc_curve(of_class, s[:, k])
        area = sklearn.metrics.roc_auc_score(of_class, s[:, k])
        axes.plot(
            false_positive_rate,
            sensitivity,
            color=COLOURS[k % len(COLOURS)],
            linestyle=LINE_STYLES[k % len(LINE_STYLES)],
            label=f"{name}: {area:.3f} ({count})",
            clip_on=False,
        )
    _add_legend(axes, "AUROC, class against rest (images)")
    return figure


def _unit_square(x: str, y: str, title: str) -> tuple[Figure, Axes]:
    figure = new_figure(SIDE, SIDE)
    axes = figure.add_subplot(aspect="equal", xlim=(0, 1), ylim=(0, 1), xlabel=x, ylabel=y, title=title)
    axes.xaxis.set_major_locator(MultipleLocator(0.2))
    axes.yaxis.set_major_locator(MultipleLocator(0.2))
    return figure, axes


def _mark(axes: Axes, points: Sequence[tuple[float, float, OperatingPoint]]) -> list[Label]:
    """Mark each (x, y, point) and give the names to be placed; points in one place share a marker and a name."""
    together: dict[tuple[float, float], list[str]] = {}
    for x, y, point in points:
        together.setdefault((x, y), []).append(point.label)
    for (x, y), marker in zip(together, MARKERS * len(together), strict=False):
        # Lightly filled and each of its own shape: markers of near thresholds lie on each other and both show.
        axes.plot(x, y, marker, markersize=7, color=BLACK, markerfacecolor=(ORANGE, 0.5), clip_on=False)
    if together:
        axes.lines[-len(together)].set_label("operating point (threshold on the score)")
    return [Label(x, y, ", ".join(names)) for (x, y), names in together.items()]


def _add_legend(axes: Axes, title: str | None = None) -> None:
    """Put the legend below and make the figure so high that the square axes keep their size."""
    entries = len(axes.get_legend_handles_labels()[1]) + (title is not None)
    axes.figure.figure.set_size_inches(SIDE, SIDE + 0.15 + 0.185 * entries)
    legend_below(axes, title=title)
