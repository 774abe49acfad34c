"""`Augment` for whole batches, on the device where they lie: drawn on the CPU, computed in a few kernels."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pulmo.errors import ConfigError
from pulmo.transforms.augment import Augment
from pulmo.transforms.batch_draws import KEY_BITS, KINDS, Draws, Floats, draw

Change = Callable[[Tensor, Tensor, str], Tensor]
"""(n, C, H, W) uint8, (n, m) float32 of `Draws.table`, "bilinear" or "nearest" → (n, C, H, W) uint8."""


def unsupported(augment: Augment) -> list[str]:
    """Name the transforms that only `Augment` can do, each with the setting where only that stands in the way."""
    found = []
    for transform in augment.transforms:
        name = type(transform).__name__
        needs = KINDS[name].needs if name in KINDS else {}
        wrong = [f"{key}={getattr(transform, key)}" for key in needs if getattr(transform, key) not in needs[key]]
        if name not in KINDS or wrong:
            found.append(f"{name} ({', '.join(wrong)})" if wrong else name)
    return found


class BatchAugment:
    """The same random changes as `Augment`, for whole batches of tensors, on the device where they lie.

    Each image has its own draw, a function of its seed alone: not of its place, of the others in the batch, of the
    device or of torch's generators. The parameters are spread as albumentations spreads them, yet a seed draws others
    than in `Augment`. Nothing waits for a GPU: parameters go there in one copy, and boxes stay on the CPU.

    Raises `ConfigError` where `unsupported` names something.
    """

    def __init__(self, augment: Augment) -> None:
        if names := unsupported(augment):
            raise ConfigError(f"cannot be done in batches: {', '.join(names)}; augment image by image, or leave it out")
        self._transforms = augment.transforms
        self._min_visibility = augment.min_visibility

    def __call__(
        self,
        image: Tensor,
        seeds: npt.NDArray[np.int64] | Tensor,
        masks: Sequence[Tensor] = (),
        boxes: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Give the images (B, 1, H, W) uint8, the masks (B, H, W) uint8 and the boxes after one draw each.

        `seeds` (B,) int64 and `boxes`, B times (N_i, 4) float32 xyxy in pixels, lie on the CPU; without boxes the list
        is empty. What is given is not changed.
        """
        shape = (image.shape[-2], image.shape[-1])
        self._check_sizes(shape)
        seeds = np.asarray(seeds, np.int64)
        drawn = [draw(transform, number, seeds, shape) for number, transform in enumerate(self._transforms)]
        pictures = torch.stack(list(masks), dim=1) if masks else None
        for transform, draws, (rows, table) in zip(self._transforms, drawn, _sent(drawn, image.device), strict=True):
            change = CHANGES[type(transform).__name__]
            image = _changed(image, rows, table, change, "bilinear")
            if pictures is not None and draws.moves is not None:
                pictures = _changed(pictures, rows, table, change, "nearest")
        moved = list(boxes or ())
        if boxes and drawn:
            moved = _moved(moved, drawn, shape, self._min_visibility)
        return image, [] if pictures is None else list(pictures.unbind(dim=1)), moved

    def _check_sizes(self, shape: tuple[int, int]) -> None:
        for transform in self._transforms:
            size = getattr(transform, "size", shape)
            if tuple(size) != shape:
                raise ConfigError(
                    f"augment gives images of {tuple(size)}, from {shape}: leave out transforms that change the size"
                )


