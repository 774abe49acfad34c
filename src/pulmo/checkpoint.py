"""A task from its checkpoint alone, and what a checkpoint must hold for that."""

import pickle
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from pulmo.errors import PulmoError
from pulmo.tasks.base import Task


def load_task(checkpoint: str | Path) -> Task:
    """Rebuild a task from nothing but its checkpoint, on the CPU and ready to predict; runs no pickled code.

    Raises `PulmoError` if the file is no checkpoint of pulmo.
    """
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        origin = content["pulmo"]["origin"]
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, KeyError, TypeError) as error:
        raise PulmoError(f"{checkpoint} is no checkpoint of pulmo ({error})") from error
    task: Task = instantiate(OmegaConf.create(origin["task"]), class_names=origin["class_names"])
    task.origin = origin
    task.load_state_dict(content["state_dict"])
    task.on_load_checkpoint(content)
    return task.eval()


def best_checkpoint(run: str | Path) -> Path | None:
    """The best checkpoint of a run's folder; None where it has none."""
    path = Path(run).expanduser() / "checkpoints" / "best.ckpt"
    return path if path.is_file() else None


def origin(config: DictConfig, class_names: list[str], further: dict[str, Any]) -> dict[str, Any]:
    """Plain values from which `load_task` rebuilds the task, and a reader knows how images were prepared.

    `further` are plain arguments of the task in place of those in `config`.
    """
    task: Any = OmegaConf.to_container(config.model.task, resolve=True)
    if "weights" in task["net"]:
        task["net"]["weights"] = "none"  # the checkpoint holds them
    preprocess = OmegaConf.to_container(config.preprocess, resolve=True)
    return {"task": {**task, **further}, "preprocess": preprocess, "class_names": class_names}
