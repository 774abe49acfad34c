"""Csv files in the run folder."""

import csv
import warnings
from collections.abc import Mapping
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor


class Csv(CSVLogger):
    """Lightning's `csv/metrics.csv`, which keeps its rows when the run is resumed.

    Lightning deletes them. Kept are those before the first step that the resumed run logs: what a cut-off run wrote
    behind its checkpoint comes again.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(save_dir=folder, name="", version="csv")
        self._earlier: list[dict[str, str]] = []
        path = Path(folder) / "csv" / "metrics.csv"
        if path.is_file():
            with path.open(newline="") as file:
                self._earlier = [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Tensor | float], step: int | None = None) -> None:
        """Add a row, the first one behind those of the run that it goes on with."""
        if self._earlier and step is not None:
            kept: list[dict[str, float]] = [
                {key: float(value) for key, value in row.items()} | {"step": int(row["step"])}
                for row in self._earlier
                if int(row["step"]) < step
            ]
            self._earlier = []
            self.experiment.metrics = kept + self.experiment.metrics
        super().log_metrics(dict(metrics), step)

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, object]) -> None:  # type: ignore[override]
        """Write them at once, so that they are there whatever becomes of the run."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that rows will be deleted: they were read
            super().log_hyperparams(dict(params))
            self.save()
