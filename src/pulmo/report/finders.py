"""What the finders of the learning rate and the batch size saw."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pulmo.report.style import BLACK, BLUE, GREY, VERMILLION, legend_below, new_figure, styled

Array = npt.NDArray[np.float64]


@styled
def learning_rate_range(rates: Array, losses: Array, smooth: Array, suggestion: float | None) -> Figure:
    """Loss of a training whose rate grows from step to step, raw and smoothed, with the rate that was chosen.

    All three are (N,). The loss axis leaves out where the loss ran away.
    """
    figure = new_figure(5.0, 3.8)
    axes = figure.subplots()
    axes.semilogx(rates, losses, color=GREY, linewidth=0.8, label="each step")
    axes.semilogx(rates, smooth, color=BLUE, label="smoothed")
    if len(losses):
        before = slice(max(1, len(losses) // 3))  # of the losses, where the rates are too small to do anything
        low, high = float(losses.min()), float(np.median(losses[before]))
        margin = 0.1 * max(high - low, 1e-3 * abs(high))
        axes.set_ylim(low - margin, high + margin + 2 * float(np.std(losses[before])))
    if suggestion is not None:
        at = int(np.abs(np.log(rates / suggestion)).argmin())
        axes.axvline(suggestion, color=BLACK, linewidth=0.8, linestyle=":")
        axes.plot(suggestion, smooth[at], "o", color=VERMILLION, label=f"steepest: {suggestion:.3g}", zorder=3)
    axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:g}")  # matplotlib's own would be formulae
    axes.set(xlabel="Learning rate", ylabel="Training loss")
    legend_below(axes, columns=3)
    return figure


@styled
def batch_sizes(
    sizes: Sequence[int],
    speeds: Sequence[float],
    memory: Sequence[float],
    chosen: int,
    refused: Sequence[int],
    memory_of: str,
) -> Figure:
    """Images per second, and memory in GiB, of each batch size that fitted; the one chosen and those refused."""
    figure = new_figure(7.6, 3.4)
    left, right = figure.subplots(1, 2)
    for axes, values, name in ((left, speeds, "Images per second"), (right, memory, f"{memory_of} (GiB)")):
        axes.plot(sizes, values, "o-", color=BLUE)
        at = list(sizes).index(chosen)
        axes.plot(chosen, values[at], "o", color=VERMILLION, markersize=8, label=f"chosen: {chosen}", zorder=3)
        for number, size in enumerate(refused):
            label = "did not fit" if number == 0 else None
            axes.axvline(size, color=GREY, linestyle="--", linewidth=0.8, label=label)
        _powers(axes, [*sizes, *refused])
        axes.set(xlabel="Batch size", ylabel=name)
        axes.set_ylim(bottom=0, top=1.15 * max(values))
        legend_below(axes, columns=2)
    return figure


def _powers(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(set(sizes)), [str(size) for size in sorted(set(sizes))])
    axes.minorticks_off()
