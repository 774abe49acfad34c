"""A run again, from its folder alone: the same configuration, the same split, and a comparison with what it found."""

import json
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import torch
import yaml
from omegaconf import OmegaConf

from pulmo import finders
from pulmo.checkpoint import best_checkpoint
from pulmo.environment import COMPOSED, described
from pulmo.finished import opened
from pulmo.launch import answered, quiet, told

MEASURED_TIME = ("seconds", "images_per_second")
"""Endings of figures that no two runs share."""


def rerun(run: Path, folder: Path, overrides: Sequence[str]) -> None:
    """Train and test as `run` did, in the new `folder`, then say which figures differ.

    `overrides` change plain values, such as `data.root` on another machine; groups were chosen by the run. Raises
    `RunError` where the folder lacks what a rerun needs.
    """
    from pulmo.run import train

    config = opened(run).recorded(folder, overrides)
    for line in differences_of_environment(run):
        logging.getLogger(__name__).warning("%s: digits may differ", line)
    stored = run / "overrides.yaml"
    before: list[str] = yaml.safe_load(stored.read_text()) or [] if stored.is_file() else []
    if (run / finders.FILE).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / finders.FILE, folder / finders.FILE)  # for a rerun that is cut off, and resumed
    train(config, folder, [*before, *overrides])
    print(comparison(run, folder))
    print(folder, flush=True)


def differences_of_environment(run: Path) -> list[str]:
    """What of this machine and its packages is other than it was, a line each."""
    path = run / "environment.json"
    if not path.is_file():
        return [f"{run} has no environment.json to compare with"]
    then, now = json.loads(path.read_text()), described()
    lines = [
        f"{package} {now['packages'].get(package, 'not installed')}, was {version}"
        for package, version in then["packages"].items()
        if now["packages"].get(package) != version
    ]
    keys = ("python", "threads", "gpus", "commit")
    return lines + [f"{key} {now[key]}, was {then[key]}" for key in keys if key in then and then[key] != now[key]]


def comparison(run: Path, folder: Path) -> str:
    """Say whether figures and best weights are the run's, to the last digit; else which differ."""
    metrics = run / "metrics.json"
    if not metrics.is_file():
        return f"{run} has no metrics.json to compare with"
    theirs, ours = json.loads(metrics.read_text()), json.loads((folder / "metrics.json").read_text())
    figures = sorted(name for name in {*theirs, *ours} if not name.endswith(MEASURED_TIME))
    differ = [name for name in figures if theirs.get(name) != ours.get(name)]
    weights = _same_weights(run, folder)
    if not differ:
        return f"{len(figures)} figures equal to the last digit; best weights {weights}"
    lines = [f"  {name}: {theirs.get(name)} then, {ours.get(name)} now" for name in differ]
    return "\n".join([f"{len(differ)} of {len(figures)} figures differ; best weights {weights}", *lines])


def _same_weights(run: Path, folder: Path) -> str:
    paths = [best_checkpoint(place) for place in (run, folder)]
    if None in paths:
        return "not there to compare"
    states = [torch.load(path, map_location="cpu", weights_only=True, mmap=True)["state_dict"] for path in paths]  # type: ignore[arg-type]
    same = states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][key], states[1][key]) for key in states[0]
    )
    return "equal bit for bit" if same else "not equal"


def new_folder(run: Path) -> Path:
    """Where a run of the same data set and model would be, named by the time."""
    path = run / COMPOSED
    choices = OmegaConf.load(path).choices if path.is_file() else {"data": "no", "model": "run"}
    pair, time = f"{choices['data']}_{choices['model']}", f"{datetime.now():%Y-%m-%d_%H-%M-%S_%f}"
    return Path("outputs").resolve() / pair / time


def _log_into(folder: Path) -> None:
    """As Hydra does for a run: to the screen, and to `train.log`."""
    folder.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout), logging.FileHandler(folder / "train.log")]
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=handlers, force=True)


def main(run: Path, folder: Path, overrides: Sequence[str]) -> None:
    """What `pulmo rerun` does: mistakes and signals are told as those of a run."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    with answered(), told(folder):
        _log_into(folder)
        quiet()
        rerun(run.resolve(), folder, overrides)
