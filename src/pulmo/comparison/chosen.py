"""Which runs a command line names: folders, patterns, sweeps, last; and which of them have nothing to compare."""

import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pulmo import run_state
from pulmo.errors import RunError
from pulmo.finished import FinishedRun, opened
from pulmo.run_folders import is_run, runs_below
from pulmo.run_state import State


@dataclass(frozen=True)
class Chosen:
    """Runs with test figures, why others are left out, and whether each argument named a single run."""

    runs: list[FinishedRun]
    left_out: dict[str, str] = field(default_factory=dict)
    by_name: bool = True


def chosen(arguments: Sequence[str]) -> Chosen:
    """The runs that the arguments stand for, each once, in their order.

    A folder that is no run's stands for all runs below it, such as the jobs of a sweep; so does each match of a
    pattern. Raises `RunError` where an argument names nothing, or no run at all has test figures.
    """
    found: dict[Path, FinishedRun] = {}
    by_name = True
    for argument in arguments:
        places = list(_places(argument))
        by_name &= _names_one(argument)
        found |= {place.resolve(): FinishedRun(place) for place in places}
    runs, left_out = [], {}
    for run in found.values():
        why = _unfinished(run)
        if why:
            left_out[str(run.folder)] = why
        else:
            runs.append(run)
    if not runs:
        first = "".join(f"; {folder}: {why}" for folder, why in list(left_out.items())[:1])
        raise RunError(f"none of {len(found)} runs has test figures to compare{first}")
    return Chosen(runs, left_out, by_name)


def _places(argument: str) -> Iterator[Path]:
    path = Path(argument).expanduser()
    if _names_one(argument):
        run = opened(argument)
        if run.other_checkpoint:
            raise RunError(
                f"{argument}: the figures in {run.folder} are of best.ckpt alone, and stand for no other checkpoint; "
                f"`pulmo evaluate {argument}` measures this one"
            )
        yield run.folder
        return
    matches = [path] if path.is_dir() else [Path(match) for match in glob.glob(str(path), recursive=True)]
    runs = {match for match in matches if is_run(match)}
    outside = [match for match in matches if match.is_dir() and not runs.intersection(match.parents)]
    below = {place for folder in outside for place in runs_below(folder)}
    if not below:
        raise RunError(f"{argument}: no run there; give folders of runs, of sweeps, a pattern in quotes, or last")
    yield from sorted(below, key=_natural)


def _names_one(argument: str) -> bool:
    path = Path(argument).expanduser()
    return argument == "last" or path.suffix == ".ckpt" or is_run(path)


def _natural(path: Path) -> list[tuple[int, str]]:
    """2 before 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(path))]


def _unfinished(run: FinishedRun) -> str | None:
    """Why a run has nothing to compare."""
    try:
        known = run_state.read(run.folder)
        _ = run.config if run.has("config.yaml") else None
        _ = run.overrides, run.environment
    except RunError as error:
        return str(error)
    state = known.get("state")
    if state not in (None, State.FINISHED):
        cause = known.get("cause")
        return f"{'still running' if state is State.RUNNING else state}{f': {cause}' if cause else ''}"
    if not run.has("metrics.json"):
        return "it has no metrics.json: it was not tested, or ended early"
    try:
        tested = any(name.startswith("test/") for name in run.metrics)
    except RunError as error:
        return str(error)
    return None if tested else "its metrics.json has no test figures"
