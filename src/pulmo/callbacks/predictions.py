"""Predictions of a finished run, one row an image."""

from pathlib import Path
from typing import Any, cast

import pandas as pd
from pytorch_lightning import Callback, LightningModule, Trainer

from pulmo.tasks.base import Task

INTERNAL = frozenset({"row_in_store", "split", "label", "boxes", "mask"})


class PredictionWriter(Callback):
    """Writes `predictions_val.csv`, `predictions_test.csv` and `predictions_unlabelled.csv` to `folder`.

    Columns `image_id, patient_id, label, score, prediction`, then the task's and the data set's own. Written
    by one process, after `trainer.validate`, `test` and `predict`; not in the middle of training.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what `trainer.validate` gave."""
        if trainer.state.fn == "validate":
            self._write(trainer, pl_module, "val", "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what `trainer.test` gave."""
        self._write(trainer, pl_module, "test", "test")

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what `trainer.predict` gave."""
        self._write(trainer, pl_module, "predict", "unlabelled")

    def _write(self, trainer: Trainer, pl_module: LightningModule, split: str, name: str) -> None:
        if not trainer.is_global_zero:
            return
        task, datamodule = cast(Task, pl_module), cast(Any, trainer).datamodule
        predictions = task.predictions[split]
        images: pd.DataFrame = datamodule.rows_of(split).iloc[predictions["row"].numpy()].reset_index(drop=True)
        frame = images[["image_id", "patient_id"]].assign(**task.table_columns(predictions))
        rest = [column for column in images.columns if column not in INTERNAL and column not in frame]
        frame.join(images[rest]).to_csv(self.folder / f"predictions_{name}.csv", index=False)
