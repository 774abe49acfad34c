"""What a search over hyper-parameters tried, and which of them mattered."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pulmo.report.style import BLACK, BLUE, GREY, VERMILLION, legend_below, new_figure, say, styled


@styled
def search_history(trials: pd.DataFrame, figure_name: str, *, minimize: bool) -> Figure:
    """The figure of each trial by its number, and the best so far.

    `trials` has `trial` (int from 0), `value` and `state`, as `pulmo.search.results.trials_table` gives them: those
    pruned stand at the last value that they reported, failed ones at the foot. The axis is made for the finished ones;
    an arrow at its edge is a trial beyond.
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
    low, high = _limits(done["value"] if len(done) else pruned["value"])
    axes.set_ylim(low, high)
    if len(done):
        _draw_best(axes, done, last=int(trials["trial"].max()), minimize=minimize)
        look = {"color": BLUE, "label": f"finished ({len(done)})", "zorder": 3}
        _draw(axes, done, marker="o", **look)
    if len(pruned):
        look = {"markerfacecolor": "white", "color": GREY, "label": f"pruned, at its last value ({len(pruned)})"}
        _draw(axes, pruned, marker="s", **look)
    if len(failed):
        foot, label = axes.get_xaxis_transform(), f"failed ({len(failed)})"
        axes.plot(failed["trial"], [0.04] * len(failed), "x", color=VERMILLION, transform=foot, label=label)
    if any(line.get_label() == "_beyond" for line in axes.lines):
        axes.plot([], [], "v", markerfacecolor="none", color=BLACK, linestyle="none", label="beyond the axis")
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


def _limits(values: "pd.Series[float]") -> tuple[float, float]:
    """Room for those that lie near each other: one hopeless trial would press the others into a line."""
    lower, upper = values.quantile(0.25), values.quantile(0.75)
    near = values[values.between(lower - 1.5 * (upper - lower), upper + 1.5 * (upper - lower))]
    margin = 0.12 * float(near.max() - near.min()) or 0.05
    return float(near.min()) - margin, float(near.max()) + margin


def _draw(axes: Axes, trials: pd.DataFrame, **look: Any) -> None:
    """Mark the trials; those beyond the axis stand at its edge, as arrows that point to where they are."""
    low, high = axes.get_ylim()
    inside = trials[trials["value"].between(low, high)]
    axes.plot(inside["trial"], inside["value"], linestyle="none", **look)
    for beyond, arrow, edge in ((trials["value"] < low, "v", 0.0), (trials["value"] > high, "^", 1.0)):
        if not beyond.any():
            continue
        numbers, foot = trials.loc[beyond, "trial"], axes.get_xaxis_transform()
        arrows = {**look, "marker": arrow, "label": "_beyond", "clip_on": False, "transform": foot}
        (line,) = axes.plot(numbers, [edge] * len(numbers), linestyle="none", **arrows)
        line.set_in_layout(False)


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
    axes.set_title(f"importance, from {trials} finished trials: a hint where they are few", loc="left")
    return figure
