"""Which runs are folds of one partition: the only ones whose different test sets belong together."""

import hashlib
from typing import NamedTuple

from pulmo.errors import RunError
from pulmo.finished import FinishedRun


class Partition(NamedTuple):
    """A data set cut into `folds` by the seed of its split: two seeds cut it otherwise, and test images twice.

    known  digest of all its images with their patients and labels, wherever they lie: a folder with other images, or
           the same with other labels, is another data set. "" where the run does not say.
    """

    data: str
    folds: int
    seed: int | None
    known: str

    def __str__(self) -> str:
        return f"{self.data} cut with seed {self.seed}" if self.seed else self.data


def partition_of(run: FinishedRun) -> Partition | None:
    """What the run is a fold of; None where its data were not cut into folds."""
    data = (run.config.get("data") if run.has("config.yaml") else None) or {}
    folds = data.get("folds")
    if not folds:
        return None
    return Partition(run.data_name or "unknown data", folds, data.get("split_seed"), _known(run))


def _known(run: FinishedRun) -> str:
    try:
        table = run.split
    except RunError:
        return ""
    columns = [name for name in ("image_id", "patient_id", "label") if name in table]
    rows = sorted("\t".join(map(str, row)) for row in table[columns].itertuples(index=False))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()
