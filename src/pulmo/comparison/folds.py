"""Which runs are folds of one partition: the only ones whose different test sets belong together."""

from typing import NamedTuple

from pulmo.finished import FinishedRun


class Partition(NamedTuple):
    """A data set cut into `folds` by the seed of its split: two seeds cut it otherwise, and test images twice."""

    data: str
    folds: int
    seed: int | None

    def __str__(self) -> str:
        return f"{self.data} cut with seed {self.seed}" if self.seed else self.data


def partition_of(run: FinishedRun) -> Partition | None:
    """What the run is a fold of; None where its data were not cut into folds."""
    data = (run.config.get("data") if run.has("config.yaml") else None) or {}
    folds = data.get("folds")
    return Partition(run.data_name or "unknown data", folds, data.get("split_seed")) if folds else None
