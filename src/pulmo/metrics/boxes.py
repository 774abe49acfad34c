"""All figures of boxes at once, for whatever task predicts them."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from pulmo.metrics.detection import box_curve, coco_map, froc_score, matches
from pulmo.metrics.rsna import RSNAScore
from pulmo.types import Predictions


def detection_metrics(boxes: Sequence[Tensor], truths: Sequence[Tensor], cut_off: float = 0.0) -> dict[str, float]:
    """Figures of a split's (D_i, 5) boxes with scores against (G_i, 4) true ones.

    `rsna_score`, `box_sensitivity`, `box_precision`, `box_f1` and `false_positives_per_image` are of the boxes with
    score ≥ `cut_off`, the last four at IoU above 0.4; `map`, `map_50`, `map_75` and `froc_score` look at all boxes.
    """
    scored = [(part[:, :4], part[:, 4]) for part in boxes]
    kept = [(part[part[:, 4].double() >= cut_off, :4], part[part[:, 4].double() >= cut_off, 4]) for part in boxes]
    rsna = RSNAScore(sync_on_compute=False)  # the boxes are those of all processes already
    rsna.update(kept, truths)
    curve = box_curve(kept, truths)
    tp, fp = int(curve.true_positives[-1]), int(curve.false_positives[-1])
    return {
        "rsna_score": float(rsna.compute()),
        "box_sensitivity": _ratio(tp, curve.truths),
        "box_precision": _ratio(tp, tp + fp),
        "box_f1": _ratio(2 * tp, tp + fp + curve.truths),
        "false_positives_per_image": _ratio(fp, len(truths)),
        "froc_score": froc_score(scored, truths),
        **coco_map(scored, truths),
    }


def box_columns(predictions: Predictions) -> dict[str, npt.NDArray[Any]]:
    """Table of all predicted boxes: `row` of the image, `box` (N, 4), `score`, `true_positive` at IoU above 0.4."""
    pairs = list(zip(predictions["boxes"], predictions["true_boxes"], strict=True))
    boxes = torch.cat([torch.zeros((0, 5)), *predictions["boxes"]]).numpy()
    right = [matches(part[:, :4], part[:, 4], truth, (0.4,))[0] for part, truth in pairs]
    counts = torch.tensor([len(part) for part, _ in pairs], dtype=torch.int64)
    return {
        "row": predictions["row"].repeat_interleave(counts).numpy(),
        "box": boxes[:, :4],
        "score": boxes[:, 4],
        "true_positive": torch.cat([torch.zeros(0, dtype=torch.bool), *right]).int().numpy(),
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
