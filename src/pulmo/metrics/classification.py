"""Figures of a classifier from all scores of a split at once: the same on one process as on many."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_stat_scores,
    multiclass_auroc,
    multiclass_average_precision,
    multiclass_confusion_matrix,
)


def binary_metrics(scores: Tensor, labels: Tensor, thresholds: Mapping[str, float]) -> dict[str, float]:
    """Figures of (N,) float scores in [0, 1] against (N,) int labels {0, 1}.

    `thresholds` maps a suffix to a cut-off: {"": 0.37, "@0.5": 0.5} gives `accuracy`, `accuracy@0.5` and so on.
    Sensitivity is recall; precision is positive predictive value. A figure whose denominator is empty is NaN.
    """
    both = bool((labels == 1).any() and (labels == 0).any())
    figures = {
        "auroc": float(binary_auroc(scores, labels)) if both else math.nan,
        "average_precision": float(binary_average_precision(scores, labels)) if both else math.nan,
    }
    for suffix, threshold in thresholds.items():
        tp, fp, tn, fn, _ = binary_stat_scores((scores >= threshold).int(), labels).tolist()
        sensitivity, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
        at = {
            "accuracy": _ratio(tp + tn, tp + fp + tn + fn),
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "precision": _ratio(tp, tp + fp),
            "sensitivity": sensitivity,
            "specificity": specificity,
            "f1": _ratio(2 * tp, 2 * tp + fp + fn),
            "true_positives": tp,
            "false_positives": fp,
            "true_negatives": tn,
            "false_negatives": fn,
        }
        figures |= {f"{name}{suffix}": value for name, value in at.items()}
    return figures


def multiclass_metrics(probabilities: Tensor, labels: Tensor, class_names: Sequence[str]) -> dict[str, float]:
    """Figures of (N, K) probabilities against (N,) int labels: means over classes, and each class's own.

    AUROC and average precision are one class against the rest, mean over classes; NaN if a class has no image.
    """
    classes = len(class_names)
    counts = multiclass_confusion_matrix(probabilities, labels, classes).double()
    truth, predicted, right = counts.sum(1), counts.sum(0), counts.diagonal()
    sensitivity = right / truth  # NaN where a class has no image
    f1 = 2 * right / (truth + predicted)
    complete = bool((truth > 0).all())
    figures = {
        "auroc": float(multiclass_auroc(probabilities, labels, classes)) if complete else math.nan,
        "average_precision": (
            float(multiclass_average_precision(probabilities, labels, classes)) if complete else math.nan
        ),
        "accuracy": float(right.sum() / counts.sum()),
        "balanced_accuracy": float(sensitivity.mean()),
        "f1": float(f1.mean()),
    }
    for name, value, precision in zip(class_names, sensitivity.tolist(), (right / predicted).tolist(), strict=True):
        figures |= {f"sensitivity/{name}": value, f"precision/{name}": precision}
    return figures


def scores_of(logits: Tensor) -> Tensor:
    """(N, 1) logits to (N,) scores, (N, 2) to the second class's (N,), (N, K) to (N, K) probabilities; float64.

    In double precision, since in single a confident network's scores collapse to 1.0 and their order is lost.
    """
    if logits.shape[1] == 1:
        return logits[:, 0].double().sigmoid()
    probabilities = torch.softmax(logits.double(), dim=1)
    return probabilities[:, 1] if logits.shape[1] == 2 else probabilities


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
