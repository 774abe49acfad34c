"""A network's scores and heat of many images, one batch at a time."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from rich.progress import track
from torch import Tensor

from pulmo.data.dataset import filled
from pulmo.data.preparing import Prepared
from pulmo.execution import computing_in, lowered
from pulmo.explanation.images import Images
from pulmo.heatmaps import HeatMaps
from pulmo.metrics.classification import scores_of
from pulmo.tasks.base import Task
from pulmo.tasks.segmentation import SegmentationTask

BATCH = 16

Choice = Literal["worst", "best", "errors", "all", "image"]


@dataclass(frozen=True, eq=False)
class Look:
    """What the network says of the image in `row`, and where it looks.

    probabilities  (K,) of each class; of a mask, that there is none and that there is one
    heat           (S, S) float32 in [0, 1]; None where none was asked for
    dice           of the mask that was drawn with the true one, on the network's pixels; 1 where both are empty, NaN
                   where there is no true one, or no mask was to be drawn
    """

    row: int
    prepared: Prepared
    probabilities: npt.NDArray[np.float64]
    heat: npt.NDArray[np.float32] | None
    dice: float = math.nan


def looks(task: Task, images: Images, rows: Sequence[int], heat: HeatMaps | None, told: str = "") -> Iterator[Look]:
    """One look at each row that can be read, in order; `told` names the bar on the screen."""
    found = images.prepared(rows)
    if told:
        found = iter(track(found, told, total=len(rows), transient=True))
    waiting: list[tuple[int, Prepared]] = []
    for pair in found:
        waiting.append(pair)
        if len(waiting) == BATCH:
            yield from _looked(task, images, waiting, heat)
            waiting = []
    if waiting:
        yield from _looked(task, images, waiting, heat)


def _looked(task: Task, images: Images, pairs: list[tuple[int, Prepared]], heat: HeatMaps | None) -> Iterator[Look]:
    batch = torch.from_numpy(np.stack([prepared.image for _, prepared in pairs]))[:, None].to(task.device)
    logits = _logits(task, batch, images.precision)
    maps = [None] * len(pairs) if heat is None else list(heat(batch))
    for place, ((row, prepared), probability, found) in enumerate(zip(pairs, _said(task, logits), maps, strict=True)):
        dice = math.nan
        if isinstance(task, SegmentationTask):
            true = _true_mask(task, images, row, prepared)
            dice = _dice((logits[place, 0].sigmoid() >= task.cut_off).numpy(), true) if true is not None else dice
        yield Look(row, prepared, probability, found, dice)


def _true_mask(task: SegmentationTask, images: Images, row: int, prepared: Prepared) -> npt.NDArray[np.bool_] | None:
    if task.target == "lungs":
        return None if prepared.lung_mask is None else prepared.lung_mask > 0
    if images.table["label"].to_numpy()[row] < 0:
        return None
    boxes = prepared.geometry.boxes(np.asarray(images.table["boxes"].iat[row], np.float32).reshape(-1, 4))
    return filled(boxes, len(prepared.image), images.box_shape) > 0


def _dice(drawn: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    both = int(drawn.sum() + true.sum())
    return 2 * int((drawn & true).sum()) / both if both else 1.0


def probabilities(task: Task, images: Tensor, precision: str = "32-true") -> npt.NDArray[np.float64]:
    """(B, K) float64 of the classes; of a segmentation (B, 2), by the highest probability of a pixel.

    In the run's own `precision`, so that scores and decisions are those of its predictions; heat is in float32.
    """
    return _said(task, _logits(task, images, precision))


def _logits(task: Task, images: Tensor, precision: str) -> Tensor:
    with torch.inference_mode(), computing_in(lowered(precision, task.device.type), task.device):
        found: Tensor = task(images).float().cpu()
    return found


def _said(task: Task, logits: Tensor) -> npt.NDArray[np.float64]:
    scores = logits.sigmoid().flatten(1).amax(1) if isinstance(task, SegmentationTask) else scores_of(logits)
    if scores.ndim == 1:
        scores = torch.stack([1 - scores, scores], dim=1)
    return np.asarray(scores.double().numpy())


def decided(task: Task, said: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """(N,) labels by the run's cut-off of (N, 2) probabilities; of several classes the likeliest."""
    if said.shape[1] == 2:
        return (said[:, 1] >= np.float32(task.cut_off)).astype(np.int64)
    return np.asarray(said.argmax(1), np.int64)


def table_of(
    task: Task, images: Images, rows: Sequence[int], said: npt.NDArray[np.float64], dice: Sequence[float]
) -> pd.DataFrame:
    """One row an image: `image_id, patient_id, label, score, prediction`, and how well it went.

    That is `of_truth`, the probability of its label, or of a segmentation `dice`, of `Look`. `score` is that of the
    second of two classes, of several that of the one called, as in a run's predictions.
    """
    table = images.table.iloc[list(rows)][["image_id", "patient_id", "label"]].reset_index(drop=True)
    prediction = decided(task, said)
    score = said[:, 1] if said.shape[1] == 2 else said.max(1)
    if isinstance(task, SegmentationTask):
        return table.assign(score=score, prediction=prediction, dice=list(dice))
    labels = table["label"].to_numpy()
    truth = np.where(labels >= 0, said[np.arange(len(said)), labels.clip(0)], math.nan)
    return table.assign(score=score, prediction=prediction, of_truth=truth)


def chosen(table: pd.DataFrame, choice: Choice, count: int, image_ids: Sequence[str] = ()) -> list[int]:
    """Places in `table`: where it went worst or best, the errors, all, or those called `image_ids`."""
    went = table["dice" if "dice" in table else "of_truth"].to_numpy()
    order = went.argsort(kind="stable")[: int(np.isfinite(went).sum())]  # without those of which nobody can tell
    if choice == "worst":
        return [int(place) for place in order[:count]]
    if choice == "best":
        return [int(place) for place in order[::-1][:count]]
    if choice == "errors":
        wrong = (table["label"] != table["prediction"]).to_numpy()
        return [int(place) for place in order if wrong[place]]
    if choice == "image":
        return [int(place) for place in np.flatnonzero(table["image_id"].isin(list(image_ids)))]
    return list(range(len(table)))
