"""What was run, where, and the command that runs it again."""

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pulmo import run_state
from pulmo.finished import FinishedRun
from pulmo.report.html import Block, Facts, Fold, Text
from pulmo.run_state import State

GROUPS = (
    "data",
    "model",
    "loss",
    "preprocess",
    "augment",
    "finetune",
    "threshold",
    "optimizer",
    "scheduler",
    "strategy",
)
VALUES = {
    "image side": "preprocess.size",
    "weights": "model.weights",
    "epochs at most": "trainer.max_epochs",
    "batch": "data.batch_size",
    "learning rate": "model.optimizer.lr",
    "precision": "trainer.precision",
    "seed": "seed",
}


def what(run: FinishedRun) -> list[Block]:
    """The choices that make the run, and its values in short."""
    chosen = run.choices
    facts = {group: chosen[group] for group in GROUPS if group in chosen}
    for name, key in VALUES.items():
        value = OmegaConf.select(run.config, key)
        if value is not None:
            facts[name] = Path(value).name if str(value).startswith("/") else str(value)
    return [Facts(facts)]


def whole(run: FinishedRun) -> list[Block]:
    """All of its configuration, behind a click."""
    return [Fold("config.yaml, as it was resolved", [Text(OmegaConf.to_yaml(run.config), "code")])]


def again(run: FinishedRun) -> list[Block]:
    """The commands that run it again."""
    blocks: list[Block] = [
        Text("From its folder alone, with its split; with data.root=FOLDER where the images lie elsewhere:"),
        Text(f"pulmo rerun {shlex.quote(str(run.folder))}", "code"),
    ]
    if run.has("overrides.yaml"):
        blocks += [
            Text("As it was typed, from a checkout of its commit:"),
            Text(shlex.join(["python", "train.py", *run.overrides]), "code"),
        ]
    return blocks


def environment(run: FinishedRun) -> list[Block]:
    """Machine, versions, times."""
    known: dict[str, Any] = run.environment
    facts: dict[str, str] = {}
    state = run_state.read(run.folder)
    if known.get("started"):
        facts["started"] = str(known["started"])
    if state.get("began") and (state.get("ended") or state["state"] is State.RUNNING):  # it is about to end
        ended = datetime.fromisoformat(state["ended"]) if state.get("ended") else datetime.now(UTC)
        facts["took"] = _duration((ended - datetime.fromisoformat(state["began"])).total_seconds())
    speed = run.metrics.get("train/images_per_second") if run.has("metrics.json") else None
    if speed:
        facts["training speed"] = f"{speed:,.0f} images/s"
    facts["GPU"] = ", ".join(known.get("gpus") or []) or "none"
    for name in ("cores", "threads", "python"):
        if known.get(name) is not None:
            facts[name] = str(known[name])
    packages = ", ".join(f"{name} {version}" for name, version in (known.get("packages") or {}).items())
    long = {"system": known.get("system"), "commit": known.get("commit"), "packages": packages}
    if not known:
        return [Text("The folder has no environment.json: the machine and its packages are not known.", "warning")]
    return [Facts(facts), Facts({name: str(value) for name, value in long.items() if value})]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
