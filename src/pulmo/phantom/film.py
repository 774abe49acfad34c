"""The sheet that a phantom is drawn on: places anatomy in pixels, fills outlines, strokes curves, blurs.

Anatomy lives in a unit frame: x to the right and y down, both 0 in the middle of the film; y runs from -1 at the
upper edge to 1 at the lower, x as far as the film is wide. Image left is the patient's right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # (N, 2) x, y in the unit frame
Layer = NDArray[np.float32]  # (H, W)
Mask = NDArray[np.uint8]  # (H, W) in {0, 1}

_SUBPIXEL_BITS = 4  # cv2 takes coordinates in sixteenths of a pixel


def spline(points: Sequence[tuple[float, float]], *, closed: bool, steps: int = 8) -> Points:
    """A smooth curve through `points` (Catmull-Rom), `steps` points a segment."""
    p = np.asarray(points, dtype=np.float64)
    ends = (p[-1:], p[:2]) if closed else (2 * p[:1] - p[1:2], 2 * p[-1:] - p[-2:-1])
    q = np.concatenate([ends[0], p, ends[1]])
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[None, :, None]
    a, b, c, d = (q[i : len(q) - 3 + i, None, :] for i in range(4))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    flat: Points = curve.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, p[-1:]])


@dataclass(frozen=True)
class Film:
    """A film of `height` x `width` pixels, on which the patient stands slightly turned, shifted and scaled."""

    height: int
    width: int
    turn_degrees: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.height, self.width

    def place(self, points: Points, reduce: int = 1) -> NDArray[np.float64]:
        """The pixels at which `points` come to lie, (N, 2) x, y, on a film `reduce` times smaller."""
        angle = np.deg2rad(self.turn_degrees)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        turned = (points * self.scale) @ turn + np.asarray(self.shift)
        middle = np.array([self.width / 2, self.height / 2])
        placed: NDArray[np.float64] = (turned * (self.height / 2) + middle) / reduce - 0.5
        return placed

    def fill(self, *outlines: Points, reduce: int = 1) -> Layer:
        """1 inside any of the `outlines`, 0 outside, the edge between; (H, W) / `reduce`, float32."""
        sheet = self._sheet(reduce)
        for outline in outlines:
            # One by one: fillPoly on several at once leaves their overlaps empty.
            cv2.fillPoly(sheet, [self._fixed(outline, reduce)], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
        return self._float(sheet)

    def stroke(self, curves: Sequence[Points], width: float, *, rim: float = 0.0, reduce: int = 1) -> Layer:
        """1 along the `curves`, which are `width` wide in unit-frame lengths; (H, W) / `reduce`, float32.

        With `rim`, the middle of the stroke falls to 1 - `rim`: bone is denser at its cortex.
        """
        sheet = self._sheet(reduce)
        # All curves are placed at once: a patient has some three hundred vessels.
        ends = np.cumsum([len(curve) for curve in curves])[:-1]
        lines = np.split(self._fixed(np.concatenate(curves), reduce), ends)
        pixels = width * self.scale * self.height / 2 / reduce
        cv2.polylines(sheet, lines, False, 255, max(1, round(pixels)), cv2.LINE_AA, _SUBPIXEL_BITS)
        if rim and pixels >= 4:
            inner = max(1, round(pixels * 0.6))
            cv2.polylines(sheet, lines, False, int(255 * (1 - rim)), inner, cv2.LINE_AA, _SUBPIXEL_BITS)
        layer = self._float(sheet)
        # Thin lines cannot be drawn below one pixel; they are drawn fainter instead.
        return layer * np.float32(min(1.0, pixels)) if pixels < 1 else layer

    def blur(self, layer: Layer, sigma: float) -> Layer:
        """`layer` under a Gaussian of `sigma` unit-frame lengths; wide ones run on a smaller copy."""
        height, width = layer.shape
        pixels = sigma * height / 2
        reduce = max(1, int(pixels / 3))
        if reduce == 1:
            return np.asarray(cv2.GaussianBlur(layer, (0, 0), max(pixels, 0.3)), dtype=np.float32)
        small = cv2.resize(layer, (max(2, width // reduce), max(2, height // reduce)), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), pixels / reduce)
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)

    def clouds(self, rng: np.random.Generator, grain: float) -> Layer:
        """A smooth random field, mean 0 and deviation about 0.7, with lumps of `grain` unit-frame lengths."""
        rows = max(3, round(2 / grain))
        columns = max(3, round(2 / grain * self.width / self.height))
        coarse = rng.standard_normal((rows, columns), dtype=np.float32)
        return self.enlarge(coarse, cubic=True)

    def enlarge(self, layer: Layer, *, cubic: bool = False) -> Layer:
        """`layer`, drawn reduced, on the whole film."""
        how = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(layer, (self.width, self.height), interpolation=how), dtype=np.float32)

    def _sheet(self, reduce: int) -> NDArray[np.uint8]:
        return np.zeros((-(-self.height // reduce), -(-self.width // reduce)), dtype=np.uint8)

    def _fixed(self, points: Points, reduce: int) -> NDArray[np.int32]:
        fixed: NDArray[np.int32] = np.round(self.place(points, reduce) * 2**_SUBPIXEL_BITS).astype(np.int32)
        return fixed

    @staticmethod
    def _float(sheet: NDArray[np.uint8]) -> Layer:
        return sheet * np.float32(1 / 255)
