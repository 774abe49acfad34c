"""The images that are explained: of a split of a data set, or files; each prepared as the run's own were."""

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from pulmo.data.dataset import BoxShape
from pulmo.data.lists import by_stem, images_below, masks_for, no_boxes
from pulmo.data.preparing import Prepared, Recipe
from pulmo.earlier_runs import automatic_masks
from pulmo.errors import ConfigError, DataError, UnreadableImageError
from pulmo.finished import FinishedRun
from pulmo.run_data.opening import data_of
from pulmo.run_data.selection import Wanted
from pulmo.transforms.preprocess import Preprocess

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Images:
    """What is explained: one row an image in `table`, with `TABLE_COLUMNS`; label -1 where it is not known.

    name  such as "kermany test"; `lungs` says whether any row has a lung mask, `labelled` whether labels are known
    precision  `trainer.precision` of the run, by which its scores are
    notes      what must be known of them
    box_shape  how opacity masks fill their boxes
    """

    name: str
    table: pd.DataFrame
    preprocess: Preprocess
    precision: str = "32-true"
    notes: list[str] = field(default_factory=list)
    box_shape: BoxShape = "box"

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


def of_split(run: FinishedRun, wanted: Wanted | None, overrides: Sequence[str], lungs: str | None) -> Images:
    """The images of a split of the run's own data, or of the data set that `overrides` choose; see `run_data.data_of`.

    `lungs` is a folder of lung masks, or a run that draws them; without it they are the data set's own.
    """
    found = data_of(run, overrides, wanted, cache="off", on_error="raise")
    datamodule = found.datamodule
    given = None
    if lungs is not None:
        given = _Lungs(lungs, Path(found.config.data.root).expanduser(), str(found.config.data.cache_dir))
        datamodule.mask_source = given  # a run that is shown masked lungs needs them to set up
    datamodule.setup("test")
    table = datamodule.rows_of("test")
    if "label" not in datamodule.needs:  # of masks and boxes: whether there is anything to draw
        table = table.assign(label=_to_draw(run, table))
    if given is not None and not datamodule.preprocess.needs_mask:
        table = table.assign(mask=given.masks_of(table))
    notes = [*found.notes, *found.selection.notes]
    name = f"{found.name} {found.selection.split}"
    shape = datamodule.box_shape
    return Images(name, table.reset_index(drop=True), datamodule.preprocess, run.precision, notes, shape)


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
        root = Path(os.path.commonpath([os.path.abspath(path.parent) for path in files]))
        table["mask"] = _Lungs(lungs, root, cache_dir).masks_of(table)
    return Images("files", table, preprocess, run.precision)


def _to_draw(run: FinishedRun, table: pd.DataFrame) -> list[int]:
    of_lungs = run.origin["task"].get("target") == "lungs"
    return [1 if of_lungs else int(len(boxes) > 0) for boxes in table["boxes"]]


@dataclass(frozen=True)
class _Lungs:
    """Lung masks that were `given`: those drawn by a run, or those that lie in a folder as the images below `root`."""

    given: str
    root: Path
    cache_dir: str

    @property
    def said(self) -> str:
        return f"--lungs={self.given}"

    def masks_of(self, table: pd.DataFrame) -> list[str]:
        place = Path(self.given).expanduser()
        if (place / "checkpoints" / "best.ckpt").is_file():
            return automatic_masks(OmegaConf.create({"data": {"cache_dir": self.cache_dir}}), place).masks_of(table)
        if not place.is_dir():
            raise DataError(f"--lungs={self.given}: no such folder; give one of masks, or of a run that draws lungs")
        masks = masks_for(table["path"].tolist(), self.root, self.given)
        if not any(masks):
            raise DataError(f"--lungs={self.given}: none of its files is called as an image")
        return masks
