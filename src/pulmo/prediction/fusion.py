"""Boxes of several looks at one image made into one set."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float32]

SAME = 0.5  # intersection over union from which two boxes are one finding


def fused(looks: Sequence[Boxes]) -> Boxes:
    """Give (N, 5) xyxy boxes with scores, falling, of several looks' (D_i, 5); those of a single look stay as they are.

    Weighted boxes fusion (Solovyev, Wang, Gabruseva 2021, 10.1016/j.imavis.2021.104117): from the surest on, a box
    joins the fused box that it overlaps most, at `SAME` or more, or begins one. A fused box lies at the mean of its
    members weighted by score; its score is the mean over all looks, a look without it counting 0, its surest one if it
    has several.
    """
    if len(looks) == 1:
        return looks[0]
    rows = [(*box, look) for look, boxes in enumerate(looks) for box in boxes.tolist()]
    groups: list[list[tuple[float, ...]]] = []
    means: list[npt.NDArray[np.float64]] = []
    for row in sorted(rows, key=lambda row: -row[4]):
        overlaps = [_iou(np.array(row[:4]), mean) for mean in means]
        if overlaps and max(overlaps) >= SAME:
            best = int(np.argmax(overlaps))
            groups[best].append(row)
            means[best] = _mean(groups[best])
        else:
            groups.append([row])
            means.append(np.array(row[:4]))
    scores = [_score(group, len(looks)) for group in groups]
    made = np.array([[*mean, score] for mean, score in zip(means, scores, strict=True)], np.float32).reshape(-1, 5)
    return np.asarray(made[np.argsort(-made[:, 4], kind="stable")], np.float32)


def _mean(group: list[tuple[float, ...]]) -> npt.NDArray[np.float64]:
    members = np.array(group)
    weights = members[:, 4] / max(float(members[:, 4].sum()), 1e-12)
    return np.asarray(weights @ members[:, :4], np.float64)


def _score(group: list[tuple[float, ...]], looks: int) -> float:
    surest: dict[float, float] = {}
    for *_, score, look in group:
        surest[look] = max(score, surest.get(look, 0.0))
    return sum(surest.values()) / looks


def _iou(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    shared = float(np.prod((np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])).clip(0)))
    union = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - shared
    return shared / union if union > 0 else 0.0
