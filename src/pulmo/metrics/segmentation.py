"""Figures of predicted masks at every cut-off of a grid, from one small histogram per image.

No probability map is kept, and counts are whole numbers: a split's figures are the same on one process as on many.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

BINS = 100
"""Cut-offs lie on the grid 0, 1 / BINS … 1."""


def mask_histograms(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Count each image's pixels by the highest cut-off of the grid that they reach.

    (B, H, W) float in [0, 1] and (B, H, W) uint8 {0, 1} give (B, 2, BINS + 1) int64: background [:, 0] and
    foreground [:, 1]. The sum from bin k on is exactly the number of pixels with p ≥ k / BINS, as the dtype of
    `probabilities` has it. A NaN reaches no cut-off above 0. Raises ValueError where the shapes differ.
    """
    if probabilities.ndim != 3 or probabilities.shape != masks.shape:
        raise ValueError(f"probabilities {tuple(probabilities.shape)}, masks {tuple(masks.shape)}: both (B, H, W)")
    probabilities = probabilities.nan_to_num(nan=0.0).clamp(0, 1)
    # The product may fall on the wrong side of a cut-off (0.29 * 100 < 29), so it only names the nearest one.
    nearest = (probabilities * BINS).round().int()
    bins = nearest - (probabilities < _grid().to(probabilities)[nearest]).int()
    images = torch.arange(len(masks), dtype=torch.int32, device=bins.device).view(-1, 1, 1)
    places = (2 * images + masks.bool()) * (BINS + 1) + bins
    return torch.bincount(places.flatten(), minlength=len(masks) * 2 * (BINS + 1)).view(-1, 2, BINS + 1)


def on_grid(cut_off: float) -> float:
    """Give the grid's cut-off nearest to `cut_off`: the one that is used, so the one to report.

    Raises ValueError outside [0, 1].
    """
    return _bin(cut_off) / BINS


def counts_at(histograms: Tensor, cut_off: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Count true positive, false positive, false negative and true negative pixels of each image.

    (N, 2, BINS + 1) histograms give four (N,) int64, at `on_grid(cut_off)`.
    """
    negatives, positives = histograms.sum(2).unbind(1)
    fp, tp = histograms[:, :, _bin(cut_off) :].sum(2).unbind(1)
    return tp, fp, positives - tp, negatives - fp


def segmentation_metrics(histograms: Tensor, cut_offs: Mapping[str, float]) -> dict[str, float]:
    """Figures of (N, 2, BINS + 1) histograms; `cut_offs` maps a suffix to a cut-off, as in `binary_metrics`.

    `dice` and `iou` are means over the images whose true mask isn't empty; `_with_empty` over all images, where one
    with an empty true mask counts 1 if nothing is predicted and 0 otherwise. `_pooled` and `pixel_` are over all
    pixels of the split at once; `mean_iou` is the mean of the foreground's and the background's pooled IoU.
    Sensitivity is recall; precision is positive predictive value. A figure whose denominator is empty is NaN.
    """
    figures: dict[str, float] = {}
    for suffix, cut_off in cut_offs.items():
        tp, fp, fn, tn = counts_at(histograms, cut_off)
        drawn = tp + fn > 0
        dice, iou = _dice(tp, fp, fn), _iou(tp, fp, fn)
        tp, fp, fn, tn = tp.sum(), fp.sum(), fn.sum(), tn.sum()
        at = {
            "dice": dice[drawn].mean(),
            "iou": iou[drawn].mean(),
            "dice_with_empty": dice.nan_to_num(nan=1.0).mean(),
            "iou_with_empty": iou.nan_to_num(nan=1.0).mean(),
            "dice_pooled": _dice(tp, fp, fn),
            "iou_pooled": _iou(tp, fp, fn),
            "mean_iou": (_iou(tp, fp, fn) + _iou(tn, fn, fp)) / 2,
            "pixel_accuracy": _ratio(tp + tn, tp + fp + fn + tn),
            "pixel_sensitivity": _ratio(tp, tp + fn),
            "pixel_precision": _ratio(tp, tp + fp),
        }
        figures |= {f"{name}{suffix}": float(value) for name, value in at.items()}
    return figures


def per_image(histograms: Tensor, cut_off: float) -> dict[str, Tensor]:
    """Each image's figures at `on_grid(cut_off)`: columns of (N,) float64.

    `dice` and `iou` are NaN where both masks are empty, 0 where one is; areas are shares of the image.
    """
    tp, fp, fn, tn = counts_at(histograms, cut_off)
    pixels = tp + fp + fn + tn
    return {
        "dice": _dice(tp, fp, fn),
        "iou": _iou(tp, fp, fn),
        "pixel_accuracy": _ratio(tp + tn, pixels),
        "true_area": _ratio(tp + fn, pixels),
        "predicted_area": _ratio(tp + fp, pixels),
    }


def pooled_curve(histograms: Tensor) -> tuple[Tensor, Tensor, Tensor, int, int]:
    """Every cut-off of the grid, falling from 1 to 0, with the split's pixels that reach it.

    Gives (BINS + 1,) float64 cut-offs, (BINS + 1,) int64 true and false positives, and the numbers of positive
    and of negative pixels.
    """
    false_positives, true_positives = histograms.sum(0).flip(1).cumsum(1)
    cut_offs = _grid().flip(0).to(histograms.device)
    return cut_offs, true_positives, false_positives, int(true_positives[-1]), int(false_positives[-1])


def _grid() -> Tensor:
    return torch.arange(BINS + 1, dtype=torch.float64) / BINS  # each the very float that k / BINS is in Python


def _bin(cut_off: float) -> int:
    if not 0 <= cut_off <= 1:
        raise ValueError(f"cut-off {cut_off}: a probability between 0 and 1")
    return round(cut_off * BINS)


def _dice(tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
    return _ratio(2 * tp, 2 * tp + fp + fn)


def _iou(tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
    return _ratio(tp, tp + fp + fn)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return part.double() / whole  # NaN where both are 0; in single precision a split's pixels would be rounded
