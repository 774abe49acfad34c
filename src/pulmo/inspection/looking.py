"""One look at each image file: what its header says, a small grey picture, and hashes; by all cores."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import DataLoader, Dataset

from pulmo import interruption
from pulmo.data.facts import Facts, facts_of
from pulmo.data.loaders import cores
from pulmo.data.reading import content_of, grey_of, read_grey
from pulmo.errors import UnreadableImageError
from pulmo.inspection.hashing import SIDE, Thumbs, small

NOTHING = Facts()
DECODED_FOR = 2 * SIDE  # a large JPEG is decoded to twice as many pixels or more, never to less


@dataclass(frozen=True)
class Look:
    """What one file is; `error` says why it gives no picture. Digests are 16 hex digits, "" where there is nothing."""

    facts: Facts = NOTHING
    header: dict[str, str] = field(default_factory=dict)
    content: str = ""
    pixels: str = ""
    error: str = ""


def looked(path: str) -> tuple[Look, npt.NDArray[np.uint8]]:
    """Look at one file, reading it once; `pixels` is the digest of the grey picture as it was decoded."""
    nothing = np.zeros((SIDE, SIDE), np.uint8)
    try:
        data = content_of(path)
    except UnreadableImageError as error:
        return Look(error=error.cause), nothing
    facts, content = facts_of(data, Path(path).suffix), _digest(data)
    try:
        reading = grey_of(data, path, DECODED_FOR)
    except UnreadableImageError as error:
        return Look(facts, content=content, error=error.cause), nothing
    # The shape too: a picture and its transpose may be the same bytes.
    pixels = _digest(f"{reading.shape} {reading.image.dtype}".encode() + reading.image.tobytes())
    return Look(facts, reading.header, content, pixels), small(reading.image)


def whole_pixels(path: str) -> str:
    """Digest of a readable file's grey picture at its full scale."""
    image = read_grey(path).image
    return _digest(f"{image.shape} {image.dtype}".encode() + image.tobytes())


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


class _Files(Dataset[tuple[Look, npt.NDArray[np.uint8]]]):
    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = list(paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, place: int) -> tuple[Look, npt.NDArray[np.uint8]]:
        return looked(self._paths[place])


def look_at(paths: Sequence[str]) -> tuple[list[Look], Thumbs]:
    """Look at each file, with a progress bar; (N, SIDE, SIDE) small pictures, black where a file gives none."""
    looks: list[Look] = []
    thumbs = np.zeros((len(paths), SIDE, SIDE), np.uint8)
    loader: DataLoader[list[tuple[Look, npt.NDArray[np.uint8]]]] = DataLoader(
        cast(Dataset[list[tuple[Look, npt.NDArray[np.uint8]]]], _Files(paths)),  # a loader is typed by what it gives
        batch_size=min(32, max(1, len(paths) // 64)),
        collate_fn=list,
        num_workers=min(cores(), len(paths) // 64),
        worker_init_fn=interruption.leave_group,
    )
    for part in _progress(loader, len(paths)):
        for look, thumb in part:
            thumbs[len(looks)] = thumb
            looks.append(look)
    return looks, thumbs


def _progress(
    loader: DataLoader[list[tuple[Look, npt.NDArray[np.uint8]]]], total: int
) -> Iterator[list[tuple[Look, npt.NDArray[np.uint8]]]]:
    columns = (TextColumn("looking at images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("", total=total)
        for part in loader:
            yield part
            progress.advance(task, len(part))
