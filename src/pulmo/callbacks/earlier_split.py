"""A network of an earlier run must not have learnt from the images that it helps to judge now."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pytorch_lightning import Callback, LightningModule, Trainer

from pulmo.errors import ConfigError, DataError

log = logging.getLogger(__name__)


class EarlierSplit(Callback):
    """Compares the split of an earlier run with this one's, before training.

    It trained on its training images and was chosen on its validation images. `key` is what names the run in the
    configuration; `refuse` raises `DataError` where they stand in this run's validation or test, else they are counted
    in a warning.
    """

    def __init__(self, run: Path, key: str, *, refuse: bool) -> None:
        self.run, self.key, self.refuse = run, key, refuse
        if not (run / "split.csv").is_file():
            raise ConfigError(f"{key}={run}: no split.csv there, so nobody knows what it was trained on")

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compare by image and by patient, once."""
        if stage != "fit":
            return
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        if not self._knows(type(datamodule)):
            return
        theirs, ours = pd.read_csv(self.run / "split.csv", dtype=str, keep_default_na=False), datamodule.table
        seen = ours["split"].eq("val") & _among(ours, theirs[theirs["split"] == "train"])
        seen |= ours["split"].eq("test") & _among(ours, theirs[theirs["split"].isin(["train", "val"])])
        if not seen.any():
            return
        patients = ours.loc[seen, "patient_id"].nunique()
        found = (
            f"{self.key}={self.run} was trained or chosen on {patients} patients of this run's validation and test, "
            f"such as {ours.loc[seen, 'patient_id'].iloc[0]}: give data.split={self.run / 'split.csv'}"
        )
        if self.refuse:
            raise DataError(found)
        log.warning("%s", found)

    def _knows(self, data: type) -> bool:
        """Whether the earlier run was trained on data of this kind, so that names mean the same; or nobody knows."""
        path = self.run / "config.yaml"
        known = yaml.safe_load(path.read_text()) if path.is_file() else None
        target = ((known or {}).get("data") or {}).get("_target_")
        return target is None or str(target) == f"{data.__module__}.{data.__qualname__}"


def _among(ours: pd.DataFrame, theirs: pd.DataFrame) -> "pd.Series[bool]":
    return ours["patient_id"].isin(set(theirs["patient_id"]) - {""}) | ours["image_id"].isin(set(theirs["image_id"]))
