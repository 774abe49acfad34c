"""Several runs side by side: what differs between them, and what came out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import yaml
from rich.table import Table

FIGURES = ("auroc", "accuracy", "dice", "dice_pooled", "iou", "rsna_score", "map_50", "froc_score", "loss", "images")
VALIDATION = "validation"
"""Column of the figure by which runs are ranked: validation's, for a choice by the test set would be none."""

REPEATED = ("seed", "data.fold")
"""Keys that repeat an experiment rather than change it."""


def compared(folders: Sequence[Path]) -> pd.DataFrame:
    """One row a finished run: its folder's name, the overrides that differ, then the figures that any has.

    The figures are the test set's, behind that of validation which is the first in `FIGURES`.

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
        rows.append({"run": folder.name, "figures": figures})
    if not rows:
        return pd.DataFrame()
    ranked = _ranking([row["figures"] for row in rows])
    rows = [
        {"run": row["run"], VALIDATION: row["figures"].get(f"val/{ranked}")}
        | {name: row["figures"].get(f"test/{name}") for name in FIGURES}
        for row in rows
    ]
    keys = list(dict.fromkeys(key for given in overrides for key in given))
    differ = [key for key in keys if len({given.get(key) for given in overrides}) > 1]
    columns = dict.fromkeys((VALIDATION, *FIGURES), float)
    table = pd.DataFrame(rows).astype(columns).dropna(axis="columns", how="all")
    table.attrs[VALIDATION] = ranked
    for place, key in enumerate(differ):
        table.insert(1 + place, key, [given.get(key, "") for given in overrides])
    return table


def _ranking(runs: Sequence[Mapping[str, float | None]]) -> str:
    """The figure that ranks: the first that validation defines in all runs, or else in most."""
    defined = {name: sum(run.get(f"val/{name}") is not None for run in runs) for name in FIGURES}
    return max(FIGURES, key=lambda name: defined[name])


def repeated(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation (n - 1) over runs that differ by `REPEATED` alone; empty where none does.

    Columns: what else differs, `runs`, then each figure's `mean` and `sd`, as a two-level index.
    """
    figures = [name for name in FIGURES if name in table]
    settings = [name for name in table.columns if name not in (*figures, *REPEATED, "run", VALIDATION)]
    if not any(name in table for name in REPEATED) or table.empty:
        return pd.DataFrame()
    groups = table.groupby(settings, sort=False) if settings else table.groupby(lambda _: 0)
    summary = groups[figures].agg(["mean", "std"])
    summary.insert(0, ("runs", ""), groups.size())
    summary = summary[summary[("runs", "")] > 1]
    return summary.rename(columns={"std": "sd"}, level=1)


def comparison_tables(table: pd.DataFrame) -> list[Table]:
    """For the screen: the runs, the best on validation first, and each experiment that was repeated, mean ± SD."""
    figures = [name for name in FIGURES if name in table]
    settings = [name for name in table.columns if name not in (*figures, "run", VALIDATION)]
    named = bool(settings) and not table.duplicated(settings).any()  # what differs says which run it is
    left = settings if named else ["run", *settings]
    right = [name for name in (VALIDATION, *figures) if name in table]
    by = table.attrs.get(VALIDATION, "")
    titles = {VALIDATION: f"validation {by}"}
    headers = [titles.get(name, name).replace("_", " ") for name in right]
    runs = Table(*left, *headers, title="test set, the best on validation first")
    ranked = table
    if VALIDATION in table:
        ranked = table.sort_values(VALIDATION, ascending=by == "loss", kind="stable")
    for row in ranked.to_dict("records"):
        runs.add_row(*(str(row[name]) for name in left), *(_figure(row[name]) for name in right))
    means = repeated(table)
    if means.empty:
        return [runs]
    kept = [name for name in settings if name not in REPEATED]
    spread = [name for name in figures if name != "images"]
    over = " and ".join(name.rsplit(".", 1)[-1] + "s" for name in REPEATED if name in table)
    shown = Table(*kept, "runs", *(name.replace("_", " ") for name in spread), title=f"mean ± SD over {over}")
    for key, mean in means.iterrows():
        values = [str(value) for value in (key if isinstance(key, tuple) else (key,))] if kept else []
        figure = [f"{mean[(name, 'mean')]:.4f} ± {mean[(name, 'sd')]:.4f}" for name in spread]
        shown.add_row(*values, str(int(mean[("runs", "")])), *figure)
    return [runs, shown]


def _figure(value: float) -> str:
    if pd.isna(value):
        return "undefined"
    return f"{value:.0f}" if float(value).is_integer() and value > 1 else f"{value:.4f}"
