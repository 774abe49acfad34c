"""A predictions table, checked: what all sheets begin with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from pulmo.errors import DataError

T = TypeVar("T")

IDS = ("image_id", "patient_id")
NOTHING = ("", "nan", "NaN", "NA", "null", "None")
"""What stands for no value, but in a column of ids."""

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """The labelled images of a predictions table.

    probabilities  (N, K), rows sum to 1; of two classes the second column is the `score`
    class_names    of more than two classes, from the columns `score_NAME`; empty for two
    """

    table: pd.DataFrame
    probabilities: Floats
    labels: Labels
    class_names: tuple[str, ...]

    @property
    def scores(self) -> Floats:
        """(N,) of the positive class; of several classes that of the likeliest."""
        return self.probabilities.max(1) if self.class_names else self.probabilities[:, 1]

    @property
    def patients(self) -> npt.NDArray[np.generic]:
        """(N,) the patient of each image; where the table does not know, each image is one."""
        return patients_of(self.table)


def read_table(path: Path) -> pd.DataFrame:
    """A table of a run, one row an image or a box; ids are text as they stand, "001", "NA" and "None" too.

    Raises ValueError, of which pandas's own errors are, where it cannot be read.
    """
    names = [name for name in pd.read_csv(path, nrows=0).columns if name not in IDS]
    empty = dict.fromkeys(names, NOTHING)
    return pd.read_csv(path, dtype=dict.fromkeys((*IDS, "path"), str), keep_default_na=False, na_values=empty)


def scored(table: pd.DataFrame, what: str = "predictions") -> Scored:
    """The labelled rows, with their scores as probabilities.

    Raises `DataError` where a column is missing, a score is no number between 0 and 1, or nothing is labelled.
    """
    labelled = labelled_rows(table, what, "score")
    names = class_names_of(table)
    classes = [f"score_{name}" for name in names]
    columns = classes or ["score"]
    scores = labelled[columns].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    wrong = ~((scores >= 0) & (scores <= 1)).all(1)
    if wrong.any():
        first = labelled.loc[wrong, "image_id"].iloc[0] if "image_id" in labelled else int(np.flatnonzero(wrong)[0])
        raise DataError(f"{what}: {wrong.sum()} of {len(wrong)} images have no score between 0 and 1, such as {first}")
    labels = labelled["label"].to_numpy(np.int64)
    if labels.max() >= max(2, len(classes)):
        raise DataError(f"{what}: label {labels.max()} with {max(2, len(classes))} classes: no columns score_CLASS")
    probabilities = scores if classes else np.column_stack([1 - scores[:, 0], scores[:, 0]])
    return Scored(labelled.reset_index(drop=True), probabilities, labels, names)


def class_names_of(table: pd.DataFrame) -> tuple[str, ...]:
    """Names of more than two classes, by the columns `score_NAME` of a predictions table; empty for two.

    Of two classes there is `score` alone: a column or two of such names are a user's own.
    """
    names = [str(column).removeprefix("score_") for column in table if str(column).startswith("score_")]
    return tuple(names) if len(names) > 2 else ()


def labelled_rows(table: pd.DataFrame, what: str, *columns: str) -> pd.DataFrame:
    """The rows whose label is known; raises `DataError` where there is none, or a column is missing."""
    missing = [column for column in ("label", *columns) if column not in table]
    if missing:
        raise DataError(f"{what} has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}")
    labels = pd.to_numeric(table["label"], errors="coerce").fillna(-1)
    labelled = table.assign(label=labels.astype(np.int64))[labels >= 0]
    repeated = labelled["image_id"][labelled["image_id"].duplicated()] if "image_id" in labelled else labelled[:0]
    if len(repeated):
        raise DataError(f"{what}: {len(repeated)} images stand twice, such as {repeated.iloc[0]}")
    if labelled.empty:
        raise DataError(f"{what} has no image with a label: there is nothing to measure against")
    return labelled


def named(figures: Mapping[str, T], prefix: str) -> dict[str, T]:
    """The figures whose names begin with `prefix`, without it; not those of a deeper level."""
    own = {name.removeprefix(prefix): value for name, value in figures.items() if name.startswith(prefix)}
    return {name: value for name, value in own.items() if "/" not in name}


def patients_of(table: pd.DataFrame) -> npt.NDArray[np.generic]:
    """(N,) the patient of each image, as text; one that nobody named is a patient of its own."""
    own = pd.Series([f"image {place}" for place in range(len(table))], index=table.index)
    if "patient_id" not in table:
        return own.to_numpy()
    known = table["patient_id"].notna() & (table["patient_id"].astype(str) != "")
    return table["patient_id"].astype(str).where(known, own).to_numpy()
