"""Several runs side by side: what differs between them, and what came out."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml
from rich.table import Table

FIGURES = ("images", "auroc", "accuracy", "dice", "dice_pooled", "iou", "rsna_score", "map_50", "froc_score", "loss")
REPEATED = ("seed", "data.fold")
"""Keys that repeat an experiment rather than change it."""


def compared(folders: Sequence[Path]) -> pd.DataFrame:
    """One row a finished run: its folder's name, the overrides that differ, then the test figures that any has.

    Runs without a metrics.json, such as failed ones, are left out; empty where there is none.
    """
    rows, overrides = [], []
    for folder in folders:
        metrics, chosen = folder / "metrics.json", folder / "overrides.yaml"
        if not metrics.is_file() or not chosen.is_file():
            continue
        given = dict(str(item).split("=", 1) for item in yaml.safe_load(chosen.read_text()) or [] if "=" in str(item))
        overrides.append(given)
        figures = json.loads(metrics.read_text())
        rows.append({"run": folder.name} | {name: figures.get(f"test/{name}") for name in FIGURES})
    if not rows:
        return pd.DataFrame()
    keys = list(dict.fromkeys(key for given in overrides for key in given))
    differ = [key for key in keys if len({given.get(key) for given in overrides}) > 1]
    table = pd.DataFrame(rows).astype(dict.fromkeys(FIGURES, float)).dropna(axis="columns", how="all")
    for place, key in enumerate(differ):
        table.insert(1 + place, key, [given.get(key, "") for given in overrides])
    return table


def repeated(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation (n - 1) over runs that differ by `REPEATED` alone; empty where none does.

    Columns: what else differs, `runs`, then each figure's `mean` and `sd`, as a two-level index.
    """
    figures = [name for name in FIGURES if name in table]
    settings = [name for name in table.columns if name not in (*figures, *REPEATED, "run", "images")]
    if not any(name in table for name in REPEATED) or table.empty:
        return pd.DataFrame()
    groups = table.groupby(settings, sort=False) if settings else table.groupby(lambda _: 0)
    summary = groups[figures].agg(["mean", "std"])
    summary.insert(0, ("runs", ""), groups.size())
    summary = summary[summary[("runs", "")] > 1]
    return summary.rename(columns={"std": "sd"}, level=1)


def comparison_table(table: pd.DataFrame) -> Table:
    """For the screen: a row a run, then a row for each experiment that was repeated, mean ± SD."""
    figures = [name for name in FIGURES if name in table]
    settings = [name for name in table.columns if name not in (*figures, "run")]
    shown = Table("run", *settings, *(name.replace("_", " ") for name in figures), title="test set")
    for row in table.to_dict("records"):
        shown.add_row(row["run"], *(str(row[name]) for name in settings), *(_figure(row[name]) for name in figures))
    means = repeated(table)
    if len(means):
        shown.add_section()
    kept = [name for name in settings if name not in REPEATED]
    for key, mean in means.iterrows():
        values = dict(zip(kept, key if isinstance(key, tuple) else (key,), strict=False))
        left = [str(values.get(name, "")) for name in settings]
        spread = [f"{mean[(name, 'mean')]:.4f} ± {mean[(name, 'sd')]:.4f}" for name in figures]
        shown.add_row(f"mean ± SD of {int(mean[('runs', '')])}", *left, *spread)
    return shown


def _figure(value: float) -> str:
    return (
        "undefined" if pd.isna(value) else f"{value:.0f}" if float(value).is_integer() and value > 1 else f"{value:.4f}"
    )
