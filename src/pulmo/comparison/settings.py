"""What differs between the configurations of runs, leaf by leaf."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pulmo.errors import RunError
from pulmo.finished import FinishedRun

APART = ("run_dir", "resume", "trained_in", "predict", "report", "find", "sweep", "logger", "choices")
"""Keys at the top that say where a run stands, and nothing of what it is."""
PLACES = ("default_root_dir", "cache_dir", "save_dir", "folder", "dirpath", "root", "num_workers", "progress_bar")
"""Last parts of keys that differ from machine to machine."""
GROUPS = ("data", "model", "loss", "preprocess", "augment", "finetune", "threshold", "optimizer", "scheduler")

TIME = re.compile(r"^\d{4}-\d{2}-\d{2}_")
LACKING = "–"
LONGEST = 40  # characters of a name that is made of settings

Settings = dict[str, str]


def groups_of(run: FinishedRun) -> Settings:
    """Of `GROUPS` the option that the run chose; "" where it chose none."""
    return {group: run.choices.get(group, "") for group in GROUPS}


def leaves_of(run: FinishedRun) -> Settings:
    """Dotted key → value as text, of all that could make a run another; of paths only the file's name."""
    try:
        container: Any = OmegaConf.to_container(run.config)
    except RunError:
        return {}
    leaves: Settings = {}

    def walk(node: Any, path: tuple[str, ...]) -> None:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                if not (path or key not in APART) or key in PLACES:
                    continue
                walk(value, (*path, str(key)))
        else:
            leaves[".".join(path)] = _text(node)

    walk(container, ())
    return leaves


def _text(value: Any) -> str:
    if isinstance(value, str) and (value.startswith(("/", "~/")) or ("/" in value and Path(value).suffix == ".csv")):
        return Path(value).name
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def differing(settings: Sequence[Mapping[str, str]]) -> list[Settings]:
    """Of each run only what not all runs have alike; of copies, as preprocess.size and data.preprocess.size, one."""
    keys = sorted({key for chosen in settings for key in chosen}, key=lambda key: (key.count("."), key))
    kept: dict[tuple[str, ...], str] = {}
    for key in keys:
        values = tuple(chosen.get(key, LACKING) for chosen in settings)
        if len(set(values)) > 1:
            kept.setdefault((key.rsplit(".", 1)[-1], *values), key)
    return [{key: chosen.get(key, LACKING) for key in kept.values()} for chosen in settings]


def telling(runs: Sequence[FinishedRun]) -> list[Settings]:
    """What tells the runs apart in a few words: the groups, then the values that no choice of a group explains.

    A value is explained where runs of the same groups have it alike, and no run was given it by hand.
    """
    groups = [groups_of(run) for run in runs]
    by_hand = {item.partition("=")[0].lstrip("+~") for run in runs for item in run.overrides}
    leaves = differing([leaves_of(run) for run in runs])
    chosen = differing(groups)
    kinds = [tuple(group.values()) for group in groups]

    def explained(key: str) -> bool:
        seen: dict[tuple[str, ...], set[str]] = {}
        for kind, leaf in zip(kinds, leaves, strict=True):
            seen.setdefault(kind, set()).add(leaf[key])
        lacking = key.endswith("_target_") or any(leaf[key] == LACKING for leaf in leaves)  # of another version
        return key not in by_hand and (lacking or all(len(values) == 1 for values in seen.values()))

    further = [key for key in (leaves[0] if leaves else {}) if not explained(key)]
    return [group | {key: leaf[key] for key in further} for group, leaf in zip(chosen, leaves, strict=True)]


def labels_of(runs: Sequence[FinishedRun], settings: Sequence[Settings]) -> list[str]:
    """A name for each run, all different: its folder's, unless that is a time; then by its settings, or both parts."""
    folders = [run.folder.resolve().name for run in runs]
    spoken = [
        ", ".join(
            f"{key.rsplit('.', 1)[-1]} {value}" if "." in key or key == "seed" else value for key, value in own.items()
        )
        for own in settings
    ]
    names = [run.name for run in runs]
    tries = [names] if any(map(TIME.match, folders)) else [folders, names]
    if any(map(TIME.match, folders)) and max(map(len, spoken)) <= LONGEST:
        tries.insert(0, spoken)
    return next((one for one in tries if len(set(one)) == len(runs) and all(one)), [str(run.folder) for run in runs])
