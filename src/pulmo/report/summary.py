"""What a finished run says on the screen."""

import math
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from pulmo.report.screen import screen

RANKING = ("auroc", "average_precision", "map", "map_50", "froc_score", "loss")
MASKS = ("dice", "iou", "dice_with_empty", "dice_pooled", "mean_iou", "pixel_accuracy")
BOXES = ("rsna_score", "box_sensitivity", "box_precision", "false_positives_per_image")
IMAGES = ("accuracy", "sensitivity", "specificity", "precision", "f1")
AT_THRESHOLD = (*MASKS, *BOXES, *IMAGES)


def print_summary(results: Mapping[str, float], folder: Path) -> None:
    """Print the validation and test figures, its report and the dashboard's command where it has them, its folder."""
    console = screen()
    console.print(summary_table(results))
    if (folder / "report.html").is_file():
        console.print(f"report: {folder / 'report.html'}", markup=False, soft_wrap=True)
    if (folder / "tensorboard").is_dir():
        console.print(f"dashboard: {dashboard_command(folder)}", soft_wrap=True)
    print(folder, flush=True)


def dashboard_command(folder: Path) -> str:
    """Give what opens TensorBoard on this run and its neighbours, from the folder where the user stands."""
    beside = Path(sys.executable).with_name("tensorboard")
    program = "tensorboard" if shutil.which("tensorboard") else _near(beside)
    return f"{program} --logdir {_near(folder.parent)}"


def _near(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def summary_table(results: Mapping[str, float]) -> Table:
    """Tabulate the figures that rank, then those at each cut-off, one row a figure, validation beside test."""
    table = Table("", "validation", "test", header_style="bold")
    for name in RANKING:
        _add(table, name.replace("_", " "), name, results)
    suffixes = sorted({name.partition("@")[2] for name in results if "@" in name}, key=float, reverse=True)
    how = "fitted on validation" if results.get("threshold_is_fitted", 1) else "the run's threshold"
    for suffix in ["", *(f"@{value}" for value in suffixes)]:
        table.add_section()
        fitted = results.get("threshold")
        where = suffix[1:] or ("fitted threshold" if fitted is None else f"{fitted:.3f}, {how}")
        if fitted is not None:
            table.add_row(f"[bold]at {where}[/bold]")
        for name in AT_THRESHOLD:
            _add(table, name.replace("_", " "), f"{name}{suffix}", results)
    return table


def _add(table: Table, label: str, name: str, results: Mapping[str, float]) -> None:
    values = [results.get(f"{split}/{name}") for split in ("val", "test")]
    if any(value is not None for value in values):
        shown = ["" if value is None else "undefined" if math.isnan(value) else f"{value:.4f}" for value in values]
        table.add_row(label, *shown)
