"""Prepared images, kept: built once by all cores, re-used by every run, fold and rank with the same key."""

import copyreg
import errno
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from filelock import FileLock, Timeout
from numpy.lib.format import open_memmap
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import DataLoader, Dataset

from pulmo import interruption
from pulmo.data.preparing import Prepared, Recipe
from pulmo.errors import DataError, UnreadableImageError
from pulmo.transforms.geometry import Geometry

log = logging.getLogger(__name__)

VERSION = 4  # raise when reading or preprocessing gives other pixels for the same settings
TODO, DONE, FAILED = 0, 1, 2

Done = tuple[int, dict[str, str], Prepared | None]
"""Row, its note (see `Cache`), and the image where it is not yet kept."""

UNWRITABLE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EEXIST),  # data.cache_dir names a file
)


class Cache:
    """A store of N images as uint8 arrays, in memory or in a folder of memory-mapped files.

    images    (N, S, S) uint8
    masks     (N, S, S) uint8 {0, 1}, or None where none were asked for
    geometry  (N, 9) int32: crop, inner, offset, size of `Geometry`
    digest    (N,) uint64: hash of each image's pixels, by which identical ones are found
    state     (N,) uint8: TODO, DONE or FAILED
    notes     by row: what the header says, or under "error" why the image is missing
    """

    def __init__(self, length: int, size: int, with_masks: bool, folder: Path | None) -> None:
        self._folder = folder
        self.images = self._array("images", (length, size, size), np.uint8)
        self.masks = self._array("masks", (length, size, size), np.uint8) if with_masks else None
        self.geometry = self._array("geometry", (length, 9), np.int32)
        self.digest = self._array("digest", (length,), np.uint64)
        self.state = self._array("state", (length,), np.uint8)
        self.notes: dict[int, dict[str, str]] = {}
        if folder is not None and (folder / "notes.jsonl").exists():
            for line in (folder / "notes.jsonl").read_text().splitlines():
                try:
                    note = json.loads(line)
                except ValueError:
                    continue  # empty, or cut by a crash
                self.notes[note.pop("row")] = note

    def __reduce__(self) -> Any:
        """Let a worker that is not forked (macOS) open the files itself, rather than send it a copy of them."""
        if self._folder is None:
            return copyreg.__newobj__, (Cache,), self.__dict__  # type: ignore[attr-defined]
        return Cache, (len(self.images), self.images.shape[1], self.masks is not None, self._folder)

    def __getitem__(self, row: int) -> Prepared:
        x1, y1, x2, y2, width, height, left, top, size = map(int, self.geometry[row])
        geometry = Geometry((x1, y1, x2, y2), (width, height), (left, top), size)
        mask = None if self.masks is None else self.masks[row]
        return Prepared(self.images[row], mask, geometry, self.notes.get(row, {}))

    @property
    def on_disk(self) -> bool:
        """Whether other processes that open it see what is kept."""
        return self._folder is not None

    @property
    def failures(self) -> dict[int, str]:
        """Row → cause, for each image that could not be prepared."""
        return {int(row): self.notes[int(row)]["error"] for row in np.flatnonzero(self.state == FAILED)}

    def keep(self, row: int, prepared: Prepared) -> None:
        """Write one image; it counts only once `mark` has been called."""
        self.images[row] = prepared.image
        pixels = prepared.image.tobytes()
        self.digest[row] = int.from_bytes(hashlib.blake2b(pixels, digest_size=8).digest(), "little")
        if self.masks is not None and prepared.lung_mask is not None:
            self.masks[row] = prepared.lung_mask
        crop, inner, offset, size = astuple(prepared.geometry)
        self.geometry[row] = [*crop, *inner, *offset, size]

    def mark(self, notes: Mapping[int, dict[str, str]]) -> None:
        """Count rows as done, or as failed where their note has an "error"."""
        changed = {row: note for row, note in notes.items() if note != self.notes.get(row, {})}
        self.notes |= notes
        if self._folder is not None and changed:
            with (self._folder / "notes.jsonl").open("a") as stream:
                for row, note in changed.items():
                    stream.write("\n" + json.dumps({"row": row} | note))  # a cut line stays alone
        for row, note in notes.items():
            self.state[row] = FAILED if "error" in note else DONE

    def _array(self, name: str, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
        if self._folder is None:
            return np.zeros(shape, dtype)
        path = self._folder / f"{name}.npy"
        if not path.exists():
            # Blocks are taken now: writing through a map to a disk that is full kills the process by SIGBUS.
            part = path.with_suffix(".part")
            try:
                open_memmap(part, "w+", dtype, shape).flush()
                with part.open("r+b") as stream:
                    if hasattr(os, "posix_fallocate"):  # macOS has none
                        os.posix_fallocate(stream.fileno(), 0, part.stat().st_size)
                part.rename(path)
            finally:
                part.unlink(missing_ok=True)  # it may hold all that was left of the disk
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r+")
        return array


class _Worker(Dataset[Done]):
    """Prepares rows in worker processes; a failure comes back as its cause.

    Into files it writes by itself, so that images do not queue up on their way to the first process.
    """

    def __init__(self, recipe: Recipe, rows: npt.NDArray[np.intp], cache: Cache) -> None:
        self._recipe, self._rows, self._cache = recipe, rows, cache if cache.on_disk else None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> Done:
        row = int(self._rows[position])
        try:
            prepared = self._recipe.prepare(row)
        except UnreadableImageError as error:
            known = error.path == str(self._recipe.table["path"].iat[row])
            return row, {"error": error.cause if known else str(error)}, None
        if self._cache is None:
            return row, prepared.header, prepared
        self._cache.keep(row, prepared)
        return row, prepared.header, None


def key(recipe: Recipe) -> str:
    """Name of the cache: sixteen hex digits over the files, the settings and this code's version."""
    settings = {
        "version": VERSION,
        "preprocess": recipe.preprocess.settings,
        "masks": recipe.with_masks,
        "files": recipe.identity(),
    }
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]


