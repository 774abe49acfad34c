"""Checkpoints that survive a kill and a move."""

import os
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO


class Checkpoint(ModelCheckpoint):
    """Lightning's, which remembers the best score even when the run folder was moved since.

    Lightning forgets it then, and the first resumed epoch would overwrite the best checkpoint, however bad it is.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state over, its paths put into the present folder."""
        here = Path(str(self.dirpath))
        moved = dict(state_dict, dirpath=str(self.dirpath))
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            if moved.get(key):
                moved[key] = str(here / Path(moved[key]).name)
        kept = moved.get("best_k_models", {})
        moved["best_k_models"] = {str(here / Path(path).name): score for path, score in kept.items()}
        super().load_state_dict(moved)


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes beside the checkpoint and renames, so that a kill leaves the old one or the new one, whole.

    Lightning puts it together in memory first, and takes four times as long; and fsspec, below it, writes to the
    system's temporary folder, from where another disk is reached by a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write `path`."""
        part = Path(f"{path}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as stream:  # a stream, since by a path torch does not say that a disk is full
                torch.save(checkpoint, stream)
            os.replace(part, path)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # a full disk; torch complains of its file
                raise error.__context__ from None
            raise
        finally:
            part.unlink(missing_ok=True)
