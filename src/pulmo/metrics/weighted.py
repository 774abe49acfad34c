"""Figures of images that count a number of times each: what a bootstrap asks for, ten thousand times."""

from collections.abc import Mapping, Sequence
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
        positive, negative = self.scores[self.labels == 1], self.scores[self.labels == 0]
        rising = np.sort(negative)
        falling = -np.sort(-positive, kind="stable")
        places = {
            "_negatives": np.flatnonzero(self.labels == 0)[np.argsort(negative, kind="stable")],
            "_positives": np.flatnonzero(self.labels == 1)[np.argsort(-positive, kind="stable")],
            "_below": np.searchsorted(rising, falling, "left"),  # negatives with a lower score than each positive
            "_not_above": np.searchsorted(rising, falling, "right"),
            "_last": np.searchsorted(-falling, -falling, "right") - 1,  # of the positives with an equal score
        }
        for name, place in places.items():
            object.__setattr__(self, name, place)

    def __call__(self, weights: Weights) -> dict[str, Values]:
        """(B, N) weights to (B,) values of each figure; NaN where a denominator is empty."""
        with np.errstate(invalid="ignore", divide="ignore"):
            figures = self._ranked(weights) | self._brier(weights)
            for suffix, cut in self.cuts.items():
                figures |= {f"{name}{suffix}": value for name, value in self._decided(weights, cut).items()}
        return figures

    def evidence(self, patients: npt.NDArray[np.generic]) -> dict[str, int]:
        """Of the figures that are shares of images: name → how many of the (N,) patients these are of."""
        found: dict[str, int] = {}
        for suffix, cut in self.cuts.items():
            called, positive = self.scores >= cut, self.labels == 1
            of = {"sensitivity": positive, "specificity": ~positive, "precision": called, "npv": ~called}
            of["accuracy"] = np.ones(len(called), bool)
            found |= {f"{name}{suffix}": patients_among(patients, inside) for name, inside in of.items()}
        return found

    def _ranked(self, weights: Weights) -> dict[str, Values]:
        """By the ranks of the scores; equal scores are one step, and an equal negative counts half.

        Counts of images are whole numbers, which float32 holds up to 16 million.
        """
        at: dict[str, npt.NDArray[np.intp]] = self.__dict__
        negatives = np.zeros((len(weights), len(at["_negatives"]) + 1), np.float32)
        np.cumsum(weights[:, at["_negatives"]], axis=1, out=negatives[:, 1:])
        positive = weights[:, at["_positives"]]
        below, not_above = negatives[:, at["_below"]], negatives[:, at["_not_above"]]
        all_negatives, all_positives = negatives[:, -1].astype(np.float64), positive.sum(1, dtype=np.float64)
        auroc = _summed(positive, below + not_above) / (2 * all_positives * all_negatives)
        true = np.cumsum(positive, axis=1)[:, at["_last"]]
        kept = true + negatives[:, -1:] - below
        precision = np.divide(true, kept, out=np.zeros_like(true), where=kept > 0)
        average = _summed(positive, precision) / all_positives
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


@dataclass(frozen=True)
class Ratios:
    """Figures that are one weighted sum by another: name → (N,) above and (N,) below the line.

    So is every share and every mean over images. NaN where the sum below is 0. `shares` is False of figures that are
    neither shares nor means of what lies between 0 and 1, such as a rate above 1 or a difference.
    """

    pairs: Mapping[str, tuple[Values, Values]]
    shares: bool = True

    def __post_init__(self) -> None:
        columns = {id(part): part for pair in self.pairs.values() for part in pair}  # the same array once
        object.__setattr__(self, "_place", {name: position for position, name in enumerate(columns)})
        object.__setattr__(self, "_columns", np.array(list(columns.values()), np.float32).T)

    def __call__(self, weights: Weights) -> dict[str, Values]:
        """(B, N) weights to (B,) values of each figure, by one product of matrices."""
        if not self.pairs:
            return {}
        sums, place = (weights @ self.__dict__["_columns"]).astype(np.float64), self.__dict__["_place"]
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                name: sums[:, place[id(above)]] / sums[:, place[id(below)]]
                for name, (above, below) in self.pairs.items()
            }

    def evidence(self, patients: npt.NDArray[np.generic]) -> dict[str, int]:
        """Name → how many of the (N,) patients count below the line."""
        if not self.shares:
            return {}
        return {name: patients_among(patients, below > 0) for name, (_, below) in self.pairs.items()}


@dataclass(frozen=True)
class MulticlassFigures:
    """Figures of (N, K) probabilities against (N,) labels, as `metrics.classification.multiclass_metrics` names them.

    Beside its means over classes, `auroc/NAME` and `average_precision/NAME` of each class against the rest. The
    likeliest class is the decision.
    """

    probabilities: Values
    labels: npt.NDArray[np.int64]
    class_names: Sequence[str]

    def __post_init__(self) -> None:
        classes, called = range(len(self.class_names)), self.probabilities.argmax(1)
        cells = np.stack([(self.labels == k) & (called == j) for k in classes for j in classes], axis=1)
        ranked = [BinaryFigures(self.probabilities[:, k], (self.labels == k).astype(np.int64)) for k in classes]
        object.__setattr__(self, "_cells", cells.astype(np.float32))
        object.__setattr__(self, "_ranked", ranked)

    def evidence(self, patients: npt.NDArray[np.generic]) -> dict[str, int]:
        """Of the figures that are shares of images: name → how many of the (N,) patients these are of."""
        called = self.probabilities.argmax(1)
        found = {"accuracy": patients_among(patients, np.ones(len(called), bool))}
        for k, name in enumerate(self.class_names):
            found[f"sensitivity/{name}"] = patients_among(patients, self.labels == k)
            found[f"precision/{name}"] = patients_among(patients, called == k)
        return found

    def __call__(self, weights: Weights) -> dict[str, Values]:
        """(B, N) weights to (B,) values of each figure; NaN where a class has no image."""
        figures: dict[str, Values] = {}
        classes, against_rest = len(self.class_names), self.__dict__["_ranked"]
        counts = (weights @ self.__dict__["_cells"]).astype(np.float64).reshape(-1, classes, classes)
        truth, predicted, right = counts.sum(2), counts.sum(1), np.diagonal(counts, axis1=1, axis2=2)
        with np.errstate(invalid="ignore", divide="ignore"):
            sensitivity, precision, f1 = right / truth, right / predicted, 2 * right / (truth + predicted)
            for k, name in enumerate(self.class_names):
                ranked = against_rest[k](weights)
                figures |= {f"{figure}/{name}": ranked[figure] for figure in ("auroc", "average_precision")}
                figures |= {f"sensitivity/{name}": sensitivity[:, k], f"precision/{name}": precision[:, k]}
            means = {
                figure: np.mean([figures[f"{figure}/{name}"] for name in self.class_names], axis=0)
                for figure in ("auroc", "average_precision")
            }
            accuracy = right.sum(1) / counts.sum((1, 2))
        return means | {"accuracy": accuracy, "balanced_accuracy": sensitivity.mean(1), "f1": f1.mean(1)} | figures


def patients_among(patients: npt.NDArray[np.generic], inside: npt.NDArray[np.bool_]) -> int:
    """How many different ones of the (N,) patients have an image `inside`."""
    return len(np.unique(patients[inside].astype(str)))


def _summed(one: Weights, other: Weights) -> Values:
    """(B,) sums of products, in double precision: they pass what float32 tells apart."""
    sums: Values = (one * other).sum(1, dtype=np.float64)
    return sums
