"""Pictures with coarse and fine detail, as films have."""

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]


def film(seed: int, shape: tuple[int, int] = (256, 200)) -> Grey:
    """A smooth picture with fine detail, another for each seed."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.random((6, 5)).astype(np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC)
    fine = cv2.resize(rng.random((40, 32)).astype(np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(40 + 120 * coarse + 60 * fine, 0, 255).astype(np.uint8)
