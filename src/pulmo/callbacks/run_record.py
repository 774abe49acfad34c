"""What a run leaves behind beside its weights: the split, the history, the speed."""

import logging
import time
from pathlib import Path
from typing import Any, cast

import pandas as pd
from pytorch_lightning import Callback, LightningModule, Trainer

from pulmo.tasks.base import Task

log = logging.getLogger(__name__)

SHOWN = ("train/loss", "val/loss", "val/dice", "val/dice_pooled", "val/rsna_score", "val/map_50", "val/auroc")
SPLIT_COLUMNS = ["image_id", "patient_id", "split", "label", "path"]


class RunRecord(Callback):
    """Writes `split.csv` and `history.csv`, one row an epoch; where there are any, `skipped.csv`, the files that
    were left out, and `identical_across_splits.csv`, images that stand in two splits under two patients.

    It also measures `train/images_per_second` over whole training epochs, data included, validation not; the
    first epoch is left out where there are more.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self._images = 0
        self._began = self._ended = 0.0
        self._epochs: list[tuple[int, float]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write who is in which split."""
        if stage != "fit" or not trainer.is_global_zero:
            return
        datamodule = cast(Any, trainer).datamodule
        _write(datamodule.table[SPLIT_COLUMNS], self.folder / "split.csv")  # a resumed run's processes read it just now
        for name, found in (("skipped", datamodule.skipped), ("identical_across_splits", datamodule.identical)):
            if found is not None and len(found):
                found.to_csv(self.folder / f"{name}.csv", index=False)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._images, self._began = 0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images."""
        self._images += len(batch["row"]) * trainer.world_size
        self._ended = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch to `history.csv`, in place of what an earlier, cut-off run wrote from here on."""
        self._epochs.append((self._images, self._ended - self._began))
        timed = self._epochs[1:] or self._epochs
        seconds = sum(seconds for _, seconds in timed)
        cast(Task, pl_module).figures["train/images_per_second"] = sum(n for n, _ in timed) / max(seconds, 1e-9)
        if not trainer.is_global_zero:
            return
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        shown = ", ".join(f"{name} {figures[name]:.4f}" for name in SHOWN if name in figures)
        log.info("epoch %d of %s: %s", trainer.current_epoch + 1, trainer.max_epochs, shown)
        row = pd.DataFrame([{"epoch": trainer.current_epoch} | figures])
        path = self.folder / "history.csv"
        if path.exists():
            before = pd.read_csv(path)
            row = pd.concat([before[before["epoch"] < trainer.current_epoch], row])
        _write(row, path)


def _write(table: pd.DataFrame, path: Path) -> None:
    """Put the whole table in the place of an earlier one at once: other processes read it while the run goes on."""
    table.to_csv(part := path.with_suffix(".part"), index=False)
    part.replace(path)
