"""Class weights from the training images, for the loss that asks for them."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from pulmo.losses import ClassificationLoss


class BalanceClasses(Callback):
    """Tells the task's loss how many training images each class has, before the first step or measurement."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hand over the counts once the data is split."""
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        loss = getattr(pl_module, "loss", None)
        if isinstance(loss, ClassificationLoss):
            loss.balance(datamodule.class_counts)
