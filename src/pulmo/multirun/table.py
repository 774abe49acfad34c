"""How far a sweep has come, and its leaderboard."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pandas as pd
from rich.live import Live
from rich.table import Table

from pulmo.errors import ConfigError
from pulmo.multirun.jobs import COMMAND, LIST, Job, begun
from pulmo.report.comparison import FIGURES, VALIDATION, compared, comparison_tables
from pulmo.report.screen import screen
from pulmo.run_state import State, read

WAITING = "waiting"
MOST = 20  # rows of the table; of longer sweeps those that have begun and are not finished come first
ORDER = (State.RUNNING, State.FAILED, State.CUT_OFF, State.INTERRUPTED, State.PRUNED, State.FINISHED, WAITING)


def progress(folder: Path) -> pd.DataFrame:
    """One row a job: `job`, `state`, `epochs` done, `minutes`, the test figures that there are, and `cause`.

    Raises `ConfigError` where the folder is no sweep's.
    """
    jobs = begun(folder)
    if not jobs and (folder / COMMAND).is_file():
        raise ConfigError(f"{folder} is a search's: see its trials.csv, or its study.db where it runs still")
    if not jobs:
        raise ConfigError(f"{folder} is no sweep's folder: it has no {LIST}")
    return pd.DataFrame([_row(folder, job) for job in jobs])


def newest_sweep(under: Path = Path("outputs/multirun")) -> Path:
    """Folder of the sweep begun last; raises `ConfigError` if there is none."""
    found = max(under.glob(f"*/{COMMAND}"), key=lambda path: path.stat().st_mtime, default=None)
    if found is None:
        raise ConfigError(f"no sweep in {under}: give its folder")
    return found.parent


def _row(folder: Path, job: Job) -> dict[str, Any]:
    place = folder / job.name
    known = read(place)
    state = known.get("state", WAITING)
    row: dict[str, Any] = {"job": job.name, "state": str(state), "epochs": 0, "minutes": 0.0}
    if known:
        ended = datetime.fromisoformat(known["ended"]) if known["ended"] else datetime.now(UTC)
        row["minutes"] = (ended - datetime.fromisoformat(known["began"])).total_seconds() / 60
    history, metrics = place / "history.csv", place / "metrics.json"
    if history.is_file():
        row["epochs"] = len(pd.read_csv(history))
    if state == State.FINISHED and metrics.is_file():
        figures = json.loads(metrics.read_text())
        row |= {name: figures[f"test/{name}"] for name in FIGURES if figures.get(f"test/{name}") is not None}
    return row | {"cause": known.get("cause") or ""}


def progress_table(table: pd.DataFrame) -> Table:
    """For the screen: the counts as its title, a row a job with the first two of its figures."""
    counts = Counter(table["state"])
    title = f"{counts[State.FINISHED]} of {len(table)} finished"
    title += "".join(f", {counts[state]} {state}" for state in ORDER if state != State.FINISHED and counts[state])
    figures = [name for name in FIGURES if name in table][:2]
    shown = Table("job", "state", "epochs", "minutes", *(name.replace("_", " ") for name in figures), title=title)
    ranks = table["state"].map({str(state): rank for rank, state in enumerate(ORDER)})
    kept = table if len(table) <= MOST else table.loc[ranks.sort_values(kind="stable").index[:MOST]]
    for row in kept.to_dict("records"):
        values = ["" if pd.isna(row[name]) else f"{row[name]:.4f}" for name in figures]
        begun_it = row["state"] != WAITING
        numbers = [str(row["epochs"]), f"{row['minutes']:.1f}"] if begun_it else ["", ""]
        shown.add_row(row["job"], row["state"], *numbers, *values)
    if len(table) > MOST:
        shown.caption = f"{len(table) - MOST} further jobs: see progress.csv"
    return shown


def tell_begin(folder: Path, name: str) -> None:
    """Say which job begins, or goes on."""
    names = [job.name for job in begun(folder)]
    if name in names:  # a search makes its jobs as it goes
        screen().print(f"job {names.index(name) + 1} of {len(names)}: {name}", style="bold", markup=False)


def tell_progress(folder: Path) -> None:
    """Write `progress.csv` and print it."""
    table = progress(folder)
    _write(table, folder / "progress.csv")
    screen().print(progress_table(table))


def watch(folder: Path, seconds: float = 5.0) -> None:
    """Keep the progress on the screen until every job has come to an end."""
    with Live(progress_table(progress(folder)), refresh_per_second=1) as shown:
        while {State.RUNNING, WAITING} & set(progress(folder)["state"]):
            time.sleep(seconds)
            shown.update(progress_table(progress(folder)))


@contextmanager
def watched(folder: Path, seconds: float = 2.0) -> Iterator[None]:
    """Tell the progress whenever a job begins or ends, while other processes or machines run them."""
    stop = Event()

    def watch() -> None:
        told: list[str] = []
        while not stop.wait(seconds):
            table = progress(folder)
            if list(table["state"]) != told and set(table["state"]) != {WAITING}:
                told = list(table["state"])
                tell_progress(folder)

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        tell_progress(folder)


def await_others(folder: Path, seconds: float = 1.0) -> None:
    """Wait until no job of the sweep runs."""
    while str(State.RUNNING) in set(progress(folder)["state"]):
        time.sleep(seconds)


def tell_result(folder: Path) -> tuple[int, int]:
    """Write `comparison.csv`, print the leaderboard and the causes of failures.

    Gives the numbers of jobs that failed, and of those that came to no end otherwise.
    """
    console = screen()
    states = progress(folder)
    _write(states, folder / "progress.csv")
    runs = [folder / job.name for job in begun(folder)]
    table = compared([run for run in runs if read(run).get("state") == State.FINISHED])
    if len(table):
        _write(table.rename(columns={VALIDATION: f"val/{table.attrs[VALIDATION]}"}), folder / "comparison.csv")
        console.print(*comparison_tables(table), sep="\n")
    failed = states[states["state"] == State.FAILED]
    for row in failed.to_dict("records"):
        console.print(f"failed: {row['job']}: {row['cause']}", markup=False, soft_wrap=True)
    ended = states["state"].isin([State.FINISHED, State.PRUNED, State.FAILED])
    return len(failed), int((~ended).sum())


def _write(table: pd.DataFrame, path: Path) -> None:
    part = path.with_suffix(f".{id(table)}.part")  # several jobs may end at once
    table.to_csv(part, index=False)
    part.replace(path)
