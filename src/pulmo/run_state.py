"""Where a run stands, as its folder tells: for sweeps, which must know what to skip, to go on with and to retry."""

import json
import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pulmo.errors import RunError

FILE, LOCK = "state.json", ".lock"


class State(StrEnum):
    """What has become of a run."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"  # a mistake or a defect; `cause` in state.json says which
    INTERRUPTED = "interrupted"  # by Ctrl-C, SIGTERM or a scheduler; a checkpoint was saved where there was one to save
    PRUNED = "pruned"  # ended by a search, since others did better
    CUT_OFF = "cut off"  # it says that it runs, and no process holds its lock: killed, or the machine went down


def write(folder: Path, state: State, cause: str | None = None) -> None:
    """Note in `state.json` what has become of the run in `folder`, and when; called by one process of a run."""
    path = folder / FILE
    known = json.loads(path.read_text()) if path.is_file() else {}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    began = now if state is State.RUNNING else known.get("began", now)
    ended = None if state is State.RUNNING else now
    part = path.with_suffix(".part")  # renamed, so that a reader never sees half of it
    part.write_text(json.dumps({"state": state, "began": began, "ended": ended, "cause": cause}, indent=2) + "\n")
    part.replace(path)


def read(folder: Path) -> dict[str, Any]:
    """The content of `state.json`, `state` as a `State`; an empty dict where no run has begun.

    Raises `RunError` where it cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        known: dict[str, Any] = dict(json.loads(path.read_text()))
        known["state"] = State(known["state"])
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise RunError(f"{path} cannot be read: {str(error) or type(error).__name__}") from error
    if known["state"] is State.RUNNING and not is_held(folder):
        known["state"] = State.CUT_OFF
    return known


def holds_a_run(folder: Path) -> bool:
    """Whether the folder has what a new run would overwrite: one that has ended, or a checkpoint to go on from."""
    state = read(folder).get("state")
    if state in (State.FINISHED, State.PRUNED) or (folder / "checkpoints" / "last.ckpt").is_file():
        return True
    return state is None and ((folder / "checkpoints").exists() or (folder / "metrics.json").exists())


def is_held(folder: Path) -> bool:
    """Whether a living process trains in the folder."""
    if not (folder / LOCK).is_file():
        return False
    for pause in (0.05, 0.0):  # another process may ask at the same moment, which takes the lock too
        try:
            with FileLock(folder / LOCK, timeout=0):
                return False
        except Timeout:
            time.sleep(pause)
    return True
