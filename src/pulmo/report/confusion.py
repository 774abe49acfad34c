"""Confusion matrices, one or side by side at several thresholds."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from pulmo.report.operating_points import check_classes, check_scores, threshold_labels
from pulmo.report.style import new_figure, say, styled


@styled
def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, class_names: Sequence[str], title: str = "") -> Figure:
    """Counts and row percentages of (N,) true against (N,) predicted class indices.

    A class without images has dashes for percentages. Raises ValueError where an index has no class name, or
    the two differ in number.
    """
    counts = count_confusions(labels, predictions, len(class_names))
    figure = new_figure(*_size(class_names))
    _draw(figure.add_subplot(title=title), counts, class_names)
    return figure


@styled
def confusion_matrices(
    scores: ArrayLike,
    labels: ArrayLike,
    thresholds: Mapping[str, float],
    class_names: Sequence[str],
    title: str = "",
) -> Figure:
    """The confusion matrices of a binary classifier side by side, one at each threshold.

    `scores` (N,) are probabilities of the positive class, `labels` (N,) are 0 or 1, `thresholds` is name →
    value. Raises ValueError on NaN scores, on no threshold, and where there are not two class names.
    """
    if len(class_names) != 2 or not thresholds:
        raise ValueError(f"{len(class_names)} classes, {len(thresholds)} thresholds; expected 2 and at least 1")
    s, y = check_scores(scores, labels)
    width, height = _size(class_names)
    figure = new_figure(width * len(thresholds), height + (0.25 if title else 0))
    if title:
        figure.suptitle(title)
    for i, (name, value) in enumerate(threshold_labels(thresholds).items()):
        axes = figure.add_subplot(1, len(thresholds), i + 1, title=f"threshold: {name}")
        _draw(axes, count_confusions(y, (s >= value).astype(int), 2), class_names)
        if i > 0:
            axes.set_ylabel("")
            axes.tick_params(labelleft=False)
    return figure


def count_confusions(labels: ArrayLike, predictions: ArrayLike, classes: int) -> NDArray[np.int64]:
    """(K, K) counts, rows the truth and columns the prediction."""
    truth = check_classes(labels, classes, "labels")
    called = check_classes(predictions, classes, "predictions")
    if truth.shape != called.shape:
        raise ValueError(f"{truth.size} labels for {called.size} predictions; expected as many")
    return np.bincount(truth * classes + called, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def _size(class_names: Sequence[str]) -> tuple[float, float]:
    """Width and height in inches: cells of the same size whatever their number."""
    cells = 0.85 * max(2, len(class_names))
    return cells + 1.2, cells + 1.0


def _draw(axes: Axes, counts: NDArray[np.int64], class_names: Sequence[str]) -> None:
    axes.set(xlabel="Prediction", ylabel="Truth")
    axes.spines[:].set_visible(False)
    if counts.sum() == 0:
        axes.set(xticks=[], yticks=[])
        say(axes, "undefined: no labelled\nimage in this split")
        return
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    colours = matplotlib.colormaps["Blues"]
    axes.imshow(shares, cmap=colours, vmin=0, vmax=1)
    ticks = np.arange(len(class_names))
    axes.set_xticks(ticks, class_names)
    axes.set_yticks(ticks, class_names)
    if max(map(len, class_names)) > 9:
        axes.tick_params(axis="x", rotation=40)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    for row, column in np.ndindex(counts.shape):
        share = shares[row, column]
        percent = f"{100 * share:.1f} %" if totals[row, 0] else "–"
        ink = "white" if relative_luminance(colours(share)) < 0.179 else "black"
        axes.text(
            column,
            row,
            f"{counts[row, column]:,}\n{percent}",
            ha="center",
            va="center",
            color=ink,
        )


def relative_luminance(colour: Sequence[float]) -> float:
    """Luminance in [0, 1] of an sRGB colour, as WCAG 2.2 defines it; black text reads better from 0.179 up."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
