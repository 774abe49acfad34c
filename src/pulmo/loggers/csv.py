"""Csv files in the run folder."""

import csv
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor


class Csv(CSVLogger):
    """Lightning's `csv/metrics.csv`, which keeps its rows when the run is resumed, whenever that is killed.

    Lightning deletes them. Kept are those before the first step that the resumed run logs: what a cut-off run wrote
    behind its checkpoint comes again.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(save_dir=folder, name="", version="csv")
        self._trimmed = False

    @property
    @rank_zero_experiment
    def experiment(self) -> "Rows":
        """What holds the rows that are not written yet."""
        if not isinstance(self._experiment, Rows):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that rows will be deleted
                self._experiment = Rows(self.log_dir)
        return self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Tensor | float], step: int | None = None) -> None:
        """Add a row, the first one behind those of the run that it goes on with."""
        if not self._trimmed and step is not None:
            self.experiment.trim(step)
            self._trimmed = True
        super().log_metrics(dict(metrics), step)

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, object]) -> None:  # type: ignore[override]
        """Write them at once, so that they are there whatever becomes of the run."""
        self.experiment.log_hparams(dict(params))
        self.save()


class Rows(ExperimentWriter):
    """Lightning's writer of the file, which has the rows that were written at each moment: a kill loses none."""

    def __init__(self, log_dir: str) -> None:
        path = Path(log_dir) / self.NAME_METRICS_FILE
        aside = path.with_suffix(".earlier")  # also where a process was killed in the next three lines
        if path.is_file():
            path.replace(aside)
        super().__init__(log_dir)  # deletes what it finds
        if aside.is_file():
            aside.replace(path)
        self._path = path

    def trim(self, step: int) -> None:
        """Leave the rows before `step`."""
        if self._path.is_file():
            rows = self._written()
            self._replace([row for row in rows if int(row["step"]) < step], rows)

    def save(self) -> None:
        """Add the rows that were logged since."""
        if not self.metrics:
            return
        if {*self.metrics_keys}.issuperset(name for row in self.metrics for name in row):
            with self._path.open("a", newline="") as file:
                csv.DictWriter(file, self.metrics_keys).writerows(self.metrics)
        else:
            rows = [*self._written(), *self.metrics]
            self._replace(rows, rows)
        self.metrics = []

    def _written(self) -> list[dict[str, Any]]:
        """The rows of the file, but for one of which a process that was killed wrote a part."""
        text = self._path.read_bytes().decode() if self._path.is_file() else ""
        return list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline="")))

    def _replace(self, rows: Sequence[Mapping[str, Any]], named: Sequence[Mapping[str, Any]]) -> None:
        """Put `rows` in place of the file's, under all the names that `named` have."""
        self.metrics_keys = sorted({name for row in named for name in row})
        part = self._path.with_suffix(".part")
        with part.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)
        part.replace(self._path)
