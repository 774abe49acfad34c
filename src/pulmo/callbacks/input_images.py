"""What the network is shown, to be looked at in the loggers that take pictures."""

from typing import Any, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torchvision.utils import make_grid

from pulmo.loggers.logged import add_picture
from pulmo.tasks.base import Task


class InputImages(Callback):
    """Adds the first `count` images of the first training batch, augmented and normalised, as an image grid.

    Normalised values are scaled back by the smallest and largest of all, so three channels that were normalised
    differently show as colour.
    """

    def __init__(self, count: int = 16) -> None:
        self.count = count

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Write the grid once."""
        if batch_idx or trainer.current_epoch or not trainer.is_global_zero:
            return
        with torch.no_grad():
            shown = cast(Task, pl_module).image(batch["image"][: self.count]).float().cpu()
        grid = make_grid(shown[:, :3], nrow=8, normalize=True)
        picture = grid.mul(255).byte().permute(1, 2, 0).numpy()
        labels = ", ".join(map(str, batch["label"][: self.count].tolist())) if "label" in batch else ""
        for logger in trainer.loggers:
            add_picture(logger, "input/train_batch", picture, labels)
