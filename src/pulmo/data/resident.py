"""A split that lies on the device as a whole: batches are gathered and augmented there, and no worker feeds it."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import Sampler

from pulmo.data.collate import collate
from pulmo.data.dataset import Draw, RadiographDataset
from pulmo.transforms.batch_augment import BatchAugment
from pulmo.types import Batch

CHUNK = 512  # images that are collated at once on their way to the device
SHARE = 0.5  # of the device's free memory that images may take


class Resident:
    """All samples of a data set, not augmented, as tensors on `device`; boxes, of which there are few, on the CPU."""

    def __init__(self, dataset: RadiographDataset, device: torch.device) -> None:
        self.device = device
        self._columns: dict[str, Tensor] = {}
        self._boxes: list[Tensor] = []
        for start in range(0, len(dataset), CHUNK):
            rows = range(start, min(start + CHUNK, len(dataset)))
            for name, values in collate([dataset[Draw(row)] for row in rows]).items():
                if name == "boxes":
                    self._boxes += cast(list[Tensor], values)
                else:
                    values = cast(Tensor, values)
                    if name not in self._columns:
                        self._columns[name] = values.new_empty((len(dataset), *values.shape[1:]), device=device)
                    self._columns[name][rows.start : rows.stop] = values

    def batch(self, draws: Sequence[Draw], augment: BatchAugment | None) -> Batch:
        """Gather some samples; those whose draw has a seed are augmented."""
        places = torch.tensor([draw.row for draw in draws])
        rows = _sent(places, self.device)
        batch: dict[str, object] = {name: column.index_select(0, rows) for name, column in self._columns.items()}
        boxes = [self._boxes[draw.row] for draw in draws] if self._boxes else None
        if augment is not None:
            masks = [name for name in batch if name.endswith("_mask")]
            seeds = torch.tensor([draw.seed for draw in draws])
            tensors = cast(dict[str, Tensor], batch)
            image, moved, kept = augment(tensors["image"], seeds, [tensors[name] for name in masks], boxes)
            batch |= {"image": image, **dict(zip(masks, moved, strict=True))}
            boxes = None if boxes is None else kept
        if boxes is not None:
            batch["boxes"] = list(torch.split(_sent(torch.cat(boxes), self.device), [len(part) for part in boxes]))
        return cast(Batch, batch)


class ResidentLoader:
    """Batches of a `Resident` in the order of `sampler`, as a DataLoader gives them."""

    batch_sampler = None  # Lightning asks for it

    def __init__(
        self,
        resident: Resident,
        sampler: Sampler[Draw],
        *,
        batch_size: int,
        drop_last: bool,
        augment: BatchAugment | None = None,
    ) -> None:
        self.sampler = sampler  # Lightning tells it the epoch
        self._resident, self._augment = resident, augment
        self._batch_size, self._drop_last = batch_size, drop_last

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]
        return count // self._batch_size if self._drop_last else -(-count // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        draws = iter(self.sampler)
        for _ in range(len(self)):
            yield self._resident.batch(list(islice(draws, self._batch_size)), self._augment)


def why_not(datasets: Sequence[RadiographDataset], device: torch.device) -> str:
    """Say why the data sets cannot lie on the device; "" where they can."""
    needed = sum(dataset.bytes for dataset in datasets)
    if device.type != "cuda":
        return ""
    free = torch.cuda.mem_get_info(device)[0]
    if needed <= SHARE * free:
        return ""
    return f"{needed / 2**30:.1f} GiB of images, {free / 2**30:.1f} GiB free on the GPU"


def _sent(values: Tensor, device: torch.device) -> Tensor:
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)
