"""What a run takes from the folder of an earlier one: its training, or its network as a source of masks or a gate."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from pulmo.callbacks.checkpoint import AtomicCheckpoints
from pulmo.callbacks.earlier_split import EarlierSplit
from pulmo.checkpoint import best_checkpoint
from pulmo.errors import ConfigError
from pulmo.predicted_masks import AutomaticMasks, lung_segmenter
from pulmo.tasks.base import Task
from pulmo.tasks.classification import ClassificationTask
from pulmo.tasks.trust import built, check
from pulmo.transforms.preprocess import Preprocess

NOT_OF_TRAINING = (
    *("threshold.", "model.task.threshold.", "choices."),
    *("run_dir.", "resume.", "trained_in.", "predict.", "report.", "sweep.", "logger.", "hydra."),
)
"""Beginnings of the dotted keys, a dot behind them, that training does not depend on."""


@dataclass(frozen=True)
class Gate:
    """A classifier that decides which images may have boxes: `arguments` of the task, and the same as plain values."""

    arguments: dict[str, Any]
    plain: dict[str, Any]
    check: EarlierSplit


def automatic_masks(config: DictConfig, run: Path) -> AutomaticMasks:
    """Masks by the best checkpoint of `run`, kept in the cache under the checkpoint's digest.

    Raises `ConfigError` where the run is none of a lung segmentation.
    """
    checkpoint = best_checkpoint(run)
    if checkpoint is None:
        raise ConfigError(f"preprocess.mask={run}: no checkpoints/best.ckpt there")
    task = lung_segmenter(Task.load_from_checkpoint(checkpoint), str(run))
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:16]
    folder = Path(config.data.cache_dir).expanduser() / "lung_masks" / digest
    return AutomaticMasks(task, built(task.origin["preprocess"], checkpoint), folder)


def gate(config: DictConfig) -> Gate | None:
    """The classifier that `model.task.gate` names; None where it names none.

    Raises `ConfigError` where it is no run of a classifier of two classes, trained on images prepared alike.
    """
    run = config.model.task.get("gate")
    if run is None:
        return None
    checkpoint = best_checkpoint(run)
    if checkpoint is None:
        raise ConfigError(f"model.task.gate={run}: no checkpoints/best.ckpt there; give the folder of a run")
    task = Task.load_from_checkpoint(checkpoint)
    if not isinstance(task, ClassificationTask) or not task.is_binary:
        raise ConfigError(f"model.task.gate={run} is no classifier of two classes: give a run such as model=resnet18")
    check(task.origin["preprocess"], checkpoint)
    theirs, ours = (_settings(part) for part in (task.origin["preprocess"], config.preprocess))
    differ = [f"preprocess.{key}={theirs[key]}" for key in theirs if key != "size" and theirs[key] != ours[key]]
    if differ:
        raise ConfigError(f"model.task.gate={run} was trained on images prepared otherwise: {', '.join(differ)}")
    rebuilt = {**task.origin["task"], "class_names": task.origin["class_names"]}
    size = {"gate_size": theirs["size"]}
    return Gate(
        {"gate": task, **size},
        {"gate": rebuilt, **size},
        EarlierSplit(Path(run).expanduser(), "model.task.gate", refuse=True),
    )


def check_training(config: DictConfig, run: Path, folder: Path) -> None:
    """See to it that the training of `run` is that of this run, which is made in `folder`.

    Raises `ConfigError` where more differs than the threshold, or the run has no checkpoint.
    """
    recorded = run / "config.yaml"
    if best_checkpoint(run) is None or not recorded.is_file():
        raise ConfigError(f"trained_in={run}: no checkpoints/best.ckpt and config.yaml there; give a finished run")
    if run.resolve() == folder.resolve():
        raise ConfigError(f"trained_in={run} is this run's own folder: give another run_dir")
    theirs, ours = (_resolved_training(each) for each in (OmegaConf.load(recorded), config))
    differ = sorted(key for key in {*theirs, *ours} if theirs.get(key) != ours.get(key))
    if differ:
        raise ConfigError(f"trained_in={run} was trained otherwise, see {', '.join(differ[:5])}: train anew")


def keep_training(task: Task, run: Path, folder: Path) -> None:
    """Make `folder` whole, as if it had been trained in: the best checkpoint of `run` with the task's own threshold.

    Split and history are copied, the latter without the figures at the other run's cut-off, and what the training
    took is told as `run` told it.
    """
    content = torch.load(run / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True, mmap=True)
    task.on_save_checkpoint(content)
    content |= {"optimizer_states": [], "lr_schedulers": []}  # nothing to go on with: that is `run`'s affair
    AtomicCheckpoints().save_checkpoint(content, folder / "checkpoints" / "best.ckpt")
    for name in ("split.csv", "skipped.csv", "identical_across_splits.csv"):
        if (run / name).is_file():
            shutil.copyfile(run / name, folder / name)
    if (run / "history.csv").is_file():
        history = pd.read_csv(run / "history.csv")
        at_its_cut_off = [
            name
            for name in history.columns
            if name.startswith("val/") and "@" not in name and name[4:] not in task.threshold_free
        ]
        history.drop(columns=at_its_cut_off).to_csv(folder / "history.csv", index=False)
    metrics = run / "metrics.json"
    known = json.loads(metrics.read_text()) if metrics.is_file() else {}
    task.figures |= {name: known[name] for name in ("epochs", "train/images_per_second") if known.get(name) is not None}


def _resolved_training(config: Any) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return training_values(plain, plain["trainer"]["default_root_dir"])


def training_values(plain: Any, own: str = "") -> dict[str, Any]:
    """Dotted keys and values of a configuration that training depends on; `own` folder is taken out of its paths."""
    values: dict[str, Any] = {}

    def walk(node: Any, path: str) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        if not isinstance(node, (dict, list)):
            values[path] = node.replace(own, "") if isinstance(node, str) and own else node
        for key, child in items:
            walk(child, f"{path}.{key}" if path else str(key))

    walk(plain, "")
    return {key: value for key, value in values.items() if not f"{key}.".startswith(NOT_OF_TRAINING)}


def _settings(preprocess: Any) -> dict[str, Any]:
    """What prepared images depend on."""
    plain = OmegaConf.to_container(preprocess, resolve=True) if OmegaConf.is_config(preprocess) else preprocess
    made: Preprocess = instantiate(plain)
    return made.settings