def with_header(table: pd.DataFrame, notes: Mapping[int, Mapping[str, str]]) -> pd.DataFrame:
    """Add what the files' headers say of the patient, by `row_in_store`, where the data set's lists say nothing."""
    for name in ("sex", "age", "view"):
        said = table["row_in_store"].map(lambda row, name=name: notes.get(row, {}).get(name, ""))
        if said.any() and not (name in table and table[name].any()):
            table = table.assign(**{name: said})
    return table


def in_memory(recipe: Recipe, workers: int) -> Cache:
    """Prepare all images into memory (`data.cache=ram`)."""
    cache = Cache(len(recipe), recipe.preprocess.size, recipe.with_masks, None)
    _fill(cache, recipe, workers)
    return cache


def on_disk(recipe: Recipe, workers: int, root: Path) -> Cache:
    """Open the cache of these files and settings under `root`, building whatever of it is missing.

    A killed build goes on where it ended; of two runs that want the same cache one builds, one waits.
    Files that failed before are tried again. Raises `DataError` if `root` cannot be written.
    """
    folder = root / key(recipe)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            cache = Cache(len(recipe), recipe.preprocess.size, recipe.with_masks, folder)
            if (cache.state != DONE).any():
                _fill(cache, recipe, workers)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        needed = len(recipe) * recipe.preprocess.size**2 * (2 if recipe.with_masks else 1) / 1e6
        raise DataError(
            f"cannot write the cache of {needed:,.0f} MB to {folder}: {error.strerror}; give another "
            "data.cache_dir, or data.cache=ram"
        ) from error
    return cache


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / "lock")  # the system frees it when its holder is killed
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("another run is building this cache (%s): waiting for it", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fill(cache: Cache, recipe: Recipe, workers: int) -> None:
    rows = np.flatnonzero(cache.state != DONE)
    loader: DataLoader[list[Done]] = DataLoader(
        cast(Dataset[list[Done]], _Worker(recipe, rows, cache)),  # a loader is typed by what it gives
        batch_size=min(16, max(1, len(rows) // 64)),
        collate_fn=list,
        num_workers=min(workers, len(rows) // 8),
        worker_init_fn=interruption.leave_group,
    )
    for part in _progress(loader, len(rows)):
        for row, _, prepared in part:
            if prepared is not None:
                cache.keep(row, prepared)
        cache.mark({row: note for row, note, _ in part})


def _progress(loader: DataLoader[list[Done]], total: int) -> Iterator[list[Done]]:
    columns = (
        TextColumn("preparing images"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("", total=total)
        with interruption.held():
            parts = iter(loader)
        for part in parts:
            yield part
            progress.advance(task, len(part))
