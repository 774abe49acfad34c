"""A classifier that decides beforehand must not have learnt from the images that it decides on."""

from pathlib import Path
from typing import Any

import pandas as pd
from pytorch_lightning import Callback, LightningModule, Trainer

from pulmo.errors import DataError


class GateSplit(Callback):
    """Compares the split of the gate's run with this one's, before training."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Raise `DataError` where a patient of validation or test is one that the gate was trained on."""
        if stage != "fit":
            return
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        theirs = pd.read_csv(self.run / "split.csv", dtype=str)
        learnt = set(theirs.loc[theirs["split"] == "train", "patient_id"])
        ours = datamodule.table
        held_out = ours.loc[ours["split"] != "train", "patient_id"]
        shared = held_out[held_out.isin(learnt)].unique()
        if len(shared):
            raise DataError(
                f"model.task.gate={self.run} was trained on {len(shared)} patients of this run's validation and test, "
                f"such as {shared[0]}: give data.split={self.run / 'split.csv'}"
            )
