"""The run's network over the chosen images, by Lightning's Trainer, as the run itself was tested."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from omegaconf import OmegaConf
from pytorch_lightning import Trainer

from pulmo.callbacks.predictions import PredictionWriter
from pulmo.execution import settle
from pulmo.experiment import make
from pulmo.run_data.opening import RunData
from pulmo.sheets.predictions import read_table
from pulmo.tasks.base import Task
from pulmo.tasks.detection import DetectionTask


@dataclass(frozen=True)
class Predicted:
    """What came of it: the predictions table, the figures, and where there are boxes the tables of them."""

    images: pd.DataFrame
    metrics: dict[str, float]
    boxes: pd.DataFrame | None = None
    true_boxes: pd.DataFrame | None = None


def predict(task: Task, measured: RunData, cut_off: float | None, nms_iou: float | None, folder: Path) -> Predicted:
    """Test `task` at the run's own operating point; `folder` is for what the writer of predictions leaves.

    A precision that this machine has not is replaced by float32.
    """
    config, data = measured.config, measured.datamodule
    if str(config.trainer.precision).startswith("16") and not torch.cuda.is_available():
        config.trainer.precision = "32-true"
    accelerator = settle(config.trainer)
    if cut_off is not None:
        task.threshold = cut_off
    if isinstance(task, DetectionTask) and nms_iou is not None:
        task.nms_iou = nms_iou
    OmegaConf.set_readonly(config, True)
    make(config.strategy).apply(task, accelerator, str(config.trainer.precision))
    trainer: Trainer = make(
        config.trainer,
        callbacks=[PredictionWriter(str(folder))],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.test(task, datamodule=data, verbose=False)
    drawn = [folder / f"{name}_test.csv" for name in ("boxes", "true_boxes")]
    boxes, true_boxes = (read_table(path) if path.is_file() else None for path in drawn)
    figures = {name.removeprefix("test/"): value for name, value in task.figures.items() if name.startswith("test/")}
    return Predicted(read_table(folder / "predictions_test.csv"), figures, boxes, true_boxes)
