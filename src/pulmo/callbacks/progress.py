"""The progress bar."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar


class ProgressBar(RichProgressBar):
    """Lightning's rich bar, but it counts epochs from 1 as the log does, and leaves out the logger's version."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Figures shown behind the bar."""
        shown: dict[str, Any] = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)
        return shown

    def _get_train_description(self, current_epoch: int) -> str:
        last = "" if self.trainer.max_epochs is None else f"/{self.trainer.max_epochs}"
        return f"Epoch {current_epoch + 1}{last}".ljust(len(self.validation_description))  # else the bars flicker
