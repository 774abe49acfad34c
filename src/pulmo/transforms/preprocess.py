"""What is done to every image alike, before the cache: contrast, mask or crop, size. Nothing random."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from pulmo.errors import ConfigError, DataError
from pulmo.transforms.geometry import Box, Geometry


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """grey → CLAHE → lungs (multiplied or cropped to) → resize → (size, size) uint8.

    size         side of the result in pixels; the network's input size
    clahe        contrast-limited adaptive histogram equalisation (Zuiderveld 1994): its clip limit, or None
    tiles        CLAHE's grid is tiles × tiles
    use          what is done with the lung mask: nothing; "lungs" or "thorax" multiplies it, or the convex
                 hull of both lungs (heart and mediastinum stay), onto the image; "crop" cuts to its box
    mask         where the lung mask comes from: "dataset", the folder of a run that drew lungs, or "none", which
                 turns `use` off
    margin       of the crop, as a part of the box's sides
    keep_aspect  black bars rather than a stretched thorax
    missing      an image without a mask: "raise" counts them, "skip" leaves them out of every split
    """

    size: int
    clahe: float | None = None
    tiles: int = 8
    use: Literal["none", "lungs", "thorax", "crop"] = "none"
    mask: str = "dataset"
    margin: float = 0.06
    keep_aspect: bool = False
    missing: Literal["raise", "skip"] = "raise"

    def __post_init__(self) -> None:
        if self.size < 16:
            raise ConfigError(f"preprocess.size={self.size}: at least 16 pixels")
        if self.tiles < 1:
            raise ConfigError(f"preprocess.tiles={self.tiles}: at least 1")  # OpenCV would end the process
        if self.mask_run is not None and not (self.mask_run / "checkpoints" / "best.ckpt").is_file():
            raise ConfigError(
                f"preprocess.mask={self.mask}: no checkpoints/best.ckpt there; give dataset, none, or the folder of a "
                "run such as model=unet data.target=lungs"
            )
        if self.mask_run is not None and self.use == "none":
            raise ConfigError(f"preprocess.mask={self.mask} has no use: choose preprocess=lungs, thorax or lung_crop")
        if not 0 <= self.margin < 1:
            raise ConfigError(f"preprocess.margin={self.margin}: a part of the box's side, 0 to below 1")

    @property
    def needs_mask(self) -> bool:
        """Whether each image must come with a lung mask."""
        return self.use != "none" and self.mask != "none"

    @property
    def mask_run(self) -> Path | None:
        """Folder of the run whose network draws the lung masks; None where no network does."""
        return None if self.mask in ("dataset", "none") else Path(self.mask).expanduser()

    @property
    def settings(self) -> dict[str, Any]:
        """What the result depends on, as plain values: part of the cache's key."""
        settings = asdict(self)
        del settings["missing"]  # chooses images, changes none
        if not self.needs_mask:
            settings |= {"use": "none", "mask": "none", "margin": 0.0}
        elif self.mask_run is not None:
            settings["mask"] = "dataset"  # a mask is a file either way; which one is told by the file
        return settings

    @property
    def side(self) -> int | None:
        """Pixels to which whole pictures are averaged and nothing else; None where each pixel of the file counts."""
        return None if self.needs_mask or self.clahe is not None else self.size

    def __call__(
        self,
        image: npt.NDArray[Any],
        lungs: npt.NDArray[np.uint8] | None = None,
        shape: tuple[int, int] | None = None,
    ) -> tuple[npt.NDArray[np.uint8], Geometry]:
        """Give the (size, size) uint8 image, and the geometry that takes masks and boxes along.

        `image` is (H, W) uint8 or uint16, `lungs` (H, W) uint8 {0, 1}. Where `side` allows it the image may have been
        read smaller; then `shape` (H, W) is the file's. Raises `DataError` for an empty mask.
        """
        height, width = image.shape if shape is None else shape
        crop: Box = (0, 0, width, height)
        if self.clahe is not None:
            # On 8 bits: over 65,536 bins OpenCV's clip limit rounds to nothing, and the picture brightens.
            image = cv2.createCLAHE(self.clahe, (self.tiles, self.tiles)).apply(to_uint8(image))
        if self.needs_mask:
            if lungs is None or not lungs.any():
                raise DataError("its lung mask is missing or empty")
            if self.use == "crop":
                crop = lung_box(lungs, self.margin)
            else:
                image = image * (hull(lungs) if self.use == "thorax" else lungs).astype(image.dtype)
        geometry = Geometry.fit(crop, self.size, keep_aspect=self.keep_aspect)
        return to_uint8(geometry.image(image)), geometry


def to_uint8(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Round the full range of uint16 to that of uint8."""
    if image.dtype == np.uint8:
        return np.asarray(image, np.uint8)
    return np.rint(image / np.float32(257)).astype(np.uint8)


def lung_box(lungs: npt.NDArray[np.uint8], margin: float) -> Box:
    """Box of all lung pixels, widened on each side by `margin` of its width and height, inside the image."""
    ys, xs = np.flatnonzero(lungs.any(1)), np.flatnonzero(lungs.any(0))
    x1, x2, y1, y2 = int(xs[0]), int(xs[-1]) + 1, int(ys[0]), int(ys[-1]) + 1
    dx, dy = round((x2 - x1) * margin), round((y2 - y1) * margin)
    height, width = lungs.shape
    return max(0, x1 - dx), max(0, y1 - dy), min(width, x2 + dx), min(height, y2 + dy)


def hull(lungs: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Convex hull of both lungs, (H, W) uint8 {0, 1}: the thorax with heart and mediastinum."""
    outline = cv2.convexHull(cv2.findNonZero(lungs))
    return np.asarray(cv2.fillConvexPoly(np.zeros_like(lungs), outline, 1), np.uint8)
