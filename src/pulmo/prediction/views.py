"""Test-time augmentation: an image looked at in several ways, and what is found taken back to how it was."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

ZOOM = 1.06  # the outer 3 % of each side are cut off: less than films of one patient differ by


@dataclass(frozen=True)
class View:
    """An image as it is; `mirrored` left to right; or `zoomed`, its middle enlarged by `ZOOM` to the same size."""

    mirrored: bool = False
    zoomed: bool = False

    def __call__(self, image: Tensor) -> Tensor:
        """Give (B, 1, S, S) uint8 of (B, 1, S, S) uint8."""
        if self.zoomed:
            cut, size = self._cut(image.shape[-1]), image.shape[-1]
            part = image[..., cut : size - cut, cut : size - cut].float()
            image = interpolate(part, (size, size), mode="bilinear", align_corners=False).round().to(torch.uint8)
        return image.flip(-1) if self.mirrored else image

    def unmask(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Take (B, S, S) float back, and (S, S) {0, 1}: which pixels the view shows."""
        if self.mirrored:
            probabilities = probabilities.flip(-1)
        seen = torch.ones_like(probabilities[0])
        if self.zoomed:
            size = probabilities.shape[-1]
            cut = self._cut(size)
            inner = (size - 2 * cut, size - 2 * cut)
            part = interpolate(probabilities[:, None], inner, mode="bilinear", align_corners=False, antialias=True)
            probabilities, seen = torch.zeros_like(probabilities), torch.zeros_like(seen)
            probabilities[:, cut : size - cut, cut : size - cut] = part[:, 0]
            seen[cut : size - cut, cut : size - cut] = 1
        return probabilities, seen

    def unbox(self, boxes: Tensor, size: int) -> Tensor:
        """Take (D, 5) xyxy boxes with scores back, in pixels of an image of `size`²."""
        x1, y1, x2, y2, score = boxes.unbind(1)
        if self.mirrored:
            x1, x2 = size - x2, size - x1
        placed = torch.stack([x1, y1, x2, y2], dim=1)
        if self.zoomed:
            cut = self._cut(size)
            placed = placed * ((size - 2 * cut) / size) + cut
        return torch.cat([placed, score[:, None]], dim=1)

    def _cut(self, size: int) -> int:
        return round(size * (1 - 1 / ZOOM) / 2)


PLAIN = (View(),)
FOUR = (View(), View(mirrored=True), View(zoomed=True), View(mirrored=True, zoomed=True))


def mean_map(maps: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Mean of (B, S, S) maps over the views that show a pixel; the first shows all."""
    total = torch.stack([part for part, _ in maps]).sum(0)
    return total / torch.stack([seen for _, seen in maps]).sum(0)
