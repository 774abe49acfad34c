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
    """What came of it: the predictions table, that of boxes where there are any, and the figures."""

    images: pd.DataFrame
    boxes: pd.DataFrame | None
    metrics: dict[str, float]


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
    boxes = folder / "boxes_test.csv"
    return Predicted(
        read_table(folder / "predictions_test.csv"),
        read_table(boxes) if boxes.is_file() else None,
        {name.removeprefix("test/"): value for name, value in task.figures.items() if name.startswith("test/")},
    )
