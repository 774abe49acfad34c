"""The way of batches to the network: from the device's own memory where they fit, else through worker processes."""

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, cast

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pulmo.data.collate import collate
from pulmo.data.dataset import Draw, RadiographDataset
from pulmo.data.resident import Resident, ResidentLoader, why_not
from pulmo.interruption import leave_group
from pulmo.transforms.augment import Augment
from pulmo.transforms.batch_augment import BatchAugment, unsupported
from pulmo.types import Batch

log = logging.getLogger(__name__)

Residence = Literal["auto"] | bool
"""Whether images lie on the device: "auto" on a GPU that has room for them."""


class Loader(Protocol):
    """Batches in an order."""

    def __iter__(self) -> Iterator[Batch]: ...
    def __len__(self) -> int: ...


@dataclass
class Loaders:
    """Makes the loader of each of the `datasets`.

    workers      processes that read and augment; None: as many as pay, see `_default_workers`
    residence    see `Residence`
    ranks        processes that train on this machine
    cached       whether the data sets need no more reading of files
    """

    datasets: Mapping[str, RadiographDataset]
    augment: Augment | None
    batch_size: int
    workers: int | None
    residence: Residence
    device: torch.device
    ranks: int
    cached: bool
    _residents: dict[str, Resident] = field(default_factory=dict)
    _no_room: str | None = None
    _told: bool = False

    def loader(self, split: str, order: Sampler[Draw], *, drop_last: bool) -> Loader:
        """Give the split's loader, in the `order` of its sampler."""
        if self._resides(split):
            if split not in self._residents:
                self._residents[split] = Resident(self.datasets[split], self.device)
            changes = split == "train" and self.augment is not None and self.augment.transforms
            augment = BatchAugment(self.augment) if changes and self.augment is not None else None
            resident = self._residents[split]
            return ResidentLoader(resident, order, batch_size=self.batch_size, drop_last=drop_last, augment=augment)
        workers = self._default_workers(split) if self.workers is None else self.workers
        return DataLoader(
            cast(Dataset[Batch], self.datasets[split]),  # a loader is typed by what it gives
            batch_size=self.batch_size,
            sampler=order,
            num_workers=workers,
            collate_fn=collate,
            drop_last=drop_last,
            pin_memory=self.device.type == "cuda",
            persistent_workers=workers > 0,
            worker_init_fn=leave_group,
        )

    def _resides(self, split: str) -> bool:
        if self.residence is False or not self.cached or split == "predict":
            return False
        if self.residence == "auto" and self.device.type != "cuda":
            return False
        if self._no_room is None:  # asked once: later the images themselves take the room
            self._no_room = why_not([self.datasets[name] for name in ("train", "val", "test")], self.device)
        reason = self._no_room
        if not reason and split == "train" and self.augment is not None and (names := unsupported(self.augment)):
            reason = f"augment's {', '.join(names)}"
        if reason and not self._told:
            log.warning("images come through worker processes rather than from the device's memory: %s", reason)
            self._told = True
        return not reason

    def _default_workers(self, split: str) -> int:
        if self.device.type != "cpu":
            return max(0, min(8, cores() // self.ranks - 1))
        from_cache = self.cached and split != "predict"
        return 0 if from_cache else min(8, cores() // self.ranks // 4)  # the network itself wants the cores


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
