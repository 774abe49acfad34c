"""Predictions of a finished run, one row an image."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from pulmo.tasks.base import Task
from pulmo.types import Predictions

AGAINST_TRUTH = ("dice", "iou", "pixel_accuracy", "true_area", "true_boxes", "rsna_score")
INTERNAL = frozenset({"row_in_store", "split", "label", "boxes", "mask"})


class PredictionWriter(Callback):
    """Writes `predictions_val.csv`, `predictions_test.csv` and `predictions_unlabelled.csv` to `folder`.

    Columns `image_id, patient_id, label, score, prediction`, then the task's and the data set's own. Where boxes are
    predicted, also `boxes_val.csv` and so on: `image_id, x1, y1, x2, y2` in pixels of the file, `score`,
    `true_positive` (against a true box not yet taken, IoU above 0.4); and `true_boxes_val.csv`, those that they were
    measured against. Written by one process, after `trainer.validate`, `test` and `predict`; not in the middle of
    training.
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
        if split == "predict":  # nothing is known to compare with
            frame = frame.assign(label=-1).drop(columns=list(AGAINST_TRUTH), errors="ignore")
        rest = [column for column in images.columns if column not in INTERNAL and column not in frame]
        frame.join(images[rest]).to_csv(self.folder / f"predictions_{name}.csv", index=False)
        boxes = task.box_columns(predictions)
        if boxes is None:
            return
        table = _box_table(boxes, datamodule, split)
        if split == "predict":
            table = table.drop(columns="true_positive")
        else:
            true = _box_table(_true_columns(predictions), datamodule, split)
            true.to_csv(self.folder / f"true_boxes_{name}.csv", index=False)
        table.to_csv(self.folder / f"boxes_{name}.csv", index=False)


def _true_columns(predictions: Predictions) -> dict[str, Any]:
    truths = predictions["true_boxes"]
    counts = torch.tensor([len(part) for part in truths], dtype=torch.int64)
    rows = predictions["row"].repeat_interleave(counts)
    return {"row": rows.numpy(), "box": torch.cat([torch.zeros((0, 4)), *truths]).numpy()}


def _box_table(columns: dict[str, Any], datamodule: Any, split: str) -> pd.DataFrame:
    """One row a box, in pixels of the image's file."""
    rows, boxes = columns["row"], columns["box"].copy()
    for row in np.unique(rows):
        boxes[rows == row] = datamodule.geometry_of(split, int(row)).unbox(boxes[rows == row])
    frame = pd.DataFrame({"image_id": datamodule.rows_of(split)["image_id"].to_numpy()[rows]})
    frame[["x1", "y1", "x2", "y2"]] = boxes
    return frame.assign(**{name: values for name, values in columns.items() if name not in ("row", "box")})
