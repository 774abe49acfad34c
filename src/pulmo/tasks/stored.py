"""A task in its checkpoint: what is put in beside the weights, and how it is made again from nothing else."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Self

import torch
from pytorch_lightning import LightningModule

from pulmo.errors import PulmoError
from pulmo.tasks.trust import built


def content_of(path: str | Path | IO[bytes], map_location: Any = "cpu", *, mapped: bool = False) -> dict[str, Any]:
    """What a checkpoint of pulmo holds; with `mapped` weights are read from the disk as they are used.

    No pickled code is run. Raises `PulmoError` where the file is no checkpoint of pulmo.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True, mmap=mapped or None)
        known = {"task", "preprocess", "class_names"} - {*content["pulmo"]["origin"]}
        _ = content["state_dict"]
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError, LookupError, TypeError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        cause = getattr(error, "strerror", None) or said[0].partition(". ")[0]
        raise PulmoError(f"{path} is no checkpoint of pulmo ({cause})") from error
    if known:
        raise PulmoError(f"{path} is no checkpoint of pulmo (it lacks {', '.join(sorted(known))})")
    return content


class StoredTask(LightningModule):
    """A LightningModule whose checkpoint holds, as plain values, all that rebuilds it.

    origin          the task's configuration, the preprocessing and the class names
    threshold       the fitted cut-off
    schedule_steps  length of the learning-rate schedule
    """

    optimizer: Callable[..., Any]

    def __init__(self) -> None:
        super().__init__()
        self.origin: dict[str, Any] = {}
        self.threshold: float | None = None
        self.schedule_steps: int | None = None

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]  # Lightning decorates it so that no subclass of it has its type
        cls,
        checkpoint_path: str | Path | IO[bytes],
        map_location: Any = "cpu",
        hparams_file: None = None,
        strict: bool | None = None,
        weights_only: bool | None = True,
        **arguments: Any,
    ) -> Self:
        """Rebuild a task from nothing but its checkpoint, ready to predict; runs no pickled code.

        By `map_location` it comes to another device than the CPU; `strict=False` takes weights of a network that lacks
        some or has more; `arguments` are the task's own, in place of those that it was trained with. Raises
        `PulmoError` if the file is no checkpoint of pulmo, or one of a task of another class.
        """
        if hparams_file is not None or weights_only is False:
            raise PulmoError("a checkpoint of pulmo needs no hparams_file, and no weights_only=False: leave them out")
        content = content_of(checkpoint_path, map_location)
        origin = content["pulmo"]["origin"]
        task = built(origin["task"], checkpoint_path, class_names=origin["class_names"], **arguments)
        if not isinstance(task, cls):
            raise PulmoError(
                f"{checkpoint_path} holds a {type(task).__name__}, no {cls.__name__}: call it of that class, or of Task"
            )
        task.origin = origin
        task.load_state_dict(content["state_dict"], strict=strict is not False)
        task.on_load_checkpoint(content)
        devices = {weights.device for weights in content["state_dict"].values()}
        return task.to(*devices).eval() if len(devices) == 1 else task.eval()

    def state(self) -> dict[str, Any]:
        """Fitted values beside the weights, as plain values."""
        return {"threshold": self.threshold}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        self.threshold = state.get("threshold")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds this task elsewhere: plain values, so that `weights_only` loading takes them."""
        checkpoint["pulmo"] = {"origin": self.origin, "state": self.state(), "steps": self.schedule_steps}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the fitted values."""
        own = checkpoint.get("pulmo", {})
        self.restore(own.get("state", {}))
        self.schedule_steps = own.get("steps")
        fused = getattr(self.optimizer, "keywords", {}).get("fused")
        for state in checkpoint.get("optimizer_states", []):
            for group in state["param_groups"]:
                group |= {"fused": fused} if "fused" in group else {}  # how this run steps, not how the other did
