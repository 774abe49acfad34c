"""One image's way from its file to what the network eats; the same for every store."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from pulmo.data.reading import read_grey, read_mask
from pulmo.errors import DataError, UnreadableImageError
from pulmo.transforms.geometry import Geometry
from pulmo.transforms.preprocess import Preprocess

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Prepared:
    """An image ready for the network: (S, S) uint8, its lung mask (S, S) {0, 1} or None, and its way here."""

    image: Pixels
    lung_mask: Pixels | None
    geometry: Geometry
    header: dict[str, str]


class Store(Protocol):
    """Prepared images by row of the table that the store was made for."""

    def __getitem__(self, row: int) -> Prepared: ...


@dataclass(frozen=True)
class Recipe:
    """How the rows of `table` are prepared; `with_masks` keeps each lung mask beside its image."""

    table: pd.DataFrame
    preprocess: Preprocess
    with_masks: bool

    def __len__(self) -> int:
        return len(self.table)

    def prepare(self, row: int) -> Prepared:
        """Read, mask, crop and resize one image; raises `UnreadableImageError` that names the file."""
        path, mask_path = str(self.table["path"].iat[row]), str(self.table["mask"].iat[row])
        reading = read_grey(path, self.preprocess.side)
        lungs = None
        if mask_path and (self.with_masks or self.preprocess.needs_mask):
            lungs = read_mask(mask_path, reading.shape)
        try:
            image, geometry = self.preprocess(reading.image, lungs, reading.shape)
        except DataError as error:
            raise UnreadableImageError(path, str(error)) from error
        mask = geometry.mask(lungs) if self.with_masks and lungs is not None else None
        return Prepared(image, mask, geometry, reading.header)

    def identity(self) -> list[tuple[Any, ...]]:
        """Name, size and time of change of each file, so that a cache knows when one was replaced."""
        masks = self.table["mask"] if self.with_masks or self.preprocess.needs_mask else [""] * len(self)
        return [
            (image_id, *_stamp(path), *_stamp(mask))
            for image_id, path, mask in zip(self.table["image_id"], self.table["path"], masks, strict=True)
        ]


def _stamp(path: str) -> tuple[str, int, int]:
    if not path:
        return "", 0, 0
    try:
        status = Path(path).stat()
    except OSError:
        return Path(path).name, -1, -1  # its reading will say why
    return Path(path).name, status.st_size, status.st_mtime_ns


class OnTheFly:
    """A store that keeps nothing: each image is read when it is asked for (`data.cache=off`)."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def __getitem__(self, row: int) -> Prepared:
        return self._recipe.prepare(row)
