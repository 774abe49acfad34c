"""Connected parts of a mask: boxes around opacities, and the two lungs without specks and holes."""

import cv2
import numpy as np
import numpy.typing as npt


def boxes_of_mask(
    probabilities: npt.NDArray[np.float32], cut_off: float, smallest_area: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Box each 8-connected component of p ≥ `cut_off` that fills at least the share `smallest_area` of the image.

    (H, W) float32 in [0, 1] give (N, 4) float32 xyxy, the end outside, and (N,) float32 scores: the mean
    probability in the component, falling; equals from top to bottom, then from left to right.
    """
    # np.float32, since a NumPy float64 from a checkpoint or table would compare 0.29 with another 0.29.
    found = (probabilities >= np.float32(cut_off)).astype(np.uint8)
    labels, stats = _components(found, connectivity=8)
    sums = np.bincount(labels.ravel(), weights=probabilities.ravel(), minlength=len(stats))[1:]
    x, y, width, height, area = stats[1:].T
    scores = (sums / area).astype(np.float32)
    order = np.lexsort((x, y, -scores))
    order = order[area[order] / probabilities.size >= smallest_area]
    boxes = np.stack([x, y, x + width, y + height], axis=1).astype(np.float32)
    return boxes[order], scores[order]


def largest_components(mask: npt.NDArray[np.uint8], count: int, fill: bool) -> npt.NDArray[np.uint8]:
    """Keep the `count` largest 8-connected components of (H, W) uint8 {0, 1}; where `fill`, without holes.

    Of equals the upper, then the left one is kept. A hole is background that no path along the sides of pixels
    joins to the image's edge.
    """
    labels, stats = _components(mask, connectivity=8)
    x, y, _, _, area = stats[1:].T
    kept = np.isin(labels, np.lexsort((x, y, -area))[:count] + 1).astype(np.uint8)
    if not fill:
        return kept
    background, _ = _components(np.pad(1 - kept, 1, constant_values=1), connectivity=4)
    return np.asarray(background != background[0, 0], np.uint8)[1:-1, 1:-1]


def _components(mask: npt.NDArray[np.uint8], connectivity: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Label (H, W) by component, 0 outside; each label's x, y, width, height and area, (N + 1, 5)."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=connectivity)
    return labels, stats
