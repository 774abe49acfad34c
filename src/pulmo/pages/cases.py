"""The test images that a classifier is most wrong and most right about, with where it looked."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from pulmo.data.datamodule import ChestDataModule
from pulmo.errors import ConfigError, DataError, RunError
from pulmo.finished import FinishedRun
from pulmo.heatmaps import HeatMaps
from pulmo.report.html import Block, Picture, Pictures, Text
from pulmo.report.thumbnails import thumbnail
from pulmo.run_data.opening import data_of
from pulmo.tasks.base import Task
from pulmo.tasks.classification import ClassificationTask

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
    explained = class_names[1] if len(class_names) == 2 else "the class that it called"
    told = (
        "The cases that the classifier is surest of, wrongly and rightly. What it looked at is hot: Grad-CAM, what "
        f"speaks for {explained}; a heat map tells where, not why."
        if heats is not None
        else "The cases that the classifier is surest of, wrongly and rightly; without heat maps."
    )
    yield Text(told)
    number = dict(zip(places, range(len(places)), strict=True))
    for group in chosen:
        pictures = []
        for place in group.places:
            row, heat = table.iloc[place], None if heats is None else heats[number[place]]
            caption = f"{row['image_id']}: {_said(row, class_names)}"
            pictures.append(Picture(thumbnail(prepared[number[place]], heat), caption))
        yield Text(group.title, "heading")
        yield Pictures(pictures, small=True)


def _said(row: "pd.Series[Any]", class_names: Sequence[str]) -> str:
    truth, called, score = class_names[int(row["label"])], class_names[int(row["prediction"])], float(row["score"])
    if len(class_names) == 2:
        return f"is {truth}, score {score:.3f} for {class_names[1]}"
    probability = float(row[f"score_{called}"])
    return f"is {truth}, called {called}, probability {probability:.3f}"


def _heats(task: Task | None, prepared: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32] | None:
    if not isinstance(task, ClassificationTask):
        return None
    try:
        return HeatMaps(task)(torch.from_numpy(prepared)[:, None])
    except (ConfigError, RuntimeError) as error:  # RuntimeError: a device without room for gradients
        log.warning("no heat maps in the report: %s", str(error).splitlines()[0])
        return None


def from_datamodule(datamodule: ChestDataModule) -> Images:
    """Test images of a data module that is set up; raises `DataError` where it has one of them no longer."""
    rows = {str(name): row for row, name in enumerate(datamodule.rows_of("test")["image_id"])}

    def images(image_ids: Sequence[str]) -> npt.NDArray[np.uint8]:
        lost = [name for name in image_ids if name not in rows]
        if lost:
            further = f", nor {len(lost) - 1} more of {len(image_ids)}" if len(lost) > 1 else ""
            raise DataError(f"{datamodule.root} has no image {lost[0]}{further}")
        batch = datamodule.samples("test", [rows[name] for name in image_ids])
        return np.asarray(batch["image"][:, 0].cpu().numpy(), np.uint8)

    return images


def from_files(run: FinishedRun, overrides: Sequence[str]) -> Images:
    """Test images read from where the run's configuration says, or its `overrides`, such as data.root=FOLDER.

    Raises `ConfigError` where an override names nothing of the data set, `DataError` where there is no such folder. Of
    a folder that the configuration alone names, what is not there is told when an image is asked for.
    """
    if any(override.startswith("data=") for override in overrides):
        raise ConfigError("a report is of the run's own test images; give values, such as data.root=FOLDER")
    try:
        datamodule = data_of(run, overrides, "test", cache="off", on_error="raise").datamodule
    except (DataError, RunError) as error:
        if overrides and isinstance(error, DataError):
            raise
        gone = error

        def nothing(_: Sequence[str]) -> npt.NDArray[np.uint8]:
            raise gone

        return nothing

    def images(image_ids: Sequence[str]) -> npt.NDArray[np.uint8]:
        datamodule.setup("test")
        return from_datamodule(datamodule)(image_ids)

    return images
