"""What differs at random from epoch to epoch, on training images alone."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it calls home at import

import albumentations as A

from pulmo.errors import ConfigError


class Augment:
    """albumentations' transforms on an image with its masks and boxes; the same `seed` draws the same.

    Seeds travel with each call rather than with the worker process, so that results depend neither on the
    number of workers nor on where a resumed run began.

    `transforms` are albumentations' own; spatial ones move masks and boxes along. Boxes of which less than
    `min_visibility` stays in the picture are dropped.
    """

    def __init__(self, transforms: Sequence[A.BasicTransform | A.BaseCompose], min_visibility: float = 0.3) -> None:
        boxes = A.BboxParams(format="pascal_voc", label_fields=["box_ids"], min_visibility=min_visibility, clip=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Got processor for bboxes")  # none moves them: nothing to warn of
            self._compose = A.Compose(list(transforms), bbox_params=boxes)
        self._min_visibility = min_visibility

    @property
    def transforms(self) -> tuple[A.BasicTransform | A.BaseCompose, ...]:
        """albumentations' transforms, in their order."""
        return tuple(self._compose.transforms)

    @property
    def min_visibility(self) -> float:
        """Of a box, the part that must stay in the picture for it to be kept."""
        return self._min_visibility

    def __call__(
        self,
        image: npt.NDArray[np.uint8],
        seed: int,
        masks: Sequence[npt.NDArray[np.uint8]] = (),
        boxes: npt.NDArray[np.float32] | None = None,
    ) -> tuple[npt.NDArray[np.uint8], list[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]:
        """Give the (H, W) image, the (H, W) masks and the (N, 4) xyxy boxes after one draw."""
        boxes = np.zeros((0, 4), np.float32) if boxes is None else boxes
        if not self._compose.transforms:
            return image, list(masks), boxes
        self._compose.set_random_seed(seed)
        # A channel axis, since some of albumentations' transforms take none without.
        call: dict[str, Any] = {
            "image": image[..., None],
            "bboxes": boxes,
            "box_ids": list(range(len(boxes))),
        }
        if masks:
            call["masks"] = np.stack(list(masks))
        result = self._compose(**call)
        drawn = np.ascontiguousarray(result["image"][..., 0])
        if (drawn.shape, drawn.dtype) != (image.shape, image.dtype):
            raise ConfigError(
                f"augment gives {drawn.dtype} images of {drawn.shape}, from {image.dtype} of {image.shape}: "
                "leave out transforms that change the size, or normalise (the network does)"
            )
        moved = [np.ascontiguousarray(mask) for mask in result["masks"]] if masks else []
        return drawn, moved, np.asarray(result["bboxes"], np.float32).reshape(-1, 4)
