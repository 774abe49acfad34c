"""The test images that a classifier is most wrong and most right about, with where it looked."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf

from pulmo.data.datamodule import ChestDataModule
from pulmo.data.preparing import OnTheFly, Recipe
from pulmo.earlier_runs import automatic_masks
from pulmo.errors import ConfigError, DataError, RunError
from pulmo.experiment import make
from pulmo.finished import FinishedRun
from pulmo.heatmaps import HeatMaps
from pulmo.report.html import Block, Picture, Pictures, Text
from pulmo.report.thumbnails import thumbnail
from pulmo.tasks.base import Task
from pulmo.tasks.classification import ClassificationTask
from pulmo.types import TABLE_COLUMNS

log = logging.getLogger(__name__)

EACH = 3
"""Cases of each of four groups: six wrong and six right ones."""
Images = Callable[[Sequence[str]], npt.NDArray[np.uint8]]
"""Image ids to (B, H, W) uint8, prepared as the network was shown them."""


@dataclass(frozen=True)
class Group:
    """Images that have something in common; `places` are rows of the predictions."""

    title: str
    places: list[int]


def groups(table: pd.DataFrame, cut_off: float, class_names: Sequence[str], each: int = EACH) -> list[Group]:
    """The `each` surest of the missed, falsely alarmed, found and cleared images; of several classes, wrong and right.

    How sure a decision is: how far the score lies from the cut-off, as a share of how far it could.
    """
    label, called = table["label"].to_numpy(), table["prediction"].to_numpy()
    if len(class_names) == 2:
        score = table["score"].to_numpy(float)
        room = np.where(score >= cut_off, max(1 - cut_off, 1e-9), max(cut_off, 1e-9))
        sure = np.abs(score - cut_off) / room
        kinds = {
            f"Worst: {class_names[1]}, missed": (label == 1) & (called == 0),
            f"Worst: {class_names[0]}, called {class_names[1]}": (label == 0) & (called == 1),
            f"Best: {class_names[1]}, found": (label == 1) & (called == 1),
            f"Best: {class_names[0]}, cleared": (label == 0) & (called == 0),
        }
    else:
        scores = table[[f"score_{name}" for name in class_names]].to_numpy(float)
        sure = scores.max(axis=1)
        kinds = {"Worst: confidently wrong": label != called, "Best: confidently right": label == called}
    found = []
    for title, chosen in kinds.items():
        places = np.flatnonzero(chosen)
        found.append(Group(title, [int(place) for place in places[np.argsort(-sure[places], kind="stable")][:each]]))
    return [group for group in found if group.places]


def shown(
    table: pd.DataFrame, cut_off: float, class_names: Sequence[str], images: Images, task: Task | None
) -> Iterator[Block]:
    """Each group's images as thumbnails, heat maps beside them where there is a task.

    Raises `DataError` where the images cannot be had.
    """
    chosen = groups(table, cut_off, class_names)
    places = [place for group in chosen for place in group.places]
    if not places:
        return
    prepared = images([str(table["image_id"].iat[place]) for place in places])
    heats = _heats(task, prepared)
    told = (
        "The cases that the classifier is surest of, wrongly and rightly. What it looked at is hot: Grad-CAM, "
        "what speaks for the positive class; a heat map tells where, not why."
        if heats is not None
        else "The cases that the classifier is surest of, wrongly and rightly; without heat maps."
    )
    yield Text(told)
    number = dict(zip(places, range(len(places)), strict=True))
    for group in chosen:
        pictures = []
        for place in group.places:
            row, heat = table.iloc[place], None if heats is None else heats[number[place]]
            truth = class_names[int(row["label"])]
            caption = f"{row['image_id']}: {truth}, score {float(row['score']):.3f}"
            pictures.append(Picture(thumbnail(prepared[number[place]], heat), caption))
        yield Text(group.title, "heading")
        yield Pictures(pictures, small=True)


def _heats(task: Task | None, prepared: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32] | None:
    if not isinstance(task, ClassificationTask):
        return None
    try:
        return HeatMaps(task)(torch.from_numpy(prepared)[:, None])
    except (ConfigError, RuntimeError) as error:  # RuntimeError: a device without room for gradients
        log.warning("no heat maps in the report: %s", str(error).splitlines()[0])
        return None


def from_datamodule(datamodule: ChestDataModule) -> Images:
    """Test images of a data module that is set up."""
    rows = {str(name): row for row, name in enumerate(datamodule.rows_of("test")["image_id"])}

    def images(image_ids: Sequence[str]) -> npt.NDArray[np.uint8]:
        batch = datamodule.samples("test", [rows[name] for name in image_ids])
        return np.asarray(batch["image"][:, 0].cpu().numpy(), np.uint8)

    return images


def from_files(run: FinishedRun, overrides: Sequence[str]) -> Images:
    """Images read from where the run's configuration says, or its `overrides`, such as data.root=FOLDER.

    Raises `RunError` where an override names nothing of the data set.
    """
    changed = _changed(run.config, overrides) if overrides else None

    def images(image_ids: Sequence[str]) -> npt.NDArray[np.uint8]:
        config = run.config if changed is None else changed
        datamodule: ChestDataModule = make(config.data)
        datamodule.check()
        table = datamodule.index()
        table = table[table["image_id"].isin(set(image_ids))].set_index("image_id", drop=False)
        lost = [name for name in image_ids if name not in table.index]
        if lost:
            raise DataError(f"{config.data.root} has no image {lost[0]}, and {len(lost) - 1} more of {len(image_ids)}")
        table = table.loc[list(image_ids)].reset_index(drop=True)
        preprocess = datamodule.preprocess
        if preprocess.needs_mask and preprocess.mask_run is not None:
            table = table.assign(mask=automatic_masks(config, preprocess.mask_run).masks_of(table))
        store = OnTheFly(Recipe(table[list(TABLE_COLUMNS)], preprocess, False))
        return np.stack([store[row].image for row in range(len(table))])

    return images


def _changed(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    changed: Any = OmegaConf.create(OmegaConf.to_container(config))
    for override in overrides:
        key, given, value = override.partition("=")
        if not given or not key.startswith("data.") or key.removeprefix("data.") not in changed.data:
            raise RunError(f"{override}: a report takes values of its data set alone, such as data.root=FOLDER")
        changed.data[key.removeprefix("data.")] = value
    return DictConfig(changed)
