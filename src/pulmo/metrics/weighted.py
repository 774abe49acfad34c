"""Figures of two classes where each image counts a number of times: what a bootstrap asks of, ten thousand times."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BinaryFigures:
    """AUROC, average precision and Brier score of (N,) scores in [0, 1] against (N,) labels {0, 1}, and at each cut-off
    of `cuts` the figures of the decision, as `metrics.classification.binary_metrics` names them.

    Called with weights (B, N) it gives (B,) values a figure; weights of one give the plain figures.
    """

    scores: Values
    labels: npt.NDArray[np.int64]
    cuts: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        order = np.argsort(self.scores, kind="stable")
        ordered = self.scores[order]
        starts = np.flatnonzero(np.append(True, np.diff(ordered) != 0)) if len(order) else np.empty(0, np.intp)
        object.__setattr__(self, "_order", order)
        object.__setattr__(self, "_starts", starts)

    def __call__(self, weights: Weights) -> dict[str, Values]:
        """(B, N) weights to (B,) values of each figure; NaN where a denominator is empty."""
        with np.errstate(invalid="ignore", divide="ignore"):
            figures = self._ranked(weights) | self._brier(weights)
            for suffix, cut in self.cuts.items():
                figures |= {f"{name}{suffix}": value for name, value in self._decided(weights, cut).items()}
        return figures

    def _ranked(self, weights: Weights) -> dict[str, Values]:
        """By the ranks of the scores; equal scores are one step."""
        order: npt.NDArray[np.intp] = self._order  # type: ignore[attr-defined]
        starts: npt.NDArray[np.intp] = self._starts  # type: ignore[attr-defined]
        rising = weights[:, order]
        positive = rising * self.labels[order].astype(np.float32)
        groups = np.add.reduceat(np.stack([positive, rising - positive]), starts, axis=2).astype(np.float64)
        positives, negatives = groups
        below = np.cumsum(negatives, axis=1) - negatives / 2  # an equal score counts half
        all_positives, all_negatives = positives.sum(1), negatives.sum(1)
        auroc = (positives * below).sum(1) / (all_positives * all_negatives)
        true = np.cumsum(positives[:, ::-1], axis=1)
        kept = true + np.cumsum(negatives[:, ::-1], axis=1)
        precision = np.divide(true, kept, out=np.zeros_like(true), where=kept > 0)
        average = (positives[:, ::-1] * precision).sum(1) / all_positives
        neither = (all_positives == 0) | (all_negatives == 0)
        return {"auroc": np.where(neither, np.nan, auroc), "average_precision": np.where(neither, np.nan, average)}

    def _brier(self, weights: Weights) -> dict[str, Values]:
        squares = ((self.scores - self.labels) ** 2).astype(np.float32)
        return {"brier": (weights @ squares).astype(np.float64) / weights.sum(1)}

    def _decided(self, weights: Weights, cut: float) -> dict[str, Values]:
        called, label = (self.scores >= cut).astype(np.float32), self.labels.astype(np.float32)
        sums = (
            weights
            @ np.stack([called * label, called * (1 - label), (1 - called) * (1 - label), (1 - called) * label]).T
        )
        tp, fp, tn, fn = sums.astype(np.float64).T
        sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
        return {
            "accuracy": (tp + tn) / (tp + fp + tn + fn),
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "precision": tp / (tp + fp),
            "npv": tn / (tn + fn),
            "sensitivity": sensitivity,
            "specificity": specificity,
            "f1": 2 * tp / (2 * tp + fp + fn),
        }
