"""The LightningDataModule that every data set shares: index, split, cache, loaders."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pytorch_lightning import LightningDataModule

from pulmo.data import cache, left_out, splits
from pulmo.data.collate import collate
from pulmo.data.dataset import BoxShape, Draw, EveryImageOnce, RadiographDataset, TrainOrder
from pulmo.data.lists import MaskSource, check_folder, masks_for, no_boxes
from pulmo.data.loaders import Loader, Loaders, Residence, cores
from pulmo.data.preparing import OnTheFly, Recipe, Store
from pulmo.errors import ConfigError, DataError
from pulmo.transforms.augment import Augment
from pulmo.transforms.geometry import Geometry
from pulmo.transforms.preprocess import Preprocess
from pulmo.types import TABLE_COLUMNS, Batch, Split, Target

log = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False)
class ChestDataModule(LightningDataModule, ABC):
    """Batches of a chest-radiograph data set. A subclass says what its folder holds, by `index`.

    root           the data set's folder
    preprocess     what is done to each image once; `augment` what is done to training images each time
    masks          folder of lung masks, where the data set has or is given one
    target         the mask that a segmentation learns; the model reads it from here
    split          "auto", "official" or a csv; `folds`, `fold`, `val_fraction`, `test_fraction`: see `splits`
    sampling       "shuffle", or "balanced": each class drawn equally often
    num_workers    processes that read and augment; None: see `loaders`
    resident       images lie in the device's memory and are augmented there: "auto" on a GPU that has room for them
    cache          "disk" (in `cache_dir`), "ram" or "off"
    on_error       a file that cannot be read: "raise", or "skip", which leaves it out and says so
    split_seed     of the split alone, so that runs with other seeds are tested on the same images
    seed           of the order and the augmentation
    """

    root: str
    preprocess: Preprocess
    augment: Augment | None = None
    masks: str | None = None
    target: Literal["lungs", "opacity"] = "lungs"
    split: str = "auto"
    folds: int | None = None
    fold: int | None = None
    split_seed: int = 0
    val_fraction: float = 0.1
    test_fraction: float = 0.1
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    batch_size: int = 32
    num_workers: int | None = None
    resident: Residence = "auto"
    cache: Literal["disk", "ram", "off"] = "disk"
    cache_dir: str = "~/.cache/pulmo"
    on_error: Literal["raise", "skip"] = "raise"
    seed: int = 0

    gives: ClassVar[frozenset[Target]] = frozenset({"label"})
    natural_rate: ClassVar[float | None] = None  # share of the last class in the whole data set, where it is known

    def __post_init__(self) -> None:
        super().__init__()
        self.needs: frozenset[Target] = frozenset({"label"})
        self.mask_source: MaskSource | None = None  # instead of the data set's own masks
        self.tested: Callable[[pd.DataFrame], pd.Series] | None = None  # instead of a split: "test", or "" for none
        self.skipped = left_out.nothing()
        self.keep_absent = False  # images without a file, or a mask that training asks for, stay: to look at the lists
        self.tally: dict[str, int] = {}  # how many the lists name, and how many of them each choice leaves
        self.identical: pd.DataFrame | None = None  # unknown until a cache has hashed the pixels
        self.boxes_lost = 0  # of validation and test, outside of what preprocess crops to: figures do not see them
        self.prepare_seconds = 0.0  # from the folder to data sets: index, split, cache
        self.begin = (0, 0)  # of training: see `TrainOrder`
        self._indexed: pd.DataFrame | None = None
        self._table: pd.DataFrame | None = None
        self._datasets: dict[str, RadiographDataset] = {}
        self._made: Loaders | None = None
        if self.batch_size < 1:
            raise ConfigError(f"data.batch_size={self.batch_size}: at least 1")
        for name in ("val_fraction", "test_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"data.{name}={getattr(self, name)}: a share above 0, below 1")
        if self.cache == "off" and self.resident is True:
            raise ConfigError("data.resident=true keeps prepared images: give data.cache=disk or ram")
        if self.cache == "off" and self.on_error == "skip":
            raise ConfigError("data.on_error=skip must know the files beforehand: give data.cache=disk or ram")

    @property
    def box_shape(self) -> BoxShape:
        """How an opacity mask fills its boxes."""
        return "box"

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Names by label, the normal class first; known before any file is read."""

    @abstractmethod
    def index(self) -> pd.DataFrame:
        """Read the folder's lists into one row an image: `TABLE_COLUMNS`, then the data set's own."""

    def select(self, table: pd.DataFrame) -> pd.DataFrame:
        """Choose among the rows of `index` by option; what is left out stays in the cache for other runs."""
        return table

    def unlabelled(self) -> list[Path]:
        """Images without labels that the data set brings along, such as a challenge's test images."""
        return []

    def check(self) -> None:
        """Raise if the configuration cannot work, before any image is read."""
        lacking = self.needs - self.gives
        if lacking:
            mask = "data.target, " if any(target.endswith("_mask") for target in lacking) else ""
            given, needed = (", ".join(sorted(targets)) for targets in (self.gives, self.needs))
            said = f"{type(self).__name__} gives {given}; the model needs {needed}"
            raise ConfigError(f"{said}: choose another {mask}data= or model=")
        if "lung_mask" in self.needs and self.preprocess.needs_mask:
            raise ConfigError("the model is to draw the lungs, so it must not be shown them: choose preprocess=plain")
        check_folder("data.root", self.root, ", or draw a sample with `pulmo sample`")
        if self.masks is not None:
            check_folder("data.masks", self.masks)

    def prepare_data(self) -> None:
        """Build the cache, on one process of each machine, before the others look for it."""
        began = time.perf_counter()
        images = self._images()
        self._split(self.select(images))  # a split that cannot be made is told before the images are read
        if self.cache == "disk":
            self._store(images)
        self.prepare_seconds += time.perf_counter() - began

    def setup(self, stage: str) -> None:
        """Make `table`, one row an image with its final split, and the data set of each split."""
        if self._table is not None:
            return
        began = time.perf_counter()
        images = self._images()
        table = self._split(self.select(images))
        store = self._store(images)
        if isinstance(store, cache.Cache):
            table = cache.with_header(table, store.notes)
            table, failed = left_out.without_failures(table, store.failures, self.on_error)
            self.skipped = pd.concat([self.skipped, failed])
            self.identical = splits.identical_across(table, store.digest[table["row_in_store"].to_numpy()])
        self._datasets.update({name: self._dataset(table, store, name) for name in splits.SPLITS})
        self._table = table
        if "boxes" in self.needs and isinstance(store, cache.Cache):
            self.boxes_lost = left_out.lost_boxes([self._datasets["val"], self._datasets["test"]])
        empty = [name for name, count in zip(self.class_names, self.class_counts, strict=True) if not count]
        if empty and self.tested is None:
            log.warning("no training image of class %s", ", ".join(empty))
        self.prepare_seconds += time.perf_counter() - began

    @property
    def table(self) -> pd.DataFrame:
        """All images in use, with their final `split`; made by `setup`."""
        if self._table is None:
            raise RuntimeError("setup() makes the table")
        return self._table

    @property
    def class_counts(self) -> list[int]:
        """Training images of each class."""
        labels = self.table.loc[self.table["split"] == "train", "label"]
        return [int((labels == label).sum()) for label in range(len(self.class_names))]

    def rows_of(self, split: Split | Literal["predict"]) -> pd.DataFrame:
        """The split's part of the table, in the order of `Batch.row`."""
        return self._datasets[split].table

    def samples(self, split: Split, rows: Sequence[int]) -> Batch:
        """Give some images with their targets, not augmented."""
        return collate([self._datasets[split][Draw(row)] for row in rows])

    def geometry_of(self, split: Split | Literal["predict"], row: int) -> Geometry:
        """Give the way of an image from its file to the network, and back; `row` as in `Batch.row`."""
        return self._datasets[split].geometry(row)

    def train_dataloader(self) -> Loader:
        """Shuffled or balanced, augmented; a last batch of a single image, which batch norm refuses, is dropped."""
        labels, balanced = self.rows_of("train")["label"].tolist(), self.sampling == "balanced"
        order = TrainOrder(labels, balanced=balanced, seed=self.seed, begin=self.begin, **self._place())
        drop_last = len(order) > 1 and len(order) % self.batch_size == 1
        return self._loaders().loader("train", order, drop_last=drop_last)

    def val_dataloader(self) -> Loader:
        """Each validation image once."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> Loader:
        """Each test image once."""
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> Loader:
        """Each unlabelled image once, read as it comes: they are seen once, so no cache is built."""
        paths = self.unlabelled()
        if not paths:
            raise DataError(f"{self.root} has no unlabelled images to predict: leave out predict=true")
        files = [str(path) for path in paths]
        table = pd.DataFrame({"image_id": [path.stem for path in paths], "patient_id": "", "path": files})
        mask = masks_for(files, Path(self.root), self.masks)
        table = table.assign(split="", label=-1, boxes=no_boxes(len(table)), mask=mask, view="")
        if self.mask_source is not None and self.preprocess.needs_mask:
            table = table.assign(mask=self.mask_source.masks_of(table))
        self._datasets["predict"] = RadiographDataset(
            table, np.arange(len(table)), OnTheFly(Recipe(table, self.preprocess, False)), self.needs
        )
        return self._evaluation_loader("predict")

    def _images(self) -> pd.DataFrame:
        """The images that any run with this preprocess could use: one cache serves them all."""
        if self._indexed is None:
            table = self.index()
            if "label" in self.needs:
                table = table[table["label"] >= 0]
                self.tally["with a label"] = len(table)
            if table.empty:
                raise DataError(f"no image with a label in {self.root}")
            repeated = table.loc[table["image_id"].duplicated(), "image_id"]
            if len(repeated):
                raise DataError(f"{self.root}: {len(repeated)} image ids stand twice, such as {repeated.iloc[0]}")
            if self.mask_source is not None and self.preprocess.needs_mask:
                table = table.assign(mask=self.mask_source.masks_of(table))
            learnt = "lung_mask" in self.needs
            if left_out.asks_for_masks(self.preprocess, table, learnt=learnt, listed=self.keep_absent):
                remedy = left_out.remedy(self.masks, self.mask_source, learnt=learnt)
                asked = table if self.tested is None else self._split(self.select(table))
                table, self.skipped = left_out.with_masks(table, remedy, self.preprocess.missing, asked)
            table = table.reset_index(drop=True)
            self._indexed = table.assign(row_in_store=np.arange(len(table)))
        return self._indexed

    def listed(self) -> pd.DataFrame:
        """What `setup` would make of the lists: all images with their split, leaks and all; no image is read."""
        return self._split(self.select(self._images()), checked=False)

    def _split(self, table: pd.DataFrame, checked: bool = True) -> pd.DataFrame:
        if self.tested is not None:
            chosen = self.tested(table)
            return table.assign(split=chosen)[chosen != ""].reset_index(drop=True)
        split = splits.assign(
            table,
            split=self.split,
            val_fraction=self.val_fraction,
            test_fraction=self.test_fraction,
            folds=self.folds,
            fold=self.fold,
            seed=self.split_seed,
            checked=checked,
        )
        return table.assign(split=split)[split != ""].reset_index(drop=True)

    def _store(self, table: pd.DataFrame) -> Store:
        recipe = Recipe(table[list(TABLE_COLUMNS)], self.preprocess, "lung_mask" in self.needs)
        if self.cache == "off":
            return OnTheFly(recipe)
        if self.cache == "ram":
            return cache.in_memory(recipe, cores())
        return cache.on_disk(recipe, cores(), Path(self.cache_dir).expanduser())

    def _dataset(self, table: pd.DataFrame, store: Store, name: str) -> RadiographDataset:
        part = table[table["split"] == name]
        rows: npt.NDArray[np.intp] = part["row_in_store"].to_numpy(np.intp)
        augment = self.augment if name == "train" else None
        return RadiographDataset(part.reset_index(drop=True), rows, store, self.needs, augment, self.box_shape)

    def _evaluation_loader(self, split: Split | Literal["predict"]) -> Loader:
        order = EveryImageOnce(len(self._datasets[split]), batch_size=self.batch_size, **self._place())
        return self._loaders().loader(split, order, drop_last=False)

    def _loaders(self) -> Loaders:
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        if self._made is None or (self._made.device, self._made.batch_size) != (device, self.batch_size):
            self._made = Loaders(
                self._datasets,
                self.augment,
                batch_size=self.batch_size,
                workers=self.num_workers,
                # Of a loader of ours Lightning does not take the shuffling when it is to overfit.
                residence=False if getattr(self.trainer, "overfit_batches", 0) else self.resident,
                device=device,
                ranks=max(1, getattr(self.trainer, "num_devices", 1)),
                cached=self.cache != "off",
            )
        return self._made

    def _place(self) -> dict[str, int]:
        return {} if self.trainer is None else {"rank": self.trainer.global_rank, "world": self.trainer.world_size}
