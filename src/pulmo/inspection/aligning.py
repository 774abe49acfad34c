"""Two pictures laid over each other, so that a copy that was cropped or turned a little still shows its detail.

By the enhanced correlation coefficient (Evangelidis and Psarakis 2008, 10.1109/TPAMI.2008.113), with an affine map.
"""

import cv2
import numpy as np
import numpy.typing as npt

from pulmo.data.reading import read_grey
from pulmo.transforms.preprocess import to_uint8

Warp = npt.NDArray[np.float32]
"""(2, 3), from pixels of one picture to those of the other."""

STEPS, ENOUGH = 30, 1e-4  # of the search for the best overlay
LEAST_OVERLAP = 0.75  # of the picture: less of it would be another picture
CLOSE = 256  # pixels to which files are read again for a closer look
CLOSE_CORRELATION = 0.72  # there; copies turned by 2° have 0.75 and more, films drawn on one anatomy 0.5 to 0.66


def aligned(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8], blur_pixels: float) -> tuple[float, Warp]:
    """How well the fine detail of two (S, S) pictures correlates once they are laid over each other, and the map.

    0 where no overlay is found, or one that leaves too little of the picture. Detail is finer than `blur_pixels`.
    """
    return _overlaid(one, other, np.eye(2, 3, dtype=np.float32), blur_pixels)


def alike_closely(path: str, other_path: str, warp: Warp, side: int, change: str, blur_pixels: float) -> bool:
    """Whether two files that `aligned` has found alike at `side` pixels, by `warp`, are so at `CLOSE` pixels.

    `change` is what has been done to the other: "mirrored", "inverted", or nothing.
    """
    one, other = (_square(path) for path in (path, other_path))
    other = other[:, ::-1] if change == "mirrored" else 255 - other if change == "inverted" else other
    scale = CLOSE / side
    begin = warp.copy()
    begin[:, 2] = scale * warp[:, 2] + (scale - 1) / 2 * (1 - warp[:, :2].sum(axis=1))  # pixels count from their middle
    return _overlaid(one, other, begin, blur_pixels)[0] >= CLOSE_CORRELATION


def _square(path: str) -> npt.NDArray[np.uint8]:
    image = to_uint8(read_grey(path, CLOSE).image)
    shrinks = min(image.shape) > CLOSE
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (CLOSE, CLOSE), interpolation=way), np.uint8)


def _overlaid(
    one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8], begin: Warp, blur_pixels: float
) -> tuple[float, Warp]:
    template, picture = one.astype(np.float32), other.astype(np.float32)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, STEPS, ENOUGH)
    try:
        _, warp = cv2.findTransformECC(template, picture, begin.copy(), cv2.MOTION_AFFINE, criteria, None, 3)
    except cv2.error:  # it did not converge
        return 0.0, begin
    flags, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, template.shape[::-1]
    inside = cv2.warpAffine(np.ones_like(picture), warp, size, flags=flags) > 0.99
    if inside.mean() < LEAST_OVERLAP:
        return 0.0, warp
    laid = cv2.warpAffine(picture, warp, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    fine = [grey - cv2.GaussianBlur(grey, (0, 0), blur_pixels) for grey in (template, laid)]
    first, second = (values[inside] - values[inside].mean() for values in fine)
    length = float(np.linalg.norm(first) * np.linalg.norm(second))
    return (float(first @ second) / length if length > 1e-3 else 0.0), warp
