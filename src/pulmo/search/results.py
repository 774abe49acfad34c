"""What came of a search: the table, `trials.csv`, `best.yaml` and the figures, in the sweep's folder."""

import logging
import math
import shlex
import warnings
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import yaml
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from rich import box
from rich.table import Table

from pulmo.environment import OF_THE_FOLDER
from pulmo.report.figures import save
from pulmo.report.search import search_history, search_importance
from pulmo.search.space import Space

log = logging.getLogger(__name__)


def trials_table(study: Study) -> pd.DataFrame:
    """One row a trial, the best first, then pruned, running and failed ones.

    Columns: `trial`, `value` (of a pruned one the last that it reported, of a running one too), `state`, `seconds`,
    the values drawn, `cause` of a failure or a pruning, `folder`.
    """
    rows = []
    for trial in study.get_trials(deepcopy=False):
        signed = trial.user_attrs
        rows.append(
            {
                "trial": trial.number,
                "value": _value(trial),
                "state": trial.state.name.lower(),
                "seconds": _seconds(trial),
            }
            | trial.params
            | {"cause": signed.get("cause", ""), "folder": signed.get("folder", "")}
        )
    if not rows:
        return pd.DataFrame(columns=["trial", "value", "state", "seconds", "cause", "folder"])
    table = pd.DataFrame(rows)
    table = table[[name for name in table.columns if name not in ("cause", "folder")] + ["cause", "folder"]]
    order = table["state"].map({"complete": 0, "pruned": 1, "running": 2, "waiting": 3, "fail": 4})
    better_first = table["value"] if study.direction is StudyDirection.MINIMIZE else -table["value"]
    return (
        table.assign(order=order, by=better_first).sort_values(["order", "by", "trial"]).drop(columns=["order", "by"])
    )


def write_results(study: Study, space: Space, folder: Path, monitor: str) -> Table:
    """Write all that there is of it by now; give the table for the screen."""
    table = trials_table(study)
    table.to_csv(folder / "trials.csv", index=False)
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if done:
        best = yaml.safe_dump(_best(study, space), sort_keys=False, allow_unicode=True, width=math.inf)
        (folder / "best.yaml").write_text(best)  # a command on one line can be copied
    minimize = study.direction is StudyDirection.MINIMIZE
    save(search_history(table, monitor, minimize=minimize), folder / "search_history.png")
    shares = importance(study)
    if shares:
        save(search_importance(shares, len(done), monitor), folder / "search_importance.png")
    else:
        log.info("no search_importance.png: it takes two finished trials that differ in their values and their figure")
    return _for_screen(table, monitor)


def importance(study: Study) -> dict[str, float]:
    """Share of each parameter in how much the figure varied over finished trials; empty where that says nothing.

    By functional ANOVA (Hutter et al. 2014, ICML). Optuna 5 takes another by default, which looks at the best tenth of
    the trials: of the few that a search of networks has, that is one or two.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    differ = [
        key for key in (done[0].params if done else ()) if len({str(trial.params.get(key)) for trial in done}) > 1
    ]
    if len(done) < 2 or not differ or len({trial.value for trial in done}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    shares = {key: float(share) for key, share in found.items()}
    return shares if all(map(math.isfinite, shares.values())) and sum(shares.values()) > 0 else {}


def _best(study: Study, space: Space) -> dict[str, Any]:
    best = study.best_trial
    overrides = [
        override for override in space.overrides(best.params) if not override.lstrip("+").startswith(OF_THE_FOLDER)
    ]
    return {
        "trial": best.number,
        "value": best.value,
        "folder": best.user_attrs.get("folder"),
        "overrides": overrides,
        "command": shlex.join(["python", "train.py", *overrides]),
    }


def _value(trial: FrozenTrial) -> float:
    if trial.state is TrialState.COMPLETE and trial.value is not None:
        return trial.value
    reported = trial.intermediate_values
    return reported[max(reported)] if reported else math.nan


def _seconds(trial: FrozenTrial) -> float:
    return float(trial.user_attrs.get("seconds", math.nan))


def _for_screen(table: pd.DataFrame, monitor: str) -> Table:
    names = [name for name in table.columns if name not in ("trial", "value", "state", "seconds", "cause", "folder")]
    shown = Table(title="trials, by validation", box=box.SIMPLE_HEAD, padding=0)
    for heading in ("trial", monitor, "state", "seconds"):
        shown.add_column(heading, no_wrap=True)
    for heading in _short_names(names):
        shown.add_column(heading, overflow="fold")
    for row in table.to_dict("records"):
        values = ["" if pd.isna(row["value"]) else f"{row['value']:.4f}", row["state"]]
        seconds = "" if pd.isna(row["seconds"]) else f"{row['seconds']:.0f}"
        shown.add_row(str(row["trial"]), *values, seconds, *(_short(row[name]) for name in names))
    return shown


def _short_names(keys: list[str]) -> list[str]:
    """The last part of each key, or the whole key where two end alike."""
    last = [key.rpartition(".")[2] for key in keys]
    return [name if last.count(name) == 1 else key for name, key in zip(last, keys, strict=True)]


def _short(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.1e}" if abs(value) < 0.001 and value else f"{value:.2g}"
    return str(value)
