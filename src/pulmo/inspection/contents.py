"""What a data set holds, found through the index, the selection and the split that training uses."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from pulmo import config as configuration
from pulmo.data import cache, splits
from pulmo.data.datamodule import ChestDataModule
from pulmo.errors import DataError
from pulmo.experiment import make
from pulmo.inspection.duplicates import COLUMNS, duplicates
from pulmo.inspection.hashing import SIDE, Thumbs
from pulmo.inspection.looking import look_at

FACTS = ("format", "width", "height", "bits", "kind", "error")


@dataclass
class Contents:
    """A data set as training would see it, and what its files are.

    table       one row an image of a split: `types.TABLE_COLUMNS`, the data set's own, `FACTS` of its file ("" and 0
                where it was not read), `there` whether it has a file
    tally       how many the lists name, and how many of them each choice leaves, in that order
    notes       what the index warns of
    refusal     why training would refuse the split; "" where it would not
    crossing    patients in more than one split
    nameless    images whose patient is not known: the index lets each count as its own patient
    duplicates  see `duplicates.duplicates`; None where no pixels were looked at
    thumbs      (N, SIDE, SIDE) small pictures in the order of `table`; None likewise
    """

    data: ChestDataModule
    name: str
    table: pd.DataFrame
    tally: dict[str, int]
    notes: list[str]
    refusal: str
    crossing: list[str]
    nameless: int
    duplicates: pd.DataFrame | None = None
    thumbs: Thumbs | None = field(default=None, repr=False)

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label, the normal class first."""
        return self.data.class_names

    @property
    def unreadable(self) -> pd.DataFrame:
        """Files that give no picture, each with its cause: `image_id, split, path, cause`."""
        failed = self.table[self.table["error"] != ""]
        return failed[["image_id", "split", "path", "error"]].rename(columns={"error": "cause"})

    @property
    def looked_at(self) -> int:
        """Images whose pixels were compared; 0 where no file was read."""
        return 0 if self.duplicates is None else int((self.table["there"] & (self.table["error"] == "")).sum())

    @property
    def absent(self) -> int:
        """Listed images without a file."""
        return int((~self.table["there"]).sum())


def contents(config: DictConfig, *, quick: bool = False) -> Contents:
    """Look at the data set of a composed configuration; with `quick` at its lists alone, not into its files.

    Raises `DataError` or `ConfigError` as training would, but for leaks, empty splits, and files that are absent or
    cannot be read: these are what it tells.
    """
    for part in ("data", "preprocess"):
        configuration.check_values(config[part], part)
    data: ChestDataModule = make(config.data)
    data.needs = frozenset({"label"})
    data.keep_absent = True
    data.check()
    with _warnings() as notes:
        table = data.listed()
    if table.empty:
        raise DataError(f"no image of {data.root} is in a split")
    table = table.assign(there=[path != "" and os.path.isfile(path) for path in table["path"]])
    table = table.assign(format="", width=0, height=0, bits=0, kind="", error="")
    crossing = splits.crossing(table, table["split"])
    name, refusal = str(config.choices["data"]), _refusal(table)
    found = Contents(data, name, table, data.tally, notes, refusal, crossing, _nameless(table))
    if not quick and table["there"].any():
        _look(found)
    return found


def _look(found: Contents) -> None:
    table, there = found.table, np.flatnonzero(found.table["there"])
    looks, pictures = look_at(table["path"].iloc[there].tolist())
    for name in FACTS:
        values = [getattr(look if name == "error" else look.facts, name) for look in looks]
        table.loc[there, name] = values
    headers = {int(row): look.header for row, look in zip(table["row_in_store"].iloc[there], looks, strict=True)}
    found.table = cache.with_header(table, headers)
    found.duplicates = duplicates(table.iloc[there].reset_index(drop=True), looks, pictures)[COLUMNS]
    found.thumbs = np.zeros((len(table), SIDE, SIDE), np.uint8)
    found.thumbs[there] = pictures


def _nameless(table: pd.DataFrame) -> int:
    names = [os.path.splitext(os.path.basename(path))[0] for path in table["path"]]
    return int(((table["patient_id"] == table["image_id"]) | (table["patient_id"] == names)).sum())


def _refusal(table: pd.DataFrame) -> str:
    try:
        splits.check(table, table["split"])
    except DataError as error:
        return str(error)
    return ""


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect what the data modules warn of, rather than let it run across the screen."""
    notes: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notes.append(record.getMessage())

    logger, keeper = logging.getLogger("pulmo.data"), Keeper(logging.WARNING)
    before, logger.propagate = logger.propagate, False
    logger.addHandler(keeper)
    try:
        yield notes
    finally:
        logger.removeHandler(keeper)
        logger.propagate = before
