"""Several runs side by side: what differs between them, and what came out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from rich.table import Table

from pulmo.metrics.bootstrap import Interval
from pulmo.report.screen import grid
from pulmo.report.titles import title_of

FIGURES = ("auroc", "accuracy", "dice", "dice_pooled", "iou", "rsna_score", "map_50", "froc_score", "loss", "images")
VALIDATION = "validation"
"""Column of the figure by which runs are ranked: validation's, for a choice by the test set would be none."""

Intervals = Mapping[str, Mapping[str, Interval]]
"""Run → figure → interval."""

REPEATED = ("seed", "data.fold")
"""Keys that repeat an experiment rather than change it."""


def compared(folders: Sequence[Path]) -> pd.DataFrame:
    """One row a finished run: its folder's name, the overrides that differ, then the figures that any has.

    Runs without a metrics.json, such as failed ones, are left out; empty where there is none.
    """
    names, overrides, measured, watched = [], [], [], []
    for folder in folders:
        metrics, chosen = folder / "metrics.json", folder / "overrides.yaml"
        if not metrics.is_file() or not chosen.is_file():
            continue
        given = dict(str(item).split("=", 1) for item in yaml.safe_load(chosen.read_text()) or [] if "=" in str(item))
        overrides.append(given)
        names.append(folder.name)
        measured.append(json.loads(metrics.read_text()))
        config = folder / "config.yaml"
        watched.append(watched_by(yaml.safe_load(config.read_text()) if config.is_file() else {}))
    return tabulated(names, overrides, measured, watched)


def watched_by(config: Mapping[str, Any]) -> str | None:
    """The figure by which a run with this configuration chose its best epoch, such as `val/dice_pooled`."""
    checkpoint = ((config or {}).get("callbacks") or {}).get("checkpoint") or {}
    return checkpoint.get("monitor")


def tabulated(
    names: Sequence[str],
    settings: Sequence[Mapping[str, str]],
    measured: Sequence[Mapping[str, float | None]],
    watched: Sequence[str | None] = (),
) -> pd.DataFrame:
    """One row a run: `run`, those of its `settings` that differ, then the figures that any has.

    `measured` are the contents of their metrics.json. The figures are the test set's, behind that of validation which
    all runs `watched` to choose their best epoch; where they watched several, the first in `FIGURES`.
    """
    if not names:
        return pd.DataFrame()
    ranked = _ranking(measured, watched)
    rows = [
        {"run": name, VALIDATION: figures.get(f"val/{ranked}")}
        | {figure: figures.get(f"test/{figure}") for figure in FIGURES}
        for name, figures in zip(names, measured, strict=True)
    ]
    keys = list(dict.fromkeys(key for given in settings for key in given))
    differ = [key for key in keys if len({given.get(key) for given in settings}) > 1]
    columns = dict.fromkeys((VALIDATION, *FIGURES), float)
    table = pd.DataFrame(rows).astype(columns).dropna(axis="columns", how="all")
    table.attrs[VALIDATION] = ranked
    for place, key in enumerate(differ):
        name = f"{key} (chosen)" if key in table else key  # loss is a group and a figure
        table.insert(1 + place, name, [given.get(key, "") for given in settings])
    return table


def _ranking(runs: Sequence[Mapping[str, float | None]], watched: Sequence[str | None]) -> str:
    """The figure that ranks: the one that all runs watched, or the first that validation defines in all, or in most."""
    name = watched[0] if len({*watched}) == 1 else None
    if name and all(run.get(name) is not None for run in runs):
        return name.removeprefix("val/")
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


def comparison_tables(table: pd.DataFrame, intervals: Intervals | None = None) -> list[Table]:
    """For the screen: the runs, the best on validation first, and each experiment that was repeated, mean ± SD."""
    shown = [grid(leaderboard(table, intervals), "test set, the best on validation first")]
    means = spread(table)
    return shown if means.empty else [*shown, grid(means, means.attrs["title"])]


def leaderboard(table: pd.DataFrame, intervals: Intervals | None = None) -> pd.DataFrame:
    """The runs as text, the best on validation first; the index is that of `table`.

    `intervals`, run → figure → interval, are shown in place of the bare figures.
    """
    figures = [name for name in FIGURES if name in table]
    settings = [name for name in table.columns if name not in (*figures, "run", VALIDATION)]
    if intervals is None:
        named = bool(settings) and not table.duplicated(settings).any()  # what differs says which run it is
        left = settings if named else ["run", *settings]
    else:  # these runs have names that further tables refer to, and one number of images
        told = all(str(row[name]) in row["run"] for row in table.to_dict("records") for name in settings)
        left = ["run"] if told else ["run", *settings]
        figures = [name for name in figures if name not in ("loss", "images")]
    by = table.attrs.get(VALIDATION, "")
    ranked = table
    if VALIDATION in table:
        ranked = table.sort_values(VALIDATION, ascending=by.endswith("loss") or by.startswith("false_"), kind="stable")
    cells = ranked[left].astype(str)
    if VALIDATION in table:
        cells[f"validation {title_of(by)}"] = ranked[VALIDATION].map(_figure)
    for name in figures:
        known = {run: of[name] for run, of in (intervals or {}).items() if name in of}
        pairs = zip(ranked["run"], ranked[name], strict=True)
        cells[title_of(name)] = [str(known[run]) if run in known else _figure(value) for run, value in pairs]
    return cells


def spread(table: pd.DataFrame) -> pd.DataFrame:
    """What `repeated` gives as text, mean ± SD a figure; `attrs["title"]` says over what. Empty where none does."""
    means = repeated(table)
    if means.empty:
        return means
    figures = [name for name in FIGURES if name in table]
    settings = [name for name in table.columns if name not in (*figures, "run", VALIDATION)]
    kept = [name for name in settings if name not in REPEATED]
    rows = []
    for key, mean in means.iterrows():
        values = [str(value) for value in (key if isinstance(key, tuple) else (key,))] if kept else []
        values_of = {name: (mean[(name, "mean")], mean[(name, "sd")]) for name in figures if name != "images"}
        cells = ["–" if pd.isna(value) else f"{value:.4f} ± {sd:.4f}" for value, sd in values_of.values()]
        rows.append([*values, str(int(mean[("runs", "")])), *cells])
    names = [*kept, "runs", *(title_of(name) for name in figures if name != "images")]
    cells_of_all = pd.DataFrame(rows, columns=names)
    over = " and ".join(name.rsplit(".", 1)[-1] + "s" for name in REPEATED if name in table)
    cells_of_all.attrs["title"] = f"mean ± SD over {over}"
    return cells_of_all


def _figure(value: float) -> str:
    if pd.isna(value):
        return "undefined"
    return f"{value:.0f}" if float(value).is_integer() and value > 1 else f"{value:.4f}"
