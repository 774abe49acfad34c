"""Free-response ROC: how many true boxes are found at how many false alarms an image."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from pulmo.report.style import BLACK, COLOURS, LINE_STYLES, MARKERS, legend_below, new_figure, say, styled

Curve = tuple[ArrayLike, ArrayLike]

TICKS = {0.125: "1/8", 0.25: "1/4", 0.5: "1/2", 1.0: "1", 2.0: "2", 4.0: "4", 8.0: "8"}
"""False positives an image at which LUNA16 reads the curve (Setio et al., Medical Image Analysis 42, 2017)."""

WIDTH, HEIGHT = 4.8, 3.9  # inches, without the legend


@styled
def froc_curve(
    curves: Mapping[str, Curve], operating_points: Mapping[str, tuple[float, float]] | None = None, title: str = ""
) -> Figure:
    """Sensitivity against mean false positives an image, from 1/8 to 8 on a logarithmic axis.

    `curves` is name → (false positives an image (N,), sensitivity (N,)), one pair a threshold, in any order;
    they are drawn in steps, for between two thresholds nothing was measured. `operating_points` is a curve's
    name → (false positives an image, sensitivity); one beyond the axis is marked by an arrow at its end. A
    curve without any finite pair, as of a split without boxes, is undefined; the legend says so. Raises
    ValueError where the arrays of a curve differ in length, and on an operating point of no curve.
    """
    points = operating_points or {}
    unknown = sorted(set(points) - set(curves))
    if unknown:
        raise ValueError(f"operating points of {unknown}; expected names of curves, {list(curves)}")
    measured = {name: _measured(name, curve) for name, curve in curves.items()}
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.add_subplot(
        xscale="log",
        xlim=(min(TICKS), max(TICKS)),
        ylim=(0, 1),
        xlabel="Mean false positives per image (log scale)",
        ylabel="Sensitivity",
        title=title,
    )
    axes.xaxis.set_major_locator(FixedLocator(list(TICKS)))
    axes.xaxis.set_major_formatter(lambda x, _: TICKS[x])
    axes.xaxis.set_minor_locator(NullLocator())
    if not any(x.size for x, _ in measured.values()):
        say(axes, "undefined: no true box in this split")
        return figure
    for k, (name, (x, sensitivity)) in enumerate(measured.items()):
        if x.size:
            _draw(axes, k, name, x, sensitivity, points.get(name))
        else:
            axes.plot([], [], " ", label=f"{name}: undefined, no true box")
    marked = any(measured[name][0].size for name in points)
    figure.set_size_inches(WIDTH, HEIGHT + 0.15 + 0.185 * (len(measured) + marked))
    legend_below(axes, title="marked: the operating point" if marked else None)
    return figure


def _measured(name: str, curve: Curve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The finite pairs of a curve in the order of false positives."""
    x, sensitivity = (np.asarray(values, dtype=np.float64) for values in curve)
    if x.ndim != 1 or x.shape != sensitivity.shape:
        raise ValueError(f"{name}: false positives of shape {x.shape}, sensitivity of {sensitivity.shape}")
    pairs = np.isfinite(x) & np.isfinite(sensitivity)
    order = np.lexsort((sensitivity[pairs], x[pairs]))
    return x[pairs][order], sensitivity[pairs][order]


def _draw(
    axes: Axes,
    k: int,
    name: str,
    x: NDArray[np.float64],
    sensitivity: NDArray[np.float64],
    point: tuple[float, float] | None,
) -> None:
    colour, line_style, marker = (looks[k % len(looks)] for looks in (COLOURS, LINE_STYLES, MARKERS))
    # A logarithmic axis has no place for zero false positives: such steps start far beyond its left end.
    steps = np.maximum(np.repeat(x, 2)[1:], 1e-3 * min(TICKS))
    axes.plot(steps, np.repeat(sensitivity, 2)[:-1], color=colour, linestyle=line_style)
    of_point: dict[str, Any] = {
        "marker": "",
        "markersize": 7,
        "markeredgecolor": BLACK,
        "markerfacecolor": (colour, 0.5),
    }
    if point is not None:
        of_point["marker"] = "<" if point[0] < min(TICKS) else ">" if point[0] > max(TICKS) else marker
        at = float(np.clip(point[0], min(TICKS), max(TICKS)))
        axes.plot(at, point[1], color=colour, linestyle="", clip_on=False, zorder=3, **of_point)
        name = f"{name}: sensitivity {point[1]:.3f} at {point[0]:.3g} per image"
    axes.plot([], [], color=colour, linestyle=line_style, label=name, **of_point)  # line and marker in one entry
