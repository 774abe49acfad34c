"""What a batch's images get: albumentations' parameters, each image's a function of its own seed alone.

Ranges, formulas and their quirks (a shift is cut to whole pixels, ten tries at a crop) are those of albumentations
2.0.8, so that a preset means the same whichever way it is run. The numbers drawn are others.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Drawing = Callable[[Any, Floats, tuple[int, int]], tuple[Floats, Floats | None]]
"""Transform, (n, k) uniforms in [0, 1), height and width → what the pixels need, (n, m), and the boxes' matrices."""

GOLDEN = 0x9E3779B97F4A7C15
CROP_TRIES = 10
KEY_BITS = 24  # of each of the two keys of a noise field: whole numbers that float32 holds


@dataclass(frozen=True)
class Draws:
    """One transform's draws for a batch, of the n images that it changes.

    `rows` (n,) are their places in the batch, `table` (n, m) float32 what the pixels need, `moves` (n, 2, 3) the
    matrices that take the corners of boxes along, None where nothing moves.
    """

    rows: npt.NDArray[np.intp]
    table: npt.NDArray[np.float32]
    moves: Floats | None


@dataclass(frozen=True)
class Kind:
    """How a transform is drawn: from so many `uniforms`, if its settings are those that it `needs`."""

    draw: Drawing
    uniforms: int
    needs: Mapping[str, tuple[object, ...]]


def draw(transform: Any, number: int, seeds: npt.NDArray[np.int64], shape: tuple[int, int]) -> Draws:
    """Draw the `number`-th transform of a chain for (B,) `seeds` and images of `shape` (H, W)."""
    kind = KINDS[type(transform).__name__]
    rows = np.flatnonzero(uniforms(seeds, number, 1)[:, 0] < transform.p)
    table, moves = kind.draw(transform, uniforms(seeds[rows], number, 1 + kind.uniforms)[:, 1:], shape)
    return Draws(rows, table.astype(np.float32), moves)


def uniforms(seeds: npt.NDArray[np.int64], number: int, count: int) -> Floats:
    """Give (B, count) numbers in [0, 1) with 53 bits: a hash of (seed, `number` of the transform, place).

    The hash is splitmix64 (Steele et al. 2014, 10.1145/2660193.2660195), once over the seed and once over the rest.
    """
    places = np.arange(count, dtype=np.uint64) + np.uint64(1 + number * 256)
    state = _mixed(seeds.astype(np.uint64) * np.uint64(GOLDEN) + np.uint64(GOLDEN))
    hashes = _mixed(state[:, None] + places * np.uint64(GOLDEN))
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _between(limits: Any, chance: Floats) -> Floats:
    """Give numbers between (low, high); of one pair an axis, (2, 2), columns x and y."""
    low, high = np.asarray(limits, np.float64).T
    return np.asarray(low + (high - low) * chance)


def _whole(limits: Any, chance: Floats) -> Floats:
    """Give whole numbers from low to high, both included."""
    low, high = np.trunc(np.asarray(limits, np.float64)).T
    return np.asarray(low + np.floor((high - low + 1) * chance))


def _axes(limits: Mapping[str, Any]) -> list[Any]:
    return [limits["x"], limits["y"]]


