"""Curves of several runs in one figure, and their figures with intervals beside each other."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import sklearn.metrics
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator
from numpy.typing import ArrayLike

from pulmo.metrics.bootstrap import Interval
from pulmo.report.learning import LOSSES, RATES
from pulmo.report.operating_points import Labels, Scores, check_scores, missing_class
from pulmo.report.style import BLUE, COLOURS, GREY, LINE_STYLES, MARKERS, legend_below, new_figure, styled

SIDE = 4.2  # inches
Scored = Mapping[str, tuple[ArrayLike, ArrayLike]]
"""Run → (N,) scores of the positive class, (N,) labels {0, 1}."""


@styled
def overlaid_roc(runs: Scored, title: str = "") -> Figure:
    """ROC curves of several runs, with their areas. Raises ValueError on NaN scores, or images of one class."""
    figure, axes = _square("1 − specificity", "Sensitivity", title, len(runs))
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.0)
    for place, (name, s, y) in enumerate(_checked(runs)):
        false_positives, sensitivity, _ = sklearn.metrics.roc_curve(y, s)
        label = f"{_short(name)}: {sklearn.metrics.roc_auc_score(y, s):.3f}"
        axes.plot(false_positives, sensitivity, label=label, clip_on=False, **_look(place))
    legend_below(axes, title="AUROC")
    return figure


@styled
def overlaid_precision_recall(runs: Scored, title: str = "") -> Figure:
    """Precision-recall curves of several runs, in steps, with their average precision. Raises as `overlaid_roc`."""
    figure, axes = _square("Sensitivity (recall)", "Precision (positive predictive value)", title, len(runs))
    for place, (name, s, y) in enumerate(_checked(runs)):
        precision, recall, _ = sklearn.metrics.precision_recall_curve(y, s)
        precision[-1] = precision[-2]  # the point (0, 1) that scikit-learn appends was never measured
        label = f"{_short(name)}: {sklearn.metrics.average_precision_score(y, s):.3f}"
        steps = np.repeat(recall, 2)[1:], np.repeat(precision, 2)[:-1]
        axes.plot(*steps, label=label, clip_on=False, **_look(place))
    legend_below(axes, title="average precision")
    return figure


@styled
def overlaid_learning(histories: Mapping[str, pd.DataFrame], column: str, title: str = "") -> Figure:
    """One column of several runs' histories by epoch, such as `val/loss`; tables are as `learning_curves` takes them.

    Runs that have not logged it are left out. Raises ValueError where no run has.
    """
    logged = {name: table for name, table in histories.items() if column in table and table[column].notna().any()}
    if not logged:
        raise ValueError(f"no run has logged {column}")
    figure = new_figure(SIDE, SIDE - 0.6 + 0.19 * len(logged))
    axes = figure.add_subplot(xlabel="Epoch", ylabel=f"{(LOSSES | RATES)[column]}, validation", title=title)
    for place, (name, history) in enumerate(logged.items()):
        measured = history[["epoch", column]].dropna().sort_values("epoch")
        axes.plot(
            measured["epoch"] + 1,
            measured[column],
            label=_short(name),
            marker=MARKERS[place % len(MARKERS)],
            markersize=3.5,
            markevery=max(1, len(measured) // 10),
            **_look(place),
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    legend_below(axes)
    return figure


def common_rate(histories: Mapping[str, pd.DataFrame]) -> str | None:
    """The rate of validation that most of the runs have logged, the first of equals; None where there is none."""
    rates = ["val/auroc", *(name for name in RATES if name.startswith("val/"))]
    counts = {name: sum(name in table and table[name].notna().any() for table in histories.values()) for name in rates}
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else None


@styled
def forest(figures: Mapping[str, Interval], xlabel: str, *, line: float | None = None, title: str = "") -> Figure:
    """A figure of each run with its 95 % interval, one line a run, in the order given, the first on top.

    `line` is drawn across, such as 0 for differences.
    """
    names = [_short(name) for name in figures]
    figure = new_figure(6.2, 0.8 + 0.26 * len(names) + (0.25 if title else 0))
    axes = figure.add_subplot(xlabel=xlabel, title=title)
    for place, value in enumerate(figures.values()):
        if np.isfinite(value.low):
            axes.plot(
                [value.low, value.high], [place, place], color=BLUE, linestyle="-", linewidth=1.6, solid_capstyle="butt"
            )
        axes.plot(value.value, place, "o", color=BLUE, markersize=5)
        axes.annotate(
            str(value),
            (1.01, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            annotation_clip=False,
        )
    if line is not None:
        axes.axvline(line, color=GREY, linestyle=":", linewidth=1.0)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 34 else f"{name[:16]}…{name[-16:]}"


def _look(place: int) -> dict[str, Any]:
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": LINE_STYLES[place % len(LINE_STYLES)]}


def _checked(runs: Scored) -> Iterator[tuple[str, Scores, Labels]]:
    for name, (scores, labels) in runs.items():
        s, y = check_scores(scores, labels)
        if missing_class(y):
            raise ValueError(f"{name}: {missing_class(y)}")
        yield name, s, y


def _square(x: str, y: str, title: str, entries: int) -> tuple[Figure, Axes]:
    figure = new_figure(SIDE, SIDE + 0.35 + 0.19 * entries)
    axes = figure.add_subplot(aspect="equal", xlim=(0, 1), ylim=(0, 1), xlabel=x, ylabel=y, title=title)
    axes.xaxis.set_major_locator(MultipleLocator(0.2))
    axes.yaxis.set_major_locator(MultipleLocator(0.2))
    return figure, axes
