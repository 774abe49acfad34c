"""Learning curves of one run."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pulmo.report.annotation import Flag, flag_lines
from pulmo.report.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILLION,
    legend_below,
    new_figure,
    say,
    styled,
)

LOOKS = {
    "train/loss": ("training", VERMILLION, "--", "s"),
    "val/loss": ("validation", BLUE, "-", "o"),
    "train/accuracy": ("training accuracy", VERMILLION, "--", "s"),
    "val/accuracy": ("validation accuracy", BLUE, "-", "o"),
    "val/dice": ("validation Dice, mean", BLUE, "-", "o"),
    "train/dice_pooled": ("training Dice, pooled", VERMILLION, "--", "s"),
    "val/dice_pooled": ("validation Dice, pooled", PURPLE, "-.", "D"),
    "val/iou": ("validation IoU", ORANGE, ":", "v"),
    "val/rsna_score": ("validation RSNA score", BLUE, "-", "o"),
    "val/map_50": ("validation mAP at 0.5", PURPLE, "--", "D"),
    "val/map": ("validation mAP", ORANGE, ":", "v"),
    "val/auroc": ("validation AUROC", GREEN, "-.", "^"),
}
"""Name, colour, line style and marker; those that one task logs differ in all of them."""

LOSSES = {"train/loss": "Loss", "val/loss": "Loss"}
RATES = {
    "train/accuracy": "Accuracy",
    "val/accuracy": "Accuracy",
    "val/dice": "Dice",
    "train/dice_pooled": "Dice",
    "val/dice_pooled": "Dice",
    "val/iou": "IoU",
    "val/rsna_score": "RSNA score",
    "val/map_50": "mAP",
    "val/map": "mAP",
    "val/auroc": "AUROC",
}
"""What each panel may hold, column → its word in the y label."""


@styled
def learning_curves(
    history: pd.DataFrame, best_epoch: int | None = None, stages: Sequence[int] = (), title: str = ""
) -> Figure:
    """Losses on the left, rates such as accuracy, Dice or mAP on the right, by epoch, the first of which is called 1.

    `history` has one row an epoch: `epoch` (int from 0) and any of the columns of `LOOKS`, in which NaN is a
    value that was not measured in that epoch; other columns are left alone.
    `best_epoch` is marked in both panels, and so is each of `stages`, the first epochs of the fine-tuning
    stages in their order. Raises ValueError where there is no column `epoch`.
    """
    if "epoch" not in history.columns:
        raise ValueError(f"history has columns {list(history.columns)}; expected `epoch` among them")
    figure = new_figure(7.6, 3.4)
    if title:
        figure.suptitle(title)
    flags = [Flag(epoch + 1, f"stage {i}", ":", GREY) for i, epoch in enumerate(stages, 1)]
    if best_epoch is not None:
        flags.append(Flag(best_epoch + 1, f"best epoch {best_epoch + 1}", "-", BLACK))
    left, right = figure.subplots(1, 2)
    for axes, words, unrecorded in ((left, LOSSES, "Loss"), (right, RATES, "Rate")):
        recorded = [c for c in words if c in history.columns and history[c].notna().any()]
        named = ", ".join(dict.fromkeys(words[c] for c in recorded))
        axes.set(xlabel="Epoch", ylabel=named or unrecorded)
        if not recorded:
            say(axes, "not recorded")
            axes.set(xticks=[], yticks=[])
            continue
        _draw(axes, history[["epoch", *recorded]].assign(epoch=history["epoch"] + 1))
        flag_lines(axes, flags, width_points=210)
        legend_below(axes, columns=2)
    return figure


def _draw(axes: Axes, history: pd.DataFrame) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.set_xlim(history["epoch"].min() - 0.5, history["epoch"].max() + 0.5)
    for column in history.columns.drop("epoch"):
        measured = history[["epoch", column]].dropna().sort_values("epoch")
        name, colour, line_style, marker = LOOKS[column]
        axes.plot(
            measured["epoch"],
            measured[column],
            color=colour,
            linestyle=line_style,
            marker=marker,
            markersize=4,
            markevery=max(1, len(measured) // 12),
            label=name,
            zorder=2.5,
        )
