"""The test split of a run, from its tables alone."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from pulmo.finished import FinishedRun
from pulmo.metrics.bootstrap import Interval
from pulmo.sheets.predictions import patients_of
from pulmo.sheets.whole import Sheets, sheets_of
from pulmo.types import Split


@dataclass(frozen=True)
class Measured:
    """The test split of a run, measured; each part is computed when asked for, and once."""

    run: FinishedRun
    resamples: int = 10_000

    @cached_property
    def table(self) -> pd.DataFrame:
        """The labelled test images."""
        table = self.run.predictions("test")
        return table[table["label"] >= 0].reset_index(drop=True)

    @property
    def positives(self) -> int:
        """Images of a class other than the first."""
        return int((self.table["label"] > 0).sum())

    @property
    def patients(self) -> int:
        """Patients of these images."""
        return len(np.unique(patients_of(self.table).astype(str)))

    @cached_property
    def sheets(self) -> Sheets:
        """All that the tables say, at the run's own cut-off."""
        boxes, true, val = self.run.boxes("test"), self.run.true_boxes("test"), self.run.validation()[0]
        return sheets_of(self.table, boxes, val, self.cut_off, resamples=self.resamples, true_boxes=true)

    @property
    def drawn(self) -> dict[str, Interval]:
        """Figures of masks and of boxes, where the run draws such; empty for a classifier."""
        sheets = [sheet for sheet in (self.sheets.masks, self.sheets.boxes) if sheet is not None]
        return {name: value for sheet in sheets for name, value in sheet.figures.items()}

    @property
    def cut_off(self) -> float:
        """The run's own; 0.5 where it has none."""
        value = self.run.metrics.get("threshold")
        return 0.5 if value is None else float(value)

    def metrics(self, split: Split) -> dict[str, float]:
        """The figures of metrics.json of one split, NaN where they are undefined."""
        return {
            name.removeprefix(f"{split}/"): math.nan if value is None else value
            for name, value in self.run.metrics.items()
            if name.startswith(f"{split}/")
        }
