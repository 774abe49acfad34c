"""What a search over hyper-parameters tried, and which of them mattered."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pulmo.report.style import BLUE, GREY, VERMILLION, legend_below, new_figure, say, styled


@styled
def search_history(trials: pd.DataFrame, figure_name: str, *, minimize: bool) -> Figure:
    """The figure of each trial by its number, and the best so far.

    `trials` has `trial` (int from 0), `value` and `state`, as `pulmo.search.results.trials_table` gives them: those
    pruned stand at the last value that they reported, failed ones at the foot.
    """
    figure = new_figure(6.4, 3.8)
    axes = figure.add_subplot(xlabel="Trial", ylabel=figure_name)
    trials = trials.sort_values("trial")
    done = trials[trials["state"] == "complete"]
    pruned = trials[(trials["state"] == "pruned") & trials["value"].notna()]
    failed = trials[trials["state"] == "fail"]
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if done.empty and pruned.empty:
        say(axes, "no trial has come to an end yet")
        axes.set(yticks=[])
        return figure
    if len(done):
        _draw_best(axes, done, last=int(trials["trial"].max()), minimize=minimize)
        axes.plot(done["trial"], done["value"], "o", color=BLUE, label=f"finished ({len(done)})", zorder=3)
    if len(pruned):
        axes.plot(
            pruned["trial"],
            pruned["value"],
            "s",
            markerfacecolor="white",
            markeredgecolor=GREY,
            label=f"pruned, at its last value ({len(pruned)})",
            zorder=2.5,
        )
    if len(failed):
        foot = axes.get_xaxis_transform()
        label = f"failed ({len(failed)})"
        axes.plot(
            failed["trial"], [0.02] * len(failed), "x", color=VERMILLION, transform=foot, clip_on=False, label=label
        )
    axes.set_xlim(-0.5, trials["trial"].max() + 0.5)
    legend_below(axes, columns=2)
    return figure


def _draw_best(axes: Axes, done: pd.DataFrame, *, last: int, minimize: bool) -> None:
    best = done["value"].cummin() if minimize else done["value"].cummax()
    numbers, values = [*done["trial"], last + 0.5], [*best, best.iloc[-1]]
    axes.plot(numbers, values, "-", color=BLUE, drawstyle="steps-post", label="best so far", zorder=2)
    place = int(done["value"].argmin() if minimize else done["value"].argmax())
    trial, value = int(done["trial"].iloc[place]), float(done["value"].iloc[place])
    axes.plot(trial, value, "o", markersize=11, markerfacecolor="none", markeredgecolor=VERMILLION, zorder=3)
    axes.set_title(f"best: {value:.4f}, of trial {trial}", loc="left")


@styled
def search_importance(shares: Mapping[str, float], trials: int, figure_name: str) -> Figure:
    """Bars of each parameter's share in how much the figure varied, the largest on top; the shares add up to 1."""
    ordered = sorted(shares.items(), key=lambda item: item[1])
    names, values = [name for name, _ in ordered], [value for _, value in ordered]
    figure = new_figure(6.4, 1.3 + 0.32 * len(names))
    axes = figure.add_subplot(xlabel=f"Share in the variation of {figure_name}")
    bars = axes.barh(names, values, height=0.62, color=BLUE)
    axes.bar_label(bars, [f"{value:.2f}" for value in values], padding=3)
    axes.set_xlim(0, min(1.0, max(values)) * 1.12)
    axes.tick_params(axis="y", length=0)
    axes.set_title(f"importance, from {trials} finished trials", loc="left")
    return figure
