"""Which run did how well on which test set: its own, and those of `pulmo evaluate`."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pulmo.comparison.settings import groups_of
from pulmo.comparison.tested import Tested
from pulmo.finished import FinishedRun
from pulmo.metrics.bootstrap import Interval
from pulmo.report.comparison import title_of

OWN = "trained on"


def matrix(runs: Sequence[Tested]) -> pd.DataFrame:
    """One row a run, with what it was trained on; one column a test set; cells are the runs' first figure as text.

    Empty where all were tested on one test set alone. Test sets of one name and another number of images are
    different ones.
    """
    rows = []
    for run in runs:
        name = run.primary
        images = "its own fold" if folds_of(run.run) else f"{len(run.table):,}"
        cells = {f"{data_of(run.run)} test ({images})": str(run.intervals[name])}
        cells |= _evaluated(run.run, name)
        rows.append({"run": run.label, OWN: data_of(run.run), "figure": title_of(name), **cells})
    table = pd.DataFrame(rows).fillna("")
    return table if len(table.columns) > 4 else pd.DataFrame()


def data_of(run: FinishedRun) -> str:
    """The data set that a run was trained on."""
    return groups_of(run)["data"] or "unknown data"


def folds_of(run: FinishedRun) -> int | None:
    """Into how many folds its data were cut; None where they were not."""
    data = run.config.get("data") if run.has("config.yaml") else None
    return data.get("folds") if data else None


def _evaluated(run: FinishedRun, name: str) -> dict[str, str]:
    """Test set → figure, of the run's folder `evaluations`; what cannot be read is left out."""
    cells = {}
    for folder in sorted((run.folder / "evaluations").glob("*/")):
        try:
            told = json.loads((folder / "evaluation.json").read_text())
            value = json.loads((folder / "metrics.json").read_text()).get(name)
        except (OSError, ValueError):
            continue
        if value is None:
            continue
        column = f"{folder.name.replace('_', ' ')} ({told.get('images', 0):,})"
        cells[column] = str(_interval(folder / "intervals.csv", name, float(value)))
    return cells


def _interval(path: Path, name: str, value: float) -> Interval:
    try:
        table = pd.read_csv(path)
        found = table.loc[table["figure"] == name, ["value", "low", "high"]].to_numpy(float)
        return Interval(*map(float, found[0]))
    except (OSError, ValueError, KeyError, IndexError):
        return Interval(value, float("nan"), float("nan"))
