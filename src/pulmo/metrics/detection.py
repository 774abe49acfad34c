"""Figures of predicted boxes: matching, counts at every cut-off, FROC, COCO's mean average precision.

All take lists over images: predictions as `ScoredBoxes`, truths as (M, 4) xyxy pixels. An image may have none of
either. A box is kept where score ≥ cut-off, compared in double precision.
"""

import logging
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision
from torchvision.ops import box_iou

# It tells each step and a table of figures at INFO, at every call.
logging.getLogger("faster_coco_eval").setLevel(logging.WARNING)

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

ScoredBoxes = tuple[Tensor, Tensor]
"""What is predicted on one image: (N, 4) xyxy pixels and (N,) scores in [0, 1], in any order."""

FROC_RATES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)


class BoxCurve(NamedTuple):
    """Counts over all images at each cut-off, falling; the first keeps nothing, the last everything."""

    cuts: Floats
    true_positives: Counts
    false_positives: Counts
    truths: int


def matches(boxes: Tensor, scores: Tensor, truth: Tensor, iou_thresholds: Sequence[float]) -> Tensor:
    """(T, N) bool, on the CPU: whether each of the N boxes, in the order of the input, is a true positive.

    By falling score, of equals the first given, each box takes the true box not yet taken with which its IoU is
    largest, if that IoU is above (not at) the threshold. So lower scores never change what higher ones took.
    """
    # In single precision an IoU of 2/5 lies above 0.4.
    overlaps = box_iou(boxes.cpu().double().reshape(-1, 4), truth.cpu().double().reshape(-1, 4))
    iou = overlaps.detach().numpy()  # NaN where both boxes are without area: above no threshold
    thresholds = np.asarray(iou_thresholds, np.float64)
    hits = np.zeros((len(thresholds), len(iou)), bool)
    taken = np.zeros((len(thresholds), iou.shape[1]), bool)
    near = (iou > thresholds.min(initial=1.0)).any(1)
    for box in falling_order(as_array(scores)):
        if near[box]:
            left = np.where(taken, -1.0, iou[box])
            hits[:, box] = left.max(1) > thresholds
            hit = np.flatnonzero(hits[:, box])
            taken[hit, left.argmax(1)[hit]] = True
    return torch.from_numpy(hits)


def falling_order(scores: Floats) -> npt.NDArray[np.intp]:
    """Positions of (N,) scores from the highest to the lowest; equals stay in the order of the input."""
    return np.argsort(-scores, kind="stable")


def cut_offs(falling: Floats) -> tuple[Floats, Counts]:
    """Every cut-off that decides differently on (N,) falling scores, itself falling, and how many scores it keeps.

    The first, 1 or just above the highest score, keeps none; then each lies halfway between a score and the next
    lower one, so that scores which differ in their last digits on another machine fall on the same side.
    """
    last = np.flatnonzero(np.diff(falling, append=-np.inf))  # of each run of equal scores
    step = falling[last]
    halfway = np.maximum((step[:-1] + step[1:]) / 2, np.nextafter(step[1:], step[:-1]))  # neighbours have no middle
    # The next number in single precision, so that it is above the score there too.
    nothing = max([1.0, *np.nextafter(step[:1].astype(np.float32), np.float32(np.inf)).tolist()])
    return np.concatenate([[nothing], halfway, step[-1:] / 2]), np.append(0, last + 1)


def box_curve(predictions: Sequence[ScoredBoxes], truths: Sequence[Tensor], iou: float = 0.4) -> BoxCurve:
    """Count right and wrong boxes at every cut-off, matched as `matches` does at one IoU."""
    scores = joined(as_array(scores) for _, scores in predictions)
    right = joined(
        matches(boxes, scores, truth, (iou,))[0].numpy()
        for (boxes, scores), truth in zip(predictions, truths, strict=True)
    )
    order = falling_order(scores)
    cuts, kept = cut_offs(scores[order])
    true_positives = np.append(0, right[order].cumsum())[kept].astype(np.int64)
    return BoxCurve(cuts, true_positives, kept - true_positives, sum(map(len, truths)))


def froc(predictions: Sequence[ScoredBoxes], truths: Sequence[Tensor], iou: float = 0.4) -> tuple[Floats, Floats]:
    """False positives an image, over all images, and sensitivity of boxes, at each cut-off of `box_curve`.

    Both rise from 0. NaN where there is no image, or no true box.
    """
    curve = box_curve(predictions, truths, iou)
    rates = curve.false_positives / (len(predictions) or math.nan)
    return rates, curve.true_positives / (curve.truths or math.nan)


def froc_score(predictions: Sequence[ScoredBoxes], truths: Sequence[Tensor], iou: float = 0.4) -> float:
    """Mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives an image; NaN without a true box.

    The rates are LUNA16's (Setio 2017, 10.1016/j.media.2017.06.015; CAMELYON16 leaves out 1/8), and like its script
    this reads the curve linearly between cut-offs. Beyond the last one the sensitivity stays what it is there.
    """
    rates, sensitivity = froc(predictions, truths, iou)
    return float(np.interp(FROC_RATES, rates, sensitivity).mean())


def coco_map(predictions: Sequence[ScoredBoxes], truths: Sequence[Tensor]) -> dict[str, float]:
    """COCO's average precision of one class: `map` (IoU 0.50 to 0.95), `map_50`, `map_75`; NaN without a true box.

    The lists are those of all processes. Of each image the 100 highest scores count (cocodataset.org/#detection-eval).
    """
    names = ("map", "map_50", "map_75")
    if not any(map(len, truths)):
        return dict.fromkeys(names, math.nan)
    metric = MeanAveragePrecision(backend="faster_coco_eval", sync_on_compute=False)
    metric.warn_on_many_detections = False
    metric.update(
        [{"boxes": boxes, "scores": scores, "labels": _one_class(boxes)} for boxes, scores in predictions],
        [{"boxes": boxes, "labels": _one_class(boxes)} for boxes in truths],
    )
    figures = metric.compute()
    return {name: float(figures[name]) for name in names}


def as_array(scores: Tensor) -> Floats:
    """The same numbers in double precision, on the CPU."""
    return scores.detach().cpu().double().numpy()


def joined(parts: Iterable[npt.NDArray[np.generic]]) -> Floats:
    """All parts in a row, in double precision; of no part an empty one."""
    return np.concatenate([np.empty(0), *parts])


def _one_class(boxes: Tensor) -> Tensor:
    return torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
