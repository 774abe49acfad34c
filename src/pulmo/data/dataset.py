"""Images of one split as samples, and the order in which they come."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.utils.data import Dataset, Sampler

from pulmo.data.preparing import Store
from pulmo.transforms.augment import Augment
from pulmo.transforms.geometry import Geometry
from pulmo.types import Sample, Target

BoxShape = Literal["box", "ellipse"]
"""How an opacity fills its box."""


@dataclass(frozen=True)
class Draw:
    """One position of a split and the seed of its augmentation; `seed` None leaves the image as it is."""

    row: int
    seed: int | None = None


class RadiographDataset(Dataset[Sample]):
    """Samples of a split's `table`; `rows` are their places in the `store`."""

    def __init__(
        self,
        table: pd.DataFrame,
        rows: npt.NDArray[np.intp],
        store: Store,
        targets: frozenset[Target],
        augment: Augment | None = None,
        box_shape: BoxShape = "box",
    ) -> None:
        self.table = table
        self._rows, self._store, self._targets, self._augment = rows, store, targets, augment
        self._box_shape: BoxShape = box_shape
        self._labels = table["label"].to_numpy()
        self._boxes = [np.asarray(boxes, np.float32).reshape(-1, 4) for boxes in table["boxes"]]

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def bytes(self) -> int:
        """Memory that all images and masks take."""
        if not len(self):
            return 0
        sample = self[Draw(0)]
        tensors = [sample["image"], *(mask for name, mask in sample.items() if name.endswith("_mask"))]
        return len(self) * sum(cast(torch.Tensor, tensor).nbytes for tensor in tensors)

    def geometry(self, row: int) -> Geometry:
        """Give the image's way from its file, and so the way back."""
        return self._store[int(self._rows[row])].geometry

    def boxes_lost(self) -> int:
        """Count the true boxes that lie outside of what preprocess crops to."""
        pairs = [(boxes, self.geometry(row)) for row, boxes in enumerate(self._boxes) if len(boxes)]
        return sum(len(boxes) - len(geometry.boxes(boxes)) for boxes, geometry in pairs)

    def __getitem__(self, draw: Draw | int) -> Sample:
        """Give one image and the targets asked for, all moved by the same augmentation."""
        if isinstance(draw, int):  # samplers of others, such as Lightning's for overfit_batches
            draw = Draw(draw)
        prepared = self._store[int(self._rows[draw.row])]
        image, boxes = prepared.image, prepared.geometry.boxes(self._boxes[draw.row])
        masks = {}
        if "lung_mask" in self._targets:
            masks["lung_mask"] = np.zeros_like(image) if prepared.lung_mask is None else prepared.lung_mask
        if "opacity_mask" in self._targets:
            masks["opacity_mask"] = filled(boxes, image.shape[0], self._box_shape)
        if self._augment is not None and draw.seed is not None:
            image, moved, boxes = self._augment(image, draw.seed, list(masks.values()), boxes)
            masks = dict(zip(masks, moved, strict=True))
        # A copy, since the cache's pages are shared with other processes and torch wants them writable.
        sample: dict[str, object] = {"image": torch.from_numpy(np.array(image))[None], "row": draw.row}
        sample |= {name: torch.from_numpy(np.array(mask)) for name, mask in masks.items()}
        if "label" in self._targets:
            sample["label"] = int(self._labels[draw.row])
        if "boxes" in self._targets:
            sample["boxes"] = torch.from_numpy(boxes)
        return cast(Sample, sample)


def filled(boxes: npt.NDArray[np.float32], size: int, shape: BoxShape = "box") -> npt.NDArray[np.uint8]:
    """Give (size, size) uint8 {0, 1}: 1 for each pixel whose centre lies in one of the (N, 4) xyxy boxes.

    Of an "ellipse", in the one that touches the box's four sides.
    """
    centres = np.arange(size) + 0.5
    mask = np.zeros((size, size), np.uint8)
    for x1, y1, x2, y2 in boxes:
        across, down = (2 * centres - x1 - x2) / (x2 - x1), (2 * centres - y1 - y2) / (y2 - y1)  # -1 … 1 inside
        if shape == "ellipse":
            mask[down[:, None] ** 2 + across**2 < 1] = 1
        else:
            mask[np.ix_((down >= -1) & (down < 1), (across >= -1) & (across < 1))] = 1
    return mask


class TrainOrder(Sampler[Draw]):
    """An epoch's order, shuffled or drawn to equal classes; a function of (seed, epoch) alone.

    So it is the same after a resume and with any number of workers. Each of `world` ranks takes every
    `world`-th draw, the first ones again where the number does not divide. `begin`, for a run that goes on in the midst
    of an epoch, is that epoch and how many of its draws, of all ranks, were used before: it begins behind them.
    """

    def __init__(
        self,
        labels: Sequence[int],
        *,
        balanced: bool,
        seed: int,
        rank: int = 0,
        world: int = 1,
        begin: tuple[int, int] = (0, 0),
    ) -> None:
        self._labels = np.asarray(labels)
        self._balanced, self._seed, self._rank, self._world = balanced, seed, rank, world
        self._begin = begin
        self._epoch = begin[0]  # Lightning has workers fetch the first batches before it tells the epoch

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self._labels) / self._world)

    def __iter__(self) -> Iterator[Draw]:
        return islice(self._draws(), self._used(), None)

    def used(self) -> list[int]:
        """Rows that this rank had in the epoch before `begin`."""
        return [draw.row for draw in islice(self._draws(), self._used())]

    def _used(self) -> int:
        return self._begin[1] // self._world if self._epoch == self._begin[0] else 0

    def _draws(self) -> Iterator[Draw]:
        rng = np.random.default_rng([self._seed, self._epoch])
        count = len(self._labels)
        if self._balanced:
            classes, inverse, counts = np.unique(self._labels, return_inverse=True, return_counts=True)
            order = rng.choice(count, count, p=1 / (counts[inverse] * len(classes)))
        else:
            order = rng.permutation(count)
        seeds = rng.integers(2**31, size=count)
        for position in range(self._rank, len(self) * self._world, self._world):
            yield Draw(int(order[position % count]), int(seeds[position % count]))


class EveryImageOnce(Sampler[Draw]):
    """All images in the order of the table, shared out among `world` ranks batch by batch; none padded.

    Each batch is one that a single process would have made: what a network says of an image differs in the last
    digits with the size of its batch. A rank beyond the last batch takes one that another has too, since all must
    take part; `PredictionCollector` counts it once.
    """

    def __init__(self, count: int, *, batch_size: int, rank: int = 0, world: int = 1) -> None:
        batches = [range(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]
        own = batches[rank::world] or batches[:1]
        self._rows = [row for batch in own for row in batch]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Draw]:
        return (Draw(row) for row in self._rows)
