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
    """

    row: int
    prepared: Prepared
    probabilities: npt.NDArray[np.float64]
    heat: npt.NDArray[np.float32] | None


def looks(task: Task, images: Images, rows: Sequence[int], heat: HeatMaps | None, told: str = "") -> Iterator[Look]:
    """One look at each row that can be read, in order; `told` names the bar on the screen."""
    found = images.prepared(rows)
    if told:
        found = iter(track(found, told, total=len(rows), transient=True))
    waiting: list[tuple[int, Prepared]] = []
    for pair in found:
        waiting.append(pair)
        if len(waiting) == BATCH:
            yield from _looked(task, waiting, heat, images.precision)
            waiting = []
    if waiting:
        yield from _looked(task, waiting, heat, images.precision)


def _looked(task: Task, pairs: list[tuple[int, Prepared]], heat: HeatMaps | None, precision: str) -> Iterator[Look]:
    batch = torch.from_numpy(np.stack([prepared.image for _, prepared in pairs]))[:, None].to(task.device)
    said = probabilities(task, batch, precision)
    maps = [None] * len(pairs) if heat is None else list(heat(batch))
    for (row, prepared), probability, found in zip(pairs, said, maps, strict=True):
        yield Look(row, prepared, probability, found)


def probabilities(task: Task, images: Tensor, precision: str = "32-true") -> npt.NDArray[np.float64]:
    """(B, K) float64 of the classes; of a segmentation (B, 2), by the highest probability of a pixel.

    In the run's own `precision`, so that scores and decisions are those of its predictions; heat is in float32.
    """
    with torch.inference_mode(), computing_in(lowered(precision, task.device.type), task.device):
        logits = task(images).float().cpu()
    scores = logits.sigmoid().flatten(1).amax(1) if isinstance(task, SegmentationTask) else scores_of(logits)
    if scores.ndim == 1:
        scores = torch.stack([1 - scores, scores], dim=1)
    return np.asarray(scores.double().numpy())


def decided(task: Task, said: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """(N,) labels by the run's cut-off of (N, 2) probabilities; of several classes the likeliest."""
    if said.shape[1] == 2:
        return (said[:, 1] >= np.float32(task.cut_off)).astype(np.int64)
    return np.asarray(said.argmax(1), np.int64)


def table_of(task: Task, images: Images, rows: Sequence[int], said: npt.NDArray[np.float64]) -> pd.DataFrame:
    """One row an image: `image_id, patient_id, label, score, prediction`, `of_truth` the probability of its label.

    `score` is that of the second of two classes, of several that of the one called, as in a run's predictions.
    """
    table = images.table.iloc[list(rows)][["image_id", "patient_id", "label"]].reset_index(drop=True)
    prediction = decided(task, said)
    score = said[:, 1] if said.shape[1] == 2 else said.max(1)
    labels = table["label"].to_numpy()
    truth = np.where(labels >= 0, said[np.arange(len(said)), labels.clip(0)], math.nan)
    return table.assign(score=score, prediction=prediction, of_truth=truth)


def chosen(table: pd.DataFrame, choice: Choice, count: int, image_ids: Sequence[str] = ()) -> list[int]:
    """Places in `table`: of the least or most probable truths, the errors, all, or those called `image_ids`."""
    order = table["of_truth"].to_numpy().argsort(kind="stable")
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
