"""The jobs of a sweep: their folders, who shares a training, and what is left to do of each."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from pulmo.earlier_runs import training_values
from pulmo.errors import ConfigError
from pulmo.run_state import State, read, write

LIST, COMMAND = "jobs.yaml", "command.yaml"
LONGEST = 120  # characters of a folder's name
OF_THE_SWEEP = ("sweep.resume=", "hydra.sweep.dir=")
"""Overrides that say which sweep, not what it runs."""
HOW = ("launcher=", "hydra/launcher=", "hydra.launcher.", "hydra.sweeper.", "hydra/sweeper")
"""Overrides that say how and how many: they may change when a sweep goes on."""


@dataclass(frozen=True)
class Job:
    """One run of a sweep: its folder's name, its overrides, and the job whose training it takes over, if any."""

    name: str
    overrides: tuple[str, ...]
    training: str | None = None


def jobs_of(combinations: Sequence[Sequence[str]], compose: Callable[[Sequence[str]], DictConfig]) -> list[Job]:
    """Name each combination by what differs, and find those whose training is the same.

    `compose` gives the configuration of some overrides. Jobs share a training where they differ by the threshold
    alone, and nothing that is watched while training depends on a cut-off; the first of them trains.
    """
    names = _names(combinations)
    trained: dict[str, str] = {}
    jobs = []
    for name, overrides in zip(names, combinations, strict=True):
        key = training_key(compose(overrides))
        first = name if key is None else trained.setdefault(key, name)
        jobs.append(Job(name, tuple(overrides), None if first == name else first))
    return jobs


def training_key(config: DictConfig) -> str | None:
    """What training depends on, as a digest: equal where runs differ by their threshold alone.

    None where the threshold plays a part in training, such as choosing the epoch by Dice at the fitted cut-off.
    """
    task = get_class(config.model.task["_target_"])
    watched = {config.model.task.monitor}
    watched |= {part.monitor for part in config.callbacks.values() if part is not None and "monitor" in part}
    if any(figure.startswith("val/") and figure[4:] not in task.threshold_free for figure in watched):
        return None
    values = training_values(OmegaConf.to_container(config))
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def _names(combinations: Sequence[Sequence[str]]) -> list[str]:
    """Such as resnet18_kermany_lr=0.001_seed=2: the values of what differs, a bare one where it is a group's."""
    given = [{key: value for key, _, value in (item.partition("=") for item in chosen)} for chosen in combinations]
    keys = list(dict.fromkeys(key for chosen in given for key in chosen))
    differ = [key for key in keys if len({chosen.get(key) for chosen in given}) > 1]
    short = {key: key.rsplit(".", 1)[-1] for key in differ}
    names = []
    for chosen in given:
        parts = [
            _part(key if list(short.values()).count(short[key]) > 1 else short[key], chosen[key], "." in key)
            for key in differ
            if key in chosen
        ]
        names.append("_".join(parts) or "job")
    return [_distinct(name, number, names) for number, name in enumerate(names)]


def _part(key: str, value: str, is_value: bool) -> str:
    value = re.sub(r"[^\w.+-]+", " ", value).strip().replace(" ", "-") or "empty"
    return f"{key.lstrip('+~')}={value}" if is_value or re.fullmatch(r"[\d.+e-]+|true|false|null", value) else value


def _distinct(name: str, number: int, names: Sequence[str]) -> str:
    """The name itself, unless it is too long for a folder or, without its odd characters, another's too."""
    if len(name) <= LONGEST and names.count(name) == 1:
        return name
    return f"{name[:LONGEST]}_{number}"


def asked(arguments: Sequence[str]) -> list[str]:
    """What a command line asks a sweep to run, in whatever order: not which sweep it is, nor how its jobs are run."""
    aside = (*OF_THE_SWEEP, *HOW)
    return sorted(item for item in arguments if item not in ("-m", "--multirun") and not item.startswith(aside))


def begin(folder: Path, arguments: Sequence[str], jobs: Sequence[Job]) -> None:
    """Write down the sweep's command and its jobs.

    Raises `ConfigError` where the folder has the sweep of another command.
    """
    remember(folder, arguments)
    rows = [{"name": job.name, "training": job.training, "overrides": list(job.overrides)} for job in jobs]
    (folder / LIST).write_text(yaml.safe_dump(rows, allow_unicode=True, sort_keys=False))


def remember(folder: Path, arguments: Sequence[str]) -> None:
    """Write down the command, by which `newest` finds the sweep.

    Raises `ConfigError` where the folder has the sweep of another command.
    """
    command, now = folder / COMMAND, asked(arguments)
    if command.is_file() and (before := yaml.safe_load(command.read_text())) != now:
        there = " ".join(item for item in before if item not in now)
        here = " ".join(item for item in now if item not in before)
        raise ConfigError(
            f"{folder} has the sweep of another command (there {there or 'no more'}; here {here or 'no more'}): "
            "give another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    command.write_text(yaml.safe_dump(now, allow_unicode=True))


def begun(folder: Path) -> list[Job]:
    """The jobs of a sweep that has begun; none where the folder is no sweep's."""
    path = folder / LIST
    rows = yaml.safe_load(path.read_text()) if path.is_file() else []
    return [Job(row["name"], tuple(row["overrides"]), row["training"]) for row in rows]


def newest(arguments: Sequence[str], under: Path = Path("outputs/multirun")) -> Path:
    """Folder of the newest sweep of this command; raises `ConfigError` if there is none."""
    stamps = sorted(under.glob(f"*/{COMMAND}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in stamps:
        if yaml.safe_load(path.read_text()) == asked(arguments):
            return path.parent.resolve()
    raise ConfigError(f"sweep.resume=true: no sweep of this very command in {under}; leave it out to begin one")


def state_of(folder: Path, job: Job) -> State | None:
    """Where a job of the sweep in `folder` stands; None where it has not begun."""
    return read(folder / job.name).get("state")


def left_to_do(folder: Path, job: Job) -> list[str] | None:
    """Overrides that begin the job in the sweep's `folder` or go on with it; None where it is done, or runs."""
    if state_of(folder, job) in (State.FINISHED, State.PRUNED, State.RUNNING):
        return None
    shared = [] if job.training is None else [f"trained_in='{(folder / job.training).resolve()}'"]
    return [*job.overrides, f"hydra.sweep.subdir='{job.name}'", *shared]


def has_its_training(folder: Path, job: Job) -> bool:
    """Whether the training that the job shares is done; put down as the job's failure where it has failed."""
    if job.training is None or (state := read(folder / job.training).get("state")) == State.FINISHED:
        return True
    if state == State.FAILED and state_of(folder, job) != State.FINISHED:
        (folder / job.name).mkdir(exist_ok=True)
        write(folder / job.name, State.FAILED, f"{job.training}, whose training it shares, has failed")
    return False


def note_failure(place: Path, cause: object, began: datetime) -> None:
    """Put down that a job failed whose process could not say so: refused, or killed; `began` is its launch."""
    known = read(place)
    if known.get("state") in (State.FINISHED, State.PRUNED, State.RUNNING):
        return
    ended = known.get("ended")
    if ended is not None and datetime.fromisoformat(ended) >= began.replace(microsecond=0):
        return  # it has said so itself
    place.mkdir(parents=True, exist_ok=True)
    write(place, State.FAILED, str(cause).strip().splitlines()[-1] if str(cause).strip() else type(cause).__name__)
