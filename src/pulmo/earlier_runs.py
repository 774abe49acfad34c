"""What a run takes from the folder of an earlier one: its network, as a source of lung masks or as a gate."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from pulmo.callbacks.earlier_split import EarlierSplit
from pulmo.checkpoint import best_checkpoint
from pulmo.errors import ConfigError
from pulmo.predicted_masks import AutomaticMasks, lung_segmenter
from pulmo.tasks.base import Task
from pulmo.tasks.classification import ClassificationTask
from pulmo.transforms.preprocess import Preprocess


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
    return AutomaticMasks(task, instantiate(task.origin["preprocess"]), folder)


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


def _settings(preprocess: Any) -> dict[str, Any]:
    """What prepared images depend on."""
    plain = OmegaConf.to_container(preprocess, resolve=True) if OmegaConf.is_config(preprocess) else preprocess
    made: Preprocess = instantiate(plain)
    return made.settings
