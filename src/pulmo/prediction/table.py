"""The table of predictions, csv or parquet: rows added as they come, whole or not at all, after any end."""

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from pulmo.errors import DataError
from pulmo.prediction import parquet
from pulmo.prediction.spelling import known
from pulmo.prediction.whole import unwritable, whole

QUOTE = '"'
NO_DICOM_FILE = "the image is no DICOM file"
"""Why an image has no DICOM result, for good."""
csv.field_size_limit(1 << 30)  # a list may name what is no path at all


class Done:
    """Which paths have their row, however they are spelt from here: eight bytes each."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._known: npt.NDArray[np.int64] = np.sort(np.fromiter(map(known, paths), np.int64))

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, path: str) -> bool:
        number = known(path)
        place = int(np.searchsorted(self._known, number))
        return place < len(self._known) and bool(self._known[place] == number)


@dataclass
class Table:
    """A csv to which rows are added; of a parquet the csv that it is made of in the end, beside it.

    Opened by `begun`. A row counts when its line is whole: what a kill or a full disk leaves of a line is cut off.
    """

    out: Path
    columns: Sequence[str]
    done: Done
    _descriptor: int
    _end: int
    _lock: FileLock

    @classmethod
    def begun(cls, out: Path, columns: Sequence[str], *, resume: bool, retry: bool = False) -> "Table":
        """Open `out` for rows of `columns`; with `resume` behind those that it has, with `retry` without
        its errors and those that lack a DICOM result.

        Raises `DataError` where it is there already and not to be gone on with, has other columns, or cannot be
        written; `MissingExtraError` for a parquet without pyarrow.
        """
        if out.suffix not in (".csv", ".parquet"):
            raise DataError(f"--out {out}: give a name that ends in .csv or .parquet")
        if out.suffix == ".parquet":
            parquet.pyarrow_or_refuse()
        journal = journal_of(out)
        refuse_what_is_there(out, resume=resume)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            lock = _locked(journal)
        except OSError as error:
            raise unwritable(out, error) from error
        try:
            made = out.exists() and not journal.exists()
            if made:
                parquet.read_parquet(out, journal)
            try:
                end, done = _repaired(journal, columns) if journal.exists() else (0, Done())
                if retry and end:
                    _leave_out_errors(journal, end, columns)
                    end, done = _repaired(journal, columns)
            except DataError:
                if made:
                    journal.unlink()
                raise
            descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            os.ftruncate(descriptor, end)
            table = cls(out, columns, done, descriptor, end, lock)
            if end == 0:
                table._write(table._header)
        except BaseException as error:
            _release(lock)
            if isinstance(error, OSError):
                raise unwritable(out, error) from error
            if isinstance(error, csv.Error):
                raise DataError(f"{journal} is no csv that can be gone on with ({error})") from error
            raise
        return table

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write `rows`, all or none; raises `DataError` where the disk takes no more."""
        try:
            self._write(_lines(rows, self.columns))
        except OSError as error:
            raise unwritable(self.out, error) from error

    def rows(self) -> Iterator[dict[str, str]]:
        """All rows so far as text, one after the other."""
        with open(journal_of(self.out), encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)

    def finish(self) -> None:
        """Make the parquet, where one is wanted, and take away the csv that it was made of."""
        if self.out.suffix == ".parquet":
            journal = journal_of(self.out)
            parquet.write_parquet(journal, self.out, self.columns)
            journal.unlink()

    @property
    def empty(self) -> bool:
        """Whether no image has a row."""
        return self._end <= len(self._header)

    def close(self) -> None:
        """Close the file; an empty one is taken away."""
        os.close(self._descriptor)
        if self.empty:
            journal_of(self.out).unlink(missing_ok=True)
        _release(self._lock)

    @property
    def _header(self) -> bytes:
        return _lines([dict(zip(self.columns, self.columns, strict=True))], self.columns)

    def _write(self, data: bytes) -> None:
        """Write behind the last whole line, and cut off again what did not come through."""
        try:
            os.lseek(self._descriptor, self._end, os.SEEK_SET)
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError:
            os.ftruncate(self._descriptor, self._end)
            raise
        self._end += len(data)


