"""What the network is shown, to be looked at in TensorBoard."""

from typing import Any, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torchvision.utils import make_grid

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
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("input/train_batch", grid, 0)
                if "label" in batch:
                    labels = ", ".join(map(str, batch["label"][: self.count].tolist()))
                    logger.experiment.add_text("input/train_batch_labels", labels, 0)
