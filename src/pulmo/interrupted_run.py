"""What is left of a run that was interrupted: what is known so far, and how to go on."""

import json
import logging
import math
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pulmo import run_state
from pulmo.environment import in_sweep
from pulmo.interruption import Interrupted
from pulmo.run_state import State

log = logging.getLogger(__name__)

PLACES = {None: "before anything was begun", "fit": "before the first step", "predict": "the prediction"}


def leave(folder: Path, stop: Interrupted, stage: str | None, figures: Mapping[str, float]) -> None:
    """Write metrics.json and state.json, tell the user, and print the folder; called by one process.

    `stage` is what Lightning was last asked to do, `figures` are what was measured; where no validation was finished in
    this process, those of the last epoch of history.csv stand in. Nothing is measured now.
    """
    place = stop.place or PLACES.get(stage, "the test")
    cause = f"{stop.signal.name} {'' if place.startswith('before') else 'in '}{place}"
    known = _last_epoch(folder) | dict(figures)
    if any(name.startswith("val/") for name in known):
        write_metrics(folder, known)
    run_state.write(folder, State.INTERRUPTED, cause)
    last = folder / "checkpoints" / "last.ckpt"
    if last.is_file():
        held = "the checkpoint holds this very step" if stop.saved else "the weights were saved before"
        log.warning("interrupted by %s; %s: %s", cause, held, last)
        log.warning("to go on: %s", _command(folder))
    else:
        log.warning("interrupted by %s; there is no checkpoint yet: begin anew by the same command", cause)
    print(folder, flush=True)
    stop.told = True


def _command(folder: Path) -> str:
    if in_sweep():
        return "the same command with sweep.resume=true"
    script = Path(sys.argv[0])
    train = f"python {script}" if script.name == "train.py" and script.parent.name != "entry" else "pulmo train"
    return f"{train} resume={folder}"


def write_metrics(folder: Path, figures: Mapping[str, float]) -> None:
    """Write `metrics.json`, sorted by name; what is undefined is null. The old file or the new one is there, whole."""
    plain = {name: value if math.isfinite(value) else None for name, value in sorted(figures.items())}
    part = folder / "metrics.part"
    part.write_text(json.dumps(plain, indent=2) + "\n")
    part.replace(folder / "metrics.json")


def _last_epoch(folder: Path) -> dict[str, float]:
    path = folder / "history.csv"
    if not path.is_file():
        return {}
    history = pd.read_csv(path)
    last = history.iloc[-1].dropna()
    figures = {str(name): float(value) for name, value in last.items() if str(name).startswith(("train/", "val/"))}
    return figures | {"epochs": len(history)}
