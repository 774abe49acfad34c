"""What lies in a data-set folder: its files and its csv lists, as found in the wild."""

import csv
import logging
import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from pulmo.errors import DataError

log = logging.getLogger(__name__)

UTF16_MARKS = ("ÿþ", "þÿ")  # its byte-order marks, as Latin-1
IMAGE_SUFFIXES = frozenset({".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})


class MaskSource(Protocol):
    """Gives each row of an index table the path of a lung mask, drawing it where there is none yet."""

    @property
    def said(self) -> str:
        """What it is, to a user."""

    def masks_of(self, table: pd.DataFrame) -> list[str]:
        """Paths of masks, in the order of the rows."""


def check_folder(key: str, folder: str, otherwise: str = "") -> None:
    """Raise `DataError` where `folder`, given as `key`, is none; `otherwise` is what else one could do."""
    path = Path(folder).expanduser()
    if path.is_file():
        raise DataError(f"{key}={folder} is a file: give the folder that it lies in")
    if not path.is_dir():
        raise DataError(f"no folder {folder}: give {key}=FOLDER{otherwise}")


def images_below(folder: Path, without: str | None = None) -> list[Path]:
    """All image files below `folder`, by suffix, sorted; hidden files and macOS leavings are passed over.

    `without` is a folder to pass over as well: lung masks, whose names are those of the images.
    """
    return list(_walk(str(folder), os.path.realpath(os.path.expanduser(without)) if without else None))


def _walk(folder: str, without: str | None) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        if entry.is_dir():
            if os.path.realpath(entry.path) != without:
                yield from _walk(entry.path, without)
        elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
            yield Path(entry.path)


def by_stem(paths: Iterable[Path]) -> dict[str, str]:
    """File stem → path; the first of two files with one stem."""
    found: dict[str, str] = {}
    for path in paths:
        found.setdefault(path.stem, str(path))
    return found


def masks_for(images: Sequence[str], root: Path, folder: str | None) -> list[str]:
    """Give each image file below `root` the path of its mask below `folder`, "" where there is none.

    A mask has its image's path below its own folder or, where no other image or mask is called so, its stem
    alone. Raises `DataError` for a mask that could be of several images.
    """
    if not folder:
        return [""] * len(images)
    base = Path(folder).expanduser()
    masks = images_below(base)
    by_path = {mask.relative_to(base).with_suffix("").as_posix(): str(mask) for mask in masks}
    of_stem, stems = by_stem(masks), Counter(mask.stem for mask in masks)
    names = [os.path.splitext(os.path.basename(image))[0] for image in images]
    images_called = Counter(names)
    found = []
    for image, name in zip(images, names, strict=True):
        if stems[name] <= 1 and images_called[name] == 1:
            found.append(of_stem.get(name, ""))
            continue
        path = os.path.splitext(os.path.relpath(image, root))[0]
        if path not in by_path and name in by_path:
            raise DataError(f"{image}: is {by_path[name]} its mask? Several images are called so: lay masks out alike")
        found.append(by_path.get(path, ""))
    return found


def with_files(table: pd.DataFrame, source: Path, root: Path, *, keep: bool) -> pd.DataFrame:
    """Leave out, with a warning, rows whose `path` is missing; with `keep` they stay, their path "".

    Raises `DataError` where the list `source` has no row, or none of its images is below `root`.
    """
    if table.empty:
        raise DataError(f"{source} has a header and no image")
    absent = table["path"].isna()
    if keep:
        return table.assign(path=table["path"].astype(object).fillna(""))
    if absent.all():
        raise DataError(f"none of the {len(table)} images of {source.name} is in {root}")
    if absent.any():
        log.warning("%s: %d of %d listed images are not in %s", source.name, int(absent.sum()), len(table), root)
    return table[~absent].reset_index(drop=True)


def no_boxes(count: int) -> list[Any]:
    """The `boxes` column of a data set without boxes."""
    return [[] for _ in range(count)]


def read_list(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a csv as text, empty cells as "", whatever its separator (, ; tab) or encoding (UTF-8, UTF-16, Latin-1).

    Raises `DataError` if it is absent, empty, or lacks one of `columns`.
    """
    if not path.is_file():
        raise DataError(f"no file {path}")
    try:
        frame = _rows(path)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:  # pandas' own are ValueErrors
        raise DataError(f"{path} is no csv: {str(error).strip()}") from error
    frame.columns = frame.columns.str.strip()
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")
    return frame


def one_row_each(rows: pd.DataFrame, key: str, path: Path) -> pd.DataFrame:
    """Give each value of the column `key` one row, with a warning for rows of `path` that stand there twice.

    Raises `DataError` where the key is empty, or two rows of one key contradict each other.
    """
    nameless = int((rows[key] == "").sum())
    if nameless:
        raise DataError(f"{path}: {nameless} of {len(rows)} rows have no {key}")
    distinct = rows.drop_duplicates()
    if len(distinct) < len(rows):
        log.warning("%s: %d rows stand there twice; each counts once", path.name, len(rows) - len(distinct))
    again = distinct.loc[distinct[key].duplicated(), key]
    if len(again):
        said = distinct[distinct[key] == again.iloc[0]].drop(columns=key)
        column = next(name for name in said.columns if said[name].nunique() > 1)
        values = " and ".join(map(repr, said[column].unique()[:2]))
        raise DataError(
            f"{path} contradicts itself about {len(again)} of its {key}, such as {again.iloc[0]}: {column} is {values}"
        )
    return distinct


def _rows(path: Path) -> pd.DataFrame:
    head = pd.read_csv(path, sep="\0", nrows=0, encoding="latin-1", engine="python", quoting=csv.QUOTE_NONE)
    names = [str(name) for name in head.columns]
    separator = max(",;\t", key="".join(names).count)

    def read(encoding: str) -> pd.DataFrame:
        return pd.read_csv(
            path,
            sep=separator,
            dtype=str,
            keep_default_na=False,
            encoding=encoding,
            index_col=False,  # rows that end in a separator would shift by one column
            skipinitialspace=True,
        )

    if len(names) > 1 or names[0].startswith(UTF16_MARKS):
        return read(_utf16(names))
    try:
        return read("utf-8-sig")
    except UnicodeDecodeError:
        return read("latin-1")  # takes any bytes


def _utf16(names: Sequence[str]) -> str:
    """Which UTF-16 a header is written in, such as Excel's "Unicode text", from its parts between the zero bytes."""
    if names[0].startswith(UTF16_MARKS):
        return "utf-16"
    return "utf-16-be" if names[0].startswith("Unnamed") else "utf-16-le"
