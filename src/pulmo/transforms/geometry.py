"""Where the pixels of a preprocessed image come from in its file, and back: a crop, a scale, a shift."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels, the end outside."""


@dataclass(frozen=True)
class Geometry:
    """The part `crop` of a file's image, scaled to `inner` (width, height), padded into `size`² at `offset`."""

    crop: Box
    inner: tuple[int, int]
    offset: tuple[int, int]
    size: int

    @classmethod
    def fit(cls, crop: Box, size: int, *, keep_aspect: bool) -> "Geometry":
        """Fill a square of `size` pixels with `crop`: stretched, or centred between black bars."""
        width, height = crop[2] - crop[0], crop[3] - crop[1]
        if not keep_aspect:
            return cls(crop, (size, size), (0, 0), size)
        scale = size / max(width, height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        return cls(crop, inner, ((size - inner[0]) // 2, (size - inner[1]) // 2), size)

    def image(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Resample (H, W) of the file to (size, size): area average when shrinking, linear when growing."""
        part = self._part(image)
        shrinks = self.inner[0] < part.shape[1] or self.inner[1] < part.shape[0]
        return self._place(cv2.resize(part, self.inner, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))

    def mask(self, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Resample a mask {0, 1}: a pixel is inside where at least half of its area is."""
        share = cv2.resize(self._part(mask) * np.uint8(255), self.inner, interpolation=cv2.INTER_AREA)
        return self._place((share >= 128).astype(np.uint8))

    def boxes(self, boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Take (N, 4) xyxy boxes from the file's pixels to the new image's; those cropped away are dropped."""
        if not len(boxes):
            return np.zeros((0, 4), np.float32)
        x1, y1, x2, y2 = self.crop
        moved = (np.clip(boxes, (x1, y1, x1, y1), (x2, y2, x2, y2)) - (x1, y1, x1, y1)) * self._scale()
        moved = (moved + np.array(self.offset * 2)).astype(np.float32)
        kept = (moved[:, 2] - moved[:, 0] >= 1) & (moved[:, 3] - moved[:, 1] >= 1)
        return np.asarray(moved[kept], np.float32)

    def unmask(self, mask: npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Take a map (size, size) back to the file's image of `shape` (H, W): float32, zero outside the crop.

        Of probabilities it gives probabilities; of a mask {0, 1} shares, and a pixel is inside from 0.5 on. An axis
        that shrinks is averaged over areas, one that grows is linear.
        """
        x, y = self.offset
        x1, y1, x2, y2 = self.crop
        inner = mask[y : y + self.inner[1], x : x + self.inner[0]].astype(np.float32)
        # In two steps, since INTER_AREA is blocky on both axes as soon as one of them grows.
        smaller = (min(self.inner[0], x2 - x1), min(self.inner[1], y2 - y1))
        inner = cv2.resize(inner, smaller, interpolation=cv2.INTER_AREA)
        inner = cv2.resize(inner, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)
        placed = np.zeros(shape, np.float32)
        placed[y1:y2, x1:x2] = inner.clip(0, 1)  # area averages of ones are 1 + 4e-7 at times
        return placed

    def unbox(self, boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Take (N, 4) xyxy boxes from the image's pixels back to the file's, clipped to the crop; none is dropped."""
        x1, y1, x2, y2 = self.crop
        moved = (boxes - np.array(self.offset * 2)) / self._scale() + (x1, y1, x1, y1)
        return np.asarray(np.clip(moved, (x1, y1, x1, y1), (x2, y2, x2, y2)), np.float32)

    def _scale(self) -> npt.NDArray[np.float32]:
        x1, y1, x2, y2 = self.crop
        return np.array([self.inner[0] / (x2 - x1), self.inner[1] / (y2 - y1)] * 2, np.float32)

    def _part(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        x1, y1, x2, y2 = self.crop
        return image[y1:y2, x1:x2]

    def _place(self, inner: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self.inner == (self.size, self.size):
            return inner
        placed = np.zeros((self.size, self.size), inner.dtype)
        x, y = self.offset
        placed[y : y + self.inner[1], x : x + self.inner[0]] = inner
        return placed