def _affine(transform: Any, chance: Floats, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Scale, turn, shear and shift about the middle; the table is the matrix (2, 3) from new pixels to old ones."""
    size = np.array(shape[::-1])
    shear_x, shear_y = -np.deg2rad(_between(_axes(transform.shear), chance[:, 2:4])).T
    angle = np.deg2rad(_between(transform.rotate, chance[:, 8]))
    ones, cosine, sine = np.ones(len(chance)), np.cos(angle), np.sin(angle)
    sheared = np.array([[ones, np.tan(shear_x)], [np.tan(shear_y), ones]]).transpose(2, 0, 1)
    turned = np.array([[cosine, sine], [-sine, cosine]]).transpose(2, 0, 1)
    linear = sheared @ turned * _scale(transform, chance[:, 4:8])[:, None]
    shift = _shift(transform, chance[:, :2], size)

    back = np.linalg.inv(linear)
    # The middles of pixels lie at whole numbers, and the sides of boxes between them.
    pixels, sides = size / 2 - 0.5, size / 2
    origin = pixels - np.einsum("nij,nj->ni", back, pixels + shift)
    moves = np.concatenate([linear, (sides + shift - linear @ sides)[..., None]], axis=-1)
    return np.concatenate([back, origin[..., None]], axis=-1).reshape(-1, 6), moves


def _shift(transform: Any, chance: Floats, size: npt.NDArray[np.int_]) -> Floats:
    if transform.translate_percent is not None:
        return np.asarray(np.trunc(_between(_axes(transform.translate_percent), chance) * size))
    return _whole(_axes(transform.translate_px), chance)


def _scale(transform: Any, chance: Floats) -> Floats:
    """Give (n, 2); balanced, below 1 as often as above where the limits have room for both."""
    limits = np.array(_axes(transform.scale), np.float64)
    if transform.balanced_scale:
        low, high = limits.T
        grows = np.where(low >= 1, True, np.where(high <= 1, False, chance[:, 2:] < 0.5))
        edge = np.where(grows, np.maximum(high, 1), np.minimum(low, 1))
        scale = 1 + (edge - 1) * chance[:, :2]
    else:
        scale = _between(limits, chance[:, :2])
    return np.asarray(scale[:, [0, 0]] if transform.keep_ratio else scale)


def _horizontal_flip(_: Any, chance: Floats, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    return chance, np.tile(np.array([[-1.0, 0, shape[1]], [0, 1, 0]]), (len(chance), 1, 1))


def _vertical_flip(_: Any, chance: Floats, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    return chance, np.tile(np.array([[1.0, 0, 0], [0, -1, shape[0]]]), (len(chance), 1, 1))


def _crop(transform: Any, chance: Floats, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """The table is x, y, width, height of the part that fills the image; the middle where no try fits."""
    height, width = shape
    area = _between(transform.scale, chance[:, :CROP_TRIES]) * height * width
    ratio = np.exp(_between(np.log(transform.ratio), chance[:, CROP_TRIES : 2 * CROP_TRIES]))
    tries = np.rint(np.sqrt(np.stack([area * ratio, area / ratio], axis=-1)))  # (n, tries, width and height)
    fits = np.all((tries > 0) & (tries <= (width, height)), axis=-1)
    part = tries[np.arange(len(chance)), fits.argmax(axis=1)]
    room = np.array([width, height]) - part
    corner = np.floor((room + 1) * chance[:, [-1, -2]])
    fallback = np.array(
        [min(width, round(height * transform.ratio[1])), min(height, round(width / transform.ratio[0]))]
    )
    none = ~fits.any(axis=1)
    part[none], corner[none] = fallback, (np.array([width, height]) - fallback) // 2
    moves = np.zeros((len(chance), 2, 3))
    moves[:, [0, 1], [0, 1]] = (width, height) / part
    moves[:, :, 2] = -corner * (width, height) / part
    return np.concatenate([corner, part], axis=1), moves


def _brightness_contrast(transform: Any, chance: Floats, _: tuple[int, int]) -> tuple[Floats, None]:
    """The table has what becomes of each of the 256 greys. Cut, not rounded, to whole greys, as albumentations does."""
    contrast = 1 + _between(transform.contrast_limit, chance[:, :1])
    brightness = _between(transform.brightness_limit, chance[:, 1:]) * 255
    greys = np.arange(256, dtype=np.float32) * contrast.astype(np.float32) + brightness.astype(np.float32)
    return np.trunc(greys.clip(0, 255)).astype(np.float64), None


def _gamma(transform: Any, chance: Floats, _: tuple[int, int]) -> tuple[Floats, None]:
    gamma = _between(transform.gamma_limit, chance) / 100
    return np.trunc(np.arange(0, 256 / 255, 1 / 255) ** gamma * 255), None


def _blur(transform: Any, chance: Floats, _: tuple[int, int]) -> tuple[Floats, None]:
    """The table is the kernel along an axis: as wide as the widest of these limits, with zeros around the others."""
    sigma = np.maximum(_between(transform.sigma_limit, chance[:, :1]), 1e-6)
    size = _whole(transform.blur_limit, chance[:, 1:])
    half = np.where(size == 0, np.floor(sigma * 3.5), size // 2)
    widest = max(int(transform.sigma_limit[1] * 3.5), int(transform.blur_limit[1]) // 2)
    places = np.arange(-widest, widest + 1)
    kernel = np.where(np.abs(places) <= half, np.exp(-0.5 * (places / sigma) ** 2), 0)
    return kernel / kernel.sum(axis=1, keepdims=True), None


def _noise(transform: Any, chance: Floats, _: tuple[int, int]) -> tuple[Floats, None]:
    """The table is the mean and the standard deviation in greys, then the field's two keys."""
    mean = _between(transform.mean_range, chance[:, :1]) * 255
    deviation = _between(transform.std_range, chance[:, 1:2]) * 255
    return np.concatenate([mean, deviation, np.floor(chance[:, 2:] * 2**KEY_BITS)], axis=1), None


LINEAR_AND_NEAREST = {"interpolation": (1,), "mask_interpolation": (0,)}  # cv2.INTER_LINEAR, cv2.INTER_NEAREST
WITHIN = {"fill": (0,), "fill_mask": (0,), "border_mode": (0,), "fit_output": (False,)}  # cv2.BORDER_CONSTANT

KINDS: dict[str, Kind] = {
    "Affine": Kind(_affine, 9, {**LINEAR_AND_NEAREST, **WITHIN, "rotate_method": ("largest_box",)}),
    "HorizontalFlip": Kind(_horizontal_flip, 0, {}),
    "VerticalFlip": Kind(_vertical_flip, 0, {}),
    "RandomResizedCrop": Kind(_crop, 2 * CROP_TRIES + 2, {**LINEAR_AND_NEAREST, "area_for_downscale": (None, "image")}),
    "RandomBrightnessContrast": Kind(
        _brightness_contrast, 2, {"brightness_by_max": (True,), "ensure_safe_range": (False,)}
    ),
    "RandomGamma": Kind(_gamma, 1, {}),
    "GaussianBlur": Kind(_blur, 2, {}),
    "GaussNoise": Kind(_noise, 4, {"noise_scale_factor": (1,)}),
}
"""By the name of albumentations' class."""