def _sent(drawn: Sequence[Draws], device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Give each transform's rows (n,) int64 and table (n, m) float32 on the device, after a single copy."""
    parts = [part for draws in drawn for part in (draws.rows.astype(np.float32), draws.table.ravel())]
    packed = torch.from_numpy(np.concatenate(parts) if parts else np.zeros(0, np.float32))
    if device.type == "cuda":
        packed = packed.pin_memory()
    there = iter(torch.split(packed.to(device, non_blocking=True), [len(part) for part in parts]))
    return [(next(there).long(), next(there).view(draws.table.shape)) for draws in drawn]


def _changed(pictures: Tensor, rows: Tensor, table: Tensor, change: Change, mode: str) -> Tensor:
    """Change the pictures of `rows` and leave the bytes of the others alone."""
    if not len(rows):
        return pictures
    if len(rows) == len(pictures):
        return change(pictures, table, mode)
    return pictures.index_copy(0, rows, change(pictures.index_select(0, rows), table, mode))


def _affine(pictures: Tensor, table: Tensor, mode: str) -> Tensor:
    """Resample by the table's matrix, from new pixels to old ones; black comes in from outside."""
    height, width = pictures.shape[-2:]
    a, b, c, d, e, f = table[:, :, None, None].unbind(dim=1)  # each (n, 1, 1)
    x = torch.arange(width, dtype=torch.float32, device=table.device)
    y = torch.arange(height, dtype=torch.float32, device=table.device)[:, None]
    # Not by a product of matrices, as kornia's warp_affine: TF32 and autocast would move the pixels.
    return _sampled(pictures, a * x + b * y + c, d * x + e * y + f, mode, "zeros")


def _crop(pictures: Tensor, table: Tensor, mode: str) -> Tensor:
    """Resample the part, which ends at its own border: pixels beyond it do not count. As cv2.resize counts pixels."""
    height, width = pictures.shape[-2:]
    x, y, part_width, part_height = table[:, :, None].unbind(dim=1)  # each (n, 1)
    columns = x + _places(width, part_width, mode)
    lines = y + _places(height, part_height, mode)
    wide, high = columns[:, None, :].expand(-1, height, -1), lines[:, :, None].expand(-1, -1, width)
    return _sampled(pictures, wide, high, mode, "border")


def _sampled(pictures: Tensor, x: Tensor, y: Tensor, mode: str, padding: str) -> Tensor:
    """Read the pictures at (n, H, W) places in pixels, whose middles lie at whole numbers."""
    height, width = pictures.shape[-2:]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    made = F.grid_sample(pictures.float(), grid, mode=mode, padding_mode=padding, align_corners=False)
    return made.round().to(torch.uint8)


def _places(size: int, part: Tensor, mode: str) -> Tensor:
    """Give (n, size), where in a part of (n, 1) pixels each of `size` pixels comes from."""
    pixels = torch.arange(size, device=part.device)
    if mode == "nearest":
        return torch.div(pixels * part.long(), size, rounding_mode="floor").float()
    return ((pixels + 0.5) * (part / size) - 0.5).clamp(min=0).minimum(part - 1)


def _looked_up(pictures: Tensor, table: Tensor, _: str) -> Tensor:
    """Give each grey what its image's table (256) has for it."""
    return table.to(torch.uint8).gather(1, pictures.flatten(1).long()).view(pictures.shape)


def _blurred(pictures: Tensor, table: Tensor, _: str) -> Tensor:
    """Weigh neighbours along x, then y, mirrored at the border without repeating its pixel."""
    half = table.shape[1] // 2
    height, width = pictures.shape[-2:]
    weights = table[:, :, None, None, None].unbind(dim=1)
    padded = F.pad(pictures.float(), (half,) * 4, mode="reflect")
    # Not by a convolution: cuDNN's may round to TF32, and then greys would depend on the GPU.
    along = padded[..., :width] * weights[0]
    for k, weight in enumerate(weights[1:], start=1):
        along.addcmul_(padded[..., k : k + width], weight)
    both = along[..., :height, :] * weights[0]
    for k, weight in enumerate(weights[1:], start=1):
        both.addcmul_(along[..., k : k + height, :], weight)
    return both.round().clamp(0, 255).to(torch.uint8)


def _noisy(pictures: Tensor, table: Tensor, _: str) -> Tensor:
    """Add normal noise by Box and Muller from a hash of the keys and the pixel's number.

    As albumentations does, it is cut towards 0 to whole greys first, which takes a little of its deviation.
    """
    count = pictures[0].numel()
    mean, deviation, *keys = table[:, :, None].unbind(dim=1)
    first, second = _hashed(keys[0].int(), keys[1].int(), count + count % 2).chunk(2, dim=1)
    radius, angle = (first.log() * -2).sqrt() * deviation, second * (2 * torch.pi)
    noise = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count] + mean
    return (pictures + noise.trunc().view(pictures.shape)).clamp(0, 255).to(torch.uint8)


def _hashed(key: Tensor, other: Tensor, count: int) -> Tensor:
    """Give (n, count) numbers inside (0, 1) with 24 bits, for keys (n, 1): Wellons' lowbias32, on wrapping int32."""
    state = torch.arange(count, dtype=torch.int32, device=key.device) * -0x61C88647 + key * 2 ** (31 - KEY_BITS)
    state = (state ^ (state >> 16 & 0xFFFF)) * 0x7FEB352D + other * 2 ** (31 - KEY_BITS)
    state = (state ^ (state >> 15 & 0x1FFFF)) * -0x7B935975
    state = state ^ (state >> 16 & 0xFFFF)
    numbers: Tensor = ((state >> 8 & 0xFFFFFF) + 0.5) * 2.0**-24
    return numbers


CHANGES: dict[str, Change] = {
    "Affine": _affine,
    "HorizontalFlip": lambda pictures, _, __: pictures.flip(-1),
    "VerticalFlip": lambda pictures, _, __: pictures.flip(-2),
    "RandomResizedCrop": _crop,
    "RandomBrightnessContrast": _looked_up,
    "RandomGamma": _looked_up,
    "GaussianBlur": _blurred,
    "GaussNoise": _noisy,
}


def _moved(
    boxes: Sequence[Tensor], drawn: Sequence[Draws], shape: tuple[int, int], min_visibility: float
) -> list[Tensor]:
    """Move each image's boxes with it; after each transform they are clipped, and those mostly outside dropped."""
    owner = np.repeat(np.arange(len(boxes)), [len(part) for part in boxes])
    xyxy = torch.cat(list(boxes)).numpy().astype(np.float64)
    xyxy, owner = _clipped(xyxy, owner, shape, 0)
    for draws in drawn:
        if draws.moves is not None:
            moves = np.tile(np.eye(2, 3), (len(boxes), 1, 1))
            moves[draws.rows] = draws.moves
            xyxy, owner = _clipped(_around(xyxy, moves[owner]), owner, shape, min_visibility)
    ends = np.searchsorted(owner, np.arange(1, len(boxes)))
    return [torch.from_numpy(part) for part in np.split(xyxy.astype(np.float32), ends)]


def _around(xyxy: Floats, moves: Floats) -> Floats:
    """Give the upright boxes around the (N, 4) boxes' corners, moved by (N, 2, 3)."""
    corners = xyxy[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]
    moved = np.einsum("nij,nkj->nki", moves[:, :, :2], corners) + moves[:, None, :, 2]
    return np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)


def _clipped(
    xyxy: Floats, owner: npt.NDArray[np.intp], shape: tuple[int, int], min_visibility: float
) -> tuple[Floats, npt.NDArray[np.intp]]:
    inside = np.clip(xyxy, 0, [shape[1], shape[0]] * 2)
    whole, left = (np.prod(part[:, 2:] - part[:, :2], axis=1) for part in (xyxy, inside))
    # The same small numbers as albumentations', so that the same boxes are kept at the limit.
    kept = (whole >= 1e-7) & (left > 0) & (left / (whole + 1e-7) >= min_visibility)
    return inside[kept], owner[kept]
