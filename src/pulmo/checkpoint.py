"""What a run's best checkpoint is, and what a checkpoint must hold for `Task.load_from_checkpoint`."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf


def best_checkpoint(run: str | Path) -> Path | None:
    """The best checkpoint of a run's folder; None where it has none."""
    path = Path(run).expanduser() / "checkpoints" / "best.ckpt"
    return path if path.is_file() else None


def run_of_weights(weights: str | Path) -> Path | None:
    """The run in whose folder a file of weights lies; None where it lies in none that says on whom it was trained."""
    path = Path(weights).expanduser()
    folder = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    return folder if path.is_file() and (folder / "split.csv").is_file() else None


def origin(config: DictConfig, class_names: list[str], further: dict[str, Any]) -> dict[str, Any]:
    """Plain values from which a task is rebuilt, and a reader knows how images were prepared.

    `further` are plain arguments of the task in place of those in `config`.
    """
    task: Any = OmegaConf.to_container(config.model.task, resolve=True)
    if "weights" in task["net"]:
        task["net"]["weights"] = "none"  # the checkpoint holds them
    preprocess = OmegaConf.to_container(config.preprocess, resolve=True)
    return {"task": {**task, **further}, "preprocess": preprocess, "class_names": class_names}