def _release(lock: FileLock) -> None:
    Path(lock.lock_file).unlink(missing_ok=True)  # first: who comes now makes another
    lock.release()


def journal_of(out: Path) -> Path:
    """The csv that rows go to."""
    return out if out.suffix == ".csv" else out.with_name(f"{out.stem}.unfinished.csv")


def _lines(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    lines = (",".join(_cell(row.get(name)) for name in columns) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")


def _cell(value: Any) -> str:
    """As RFC 4180 has it; Python's writer leaves a carriage return without quotes, by which no reader knows it."""
    text = "" if value is None else str(value)
    return f'"{text.replace(QUOTE, 2 * QUOTE)}"' if any(mark in text for mark in ',"\r\n') else text


def _repaired(journal: Path, columns: Sequence[str]) -> tuple[int, Done]:
    """Where the last whole line ends, and which paths have one.

    Raises `DataError` for what is not a csv of these columns, or has a quote that is opened before its last row and
    never closed: nothing is cut off but a row that was being written.
    """
    end, record, header = 0, b"", None

    def paths() -> Iterator[str]:
        nonlocal end, record, header
        with open(journal, "rb") as file:
            for line in file:
                record += line
                if not line.endswith(b"\n") or record.count(b'"') % 2:  # within a quoted cell, or torn
                    if header is not None and record != line and _is_row(line, columns):
                        raise DataError(f"{journal} has a quote that is not closed, {end:,} bytes into it: mend it")
                    continue
                cells = next(csv.reader([record.decode("utf-8", "replace")]))
                end, record = end + len(record), b""
                if header is None:
                    header = cells
                else:
                    yield cells[0]

    done = Done(paths())
    if header is None and not _lines([dict(zip(columns, columns, strict=True))], columns).startswith(record):
        raise DataError(f"{journal} is no table that was begun here: give another --out")
    if header is not None and header != list(columns):
        differ = ", ".join(sorted({*header} ^ {*columns})) or "their order"
        raise DataError(f"{journal} was written by another command, its columns differ by {differ}: give another --out")
    return end, done


def _leave_out_errors(journal: Path, end: int, columns: Sequence[str]) -> None:
    """Take the rows with an error out of the first `end` bytes of the csv, in one step."""
    os.truncate(journal, end)
    with whole(journal) as part, open(journal, encoding="utf-8", newline="") as rows, open(part, "wb") as kept:
        kept.write(_lines([dict(zip(columns, columns, strict=True))], columns))
        for row in csv.DictReader(rows):
            if not row["error"] and row.get("no_dicom") in (None, "", NO_DICOM_FILE):
                kept.write(_lines([row], columns))


def _is_row(line: bytes, columns: Sequence[str]) -> bool:
    """Whether a line is a whole row by itself, as no line within a quoted path is."""
    if not line.endswith(b"\n") or line.count(b'"') % 2:
        return False
    return len(next(csv.reader([line.decode("utf-8", "replace")]), [])) == len(columns) > 1


def refuse_what_is_there(out: Path, *, resume: bool) -> None:
    """Raise `DataError` where a table is there already, and is not to be gone on with."""
    if out.is_dir():
        raise DataError(f"--out {out} is a folder: give a file in it, such as {out / 'scores.csv'}")
    there = [path for path in (out, journal_of(out)) if path.exists()]
    if there and not resume:
        raise DataError(f"{there[0]} is there already: --resume goes on with it, or give another --out")


def _locked(journal: Path) -> FileLock:
    """Keep every other process from the table; raises `DataError` where one has it."""
    lock = FileLock(journal.with_name(f".{journal.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise DataError(f"another process writes to {journal}: wait for it, or give another --out") from error
    return lock
