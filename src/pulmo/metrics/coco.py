"""COCO's average precision of images that count a number of times each, for the intervals of a bootstrap.

Of one class and boxes of any size, as pycocotools has it (cocodataset.org/#detection-eval). `detection.coco_map` asks
the library, which cannot be asked ten thousand times.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pulmo.metrics.bootstrap import AT_ONCE
from pulmo.metrics.detection import as_array, falling_order, matches
from pulmo.metrics.weighted import Values, Weights, patients_among

IOUS = tuple(0.5 + 0.05 * k for k in range(10))
RECALLS = torch.linspace(0, 1, 101).double().numpy()  # as torchmetrics gives them to the library, in single precision
MOST = 100
"""Boxes of an image that count, the surest ones."""


@dataclass(frozen=True)
class AveragePrecision:
    """`map`, `map_50` and `map_75` of boxes by falling score.

    places (D,) the image of each box; right (10, D) whether it is a true positive at each of `IOUS`; truths (N,) true
    boxes of each image. Called with weights (B, N) it gives (B,) values a figure, NaN without a true box.
    """

    places: npt.NDArray[np.intp]
    right: npt.NDArray[np.bool_]
    truths: Values

    @classmethod
    def of(cls, boxes: Sequence[Tensor], truths: Sequence[Tensor]) -> "AveragePrecision":
        """Match each image's (D_i, 5) xyxy boxes with scores against its (G_i, 4) true ones."""
        places, scores, right = [], [], []
        least = tuple(np.nextafter(iou, 0) for iou in IOUS)  # `matches` wants more than the threshold, COCO as much
        for place, (found, truth) in enumerate(zip(boxes, truths, strict=True)):
            surest = found[torch.from_numpy(falling_order(as_array(found[:, 4]))[:MOST].copy())]
            places.append(np.full(len(surest), place))
            scores.append(as_array(surest[:, 4]))
            right.append(matches(surest[:, :4], surest[:, 4], truth, least).numpy())
        order = falling_order(np.concatenate([np.empty(0), *scores]))
        joined = np.concatenate([np.zeros((len(IOUS), 0), bool), *right], axis=1)
        of_image = np.concatenate([np.empty(0, np.intp), *places]).astype(np.intp)
        counts = np.array([len(truth) for truth in truths], np.float64)
        return cls(of_image[order], joined[:, order], counts)

    def __call__(self, weights: Weights) -> dict[str, Values]:
        """(B, N) weights to (B,) values of each figure; a few resamples at a time, since each needs every box."""
        size = max(1, AT_ONCE // max(1, len(self.places)))
        parts = [self._at_ious(weights[start : start + size]) for start in range(0, len(weights), size)]
        at = np.concatenate(parts)
        return {"map": at.mean(1), "map_50": at[:, 0], "map_75": at[:, 5]}

    def evidence(self, patients: npt.NDArray[np.generic]) -> dict[str, int]:
        """Of how many of the (N,) patients the true boxes are."""
        return dict.fromkeys(("map", "map_50", "map_75"), patients_among(patients, self.truths > 0))

    def _at_ious(self, weights: Weights) -> Values:
        """(B, 10) average precisions."""
        counts = weights[:, self.places]
        kept = np.cumsum(counts, axis=1)  # whole numbers, which float32 holds up to 16 million
        truths = weights.astype(np.float64) @ self.truths
        found = np.full((len(weights), len(IOUS)), np.nan)
        for column, right in enumerate(self.right):
            hits = np.flatnonzero(right)
            true = np.cumsum(counts[:, hits], axis=1, dtype=np.float64)
            precision = np.divide(true, kept[:, hits], out=np.zeros_like(true), where=true > 0)
            # The highest precision at this recall or a higher one, and none where it is never reached.
            envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            envelope = np.concatenate([envelope, np.zeros((len(weights), 1))], axis=1)
            for row in np.flatnonzero(truths > 0):
                found[row, column] = envelope[row, np.searchsorted(true[row] / truths[row], RECALLS)].mean()
        return found
