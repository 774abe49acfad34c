"""The images that are explained: of a split of a data set, or files; each prepared as the run's own were."""

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from pulmo.composition import composed
from pulmo.data.datamodule import ChestDataModule
from pulmo.data.lists import by_stem, images_below, masks_for, no_boxes
from pulmo.data.preparing import Prepared, Recipe
from pulmo.earlier_runs import automatic_masks
from pulmo.environment import COMPOSED
from pulmo.errors import ConfigError, DataError, RunError, UnreadableImageError
from pulmo.experiment import make
from pulmo.finished import FinishedRun
from pulmo.transforms.preprocess import Preprocess
from pulmo.types import Split

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Images:
    """What is explained: one row an image in `table`, with `TABLE_COLUMNS`; label -1 where it is not known.

    name  such as "kermany test"; `lungs` says whether any row has a lung mask, `labelled` whether labels are known
    precision  `trainer.precision` of the run, by which its scores are
    """

    name: str
    table: pd.DataFrame
    preprocess: Preprocess
    precision: str = "32-true"

    @property
    def lungs(self) -> bool:
        """Whether there is a lung mask of any image."""
        return bool((self.table["mask"] != "").any())

    @property
    def labelled(self) -> bool:
        """Whether all labels are known."""
        return bool((self.table["label"] >= 0).all())

    def prepared(self, rows: Sequence[int]) -> Iterator[tuple[int, Prepared]]:
        """Each of the rows that can be read, with its lung mask where there is one; the others are told of."""
        recipe = Recipe(self.table, self.preprocess, with_masks=True)

        def prepare(row: int) -> tuple[int, Prepared | UnreadableImageError]:
            try:
                return row, recipe.prepare(row)
            except UnreadableImageError as error:
                return row, error

        for row, result in ahead(prepare, rows):
            if isinstance(result, UnreadableImageError):
                log.warning("left out: %s", result)
            else:
                yield row, result


def ahead(work: Any, rows: Sequence[int], at_once: int = 64) -> Iterator[Any]:
    """What `work` gives of each row, in order, some of them computed ahead by threads; decoding waits for no one."""
    rest = iter(rows)
    with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)) as pool:
        waiting = [pool.submit(work, row) for row in islice(rest, at_once)]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(work, row) for row in islice(rest, 1)]


def of_split(run: FinishedRun, split: Split, overrides: Sequence[str], folder: Path, lungs: str | None) -> Images:
    """The images of a split: of the run's own data, cut as it was then, or of the data set that `overrides` choose.

    `lungs` is a folder of lung masks, or a run that draws them; without it they are the data set's own. Only this
    split's files are read. Raises `ConfigError` where the data has other classes than the run.
    """
    other = any(override.startswith("data=") for override in overrides)
    if not other and not run.has(COMPOSED):
        raise RunError(
            f"{run.folder} has no {COMPOSED}, it was begun by an earlier pulmo: name its data, such as data=kermany "
            f"data.root=FOLDER data.split={run.folder / 'split.csv'}"
        )
    config = composed(overrides) if other else run.recorded(folder, overrides)
    if other:
        config.preprocess = {**run.origin["preprocess"], "missing": config.preprocess.missing}
    config.data.cache, config.data.on_error = "off", "raise"
    datamodule = _datamodule(run, config)
    if len(datamodule.class_names) != len(run.class_names) and "label" in datamodule.needs:
        raise ConfigError(
            f"the run knows {', '.join(run.class_names)}; the data has {', '.join(datamodule.class_names)}: "
            "choose data of as many classes, such as data.labels=binary"
        )
    datamodule.setup("test")
    table = datamodule.rows_of(split)
    if "label" not in datamodule.needs:  # of masks and boxes: whether there is anything to draw
        table = table.assign(label=_to_draw(run, table))
    if lungs is not None:
        table = table.assign(mask=_lungs(lungs, table, Path(config.data.root), str(config.data.cache_dir)))
    choice = next((override.partition("=")[2] for override in overrides if override.startswith("data=")), None)
    name = choice or OmegaConf.select(config, "choices.data") or type(datamodule).__name__.lower()
    return Images(f"{name} {split}", table.reset_index(drop=True), datamodule.preprocess, run.precision)


def of_paths(run: FinishedRun, paths: Sequence[Path], lungs: str | None) -> Images:
    """The files, and all images below the folders; raises `DataError` for a path that is not there."""
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataError(f"no file or folder {path}")
        files += images_below(path) if path.is_dir() else [path]
    files = list(dict.fromkeys(files))
    if not files:
        raise DataError(f"no image in {', '.join(map(str, paths))}")
    unique = len(by_stem(files)) == len(files)
    names = [path.stem if unique else path.as_posix() for path in files]
    table = pd.DataFrame({"image_id": names, "patient_id": names, "path": [str(path) for path in files]})
    table = table.assign(split="", label=-1, boxes=no_boxes(len(table)), mask="", view="")
    preprocess = run.preprocess()
    if lungs is None and preprocess.needs_mask:
        if preprocess.mask_run is None:
            raise ConfigError(
                "the run was trained on images with lung masks: give --lungs=FOLDER, of masks or of a run"
            )
        lungs = str(preprocess.mask_run)
    if lungs is not None:
        cache_dir = os.environ.get("PULMO_CACHE", "~/.cache/pulmo")  # as conf/data has it
        table["mask"] = _lungs(lungs, table, Path(os.path.commonpath([path.parent for path in files])), cache_dir)
    return Images("files", table, preprocess, run.precision)


def _datamodule(run: FinishedRun, config: DictConfig) -> ChestDataModule:
    datamodule: ChestDataModule = make(config.data)
    datamodule.needs = type(run.task).needs(run.origin["task"])
    datamodule.check()
    if datamodule.preprocess.needs_mask and datamodule.preprocess.mask_run is not None:
        datamodule.mask_source = automatic_masks(config, datamodule.preprocess.mask_run)
    return datamodule


def _to_draw(run: FinishedRun, table: pd.DataFrame) -> list[int]:
    of_lungs = run.origin["task"].get("target") == "lungs"
    return [1 if of_lungs else int(len(boxes) > 0) for boxes in table["boxes"]]


def _lungs(given: str, table: pd.DataFrame, root: Path, cache_dir: str) -> list[str]:
    """Paths of lung masks: those drawn by the run `given`, or those that lie in the folder."""
    place = Path(given).expanduser()
    if (place / "checkpoints" / "best.ckpt").is_file():
        return automatic_masks(OmegaConf.create({"data": {"cache_dir": cache_dir}}), place).masks_of(table)
    if not place.is_dir():
        raise DataError(f"--lungs={given}: no such folder; give one of masks, or of a run that draws lungs")
    masks = masks_for(table["path"].tolist(), root, given)
    if not any(masks):
        raise DataError(f"--lungs={given}: none of its files is called as an image")
    return masks
