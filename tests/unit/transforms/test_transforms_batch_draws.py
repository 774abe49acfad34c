"""The numbers drawn for batches: spread as albumentations spreads its own."""

from itertools import combinations_with_replacement
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from pulmo.transforms.augment import Augment
from pulmo.transforms.batch_augment import BatchAugment
from pulmo.transforms.batch_draws import draw as draw_batch
from pulmo.transforms.batch_draws import uniforms

SHAPE = (128, 160)  # not square, so that no axis is taken for the other
SEEDS = np.random.default_rng(0).integers(2**31, size=3000)


def matrices(transform: Any, params: dict[str, Any]) -> Any:
    return params["bbox_matrix"][:2].ravel()


def corners(transform: Any, params: dict[str, Any]) -> Any:
    x, y, right, bottom = params["crop_coords"]
    return x, y, right - x, bottom - y


def greys(transform: Any, params: dict[str, Any]) -> Any:
    return transform.apply(np.arange(256, dtype=np.uint8)[:, None], **params).ravel()[[30, 128, 200]]


@pytest.mark.parametrize(
    ("transform", "measure"),
    [
        (A.Affine(rotate=(-7, 7), translate_percent=(-0.05, 0.05), scale=(0.95, 1.05)), matrices),
        (A.Affine(rotate=(-40, 9), translate_px={"x": (-3, 4), "y": (0, 9)}, shear=(-9, 20)), matrices),
        (A.Affine(scale=(0.5, 2), balanced_scale=True, keep_ratio=True), matrices),
        (A.Affine(scale={"x": (0.5, 0.8), "y": (0.7, 3)}, balanced_scale=True), matrices),
        (A.RandomResizedCrop(size=SHAPE, scale=(0.8, 1.0), ratio=(0.9, 1.1)), corners),
        (A.RandomResizedCrop(size=SHAPE), corners),
        (A.RandomResizedCrop(size=SHAPE, scale=(1, 1), ratio=(0.5, 0.6)), corners),  # never fits
        (A.RandomResizedCrop(size=SHAPE, scale=(1, 1), ratio=(2, 2.5)), corners),
        (A.RandomBrightnessContrast(brightness_limit=0.25, contrast_limit=0.3), greys),
        (A.RandomGamma((70, 140)), greys),
        (A.GaussianBlur(sigma_limit=(0.3, 1.5)), lambda _, params: [max(params["kernel"])]),
        (A.GaussianBlur(blur_limit=(2, 6), sigma_limit=(0.5, 3)), lambda _, params: [max(params["kernel"])]),
        (
            A.GaussNoise(std_range=(0.01, 0.05), mean_range=(-0.1, 0.2)),
            lambda _, params: [params["noise_map"].mean(), params["noise_map"].std()],
        ),
    ],
)
def test_draw__is_spread_as_albumentations_draws(transform: Any, measure: Any) -> None:
    transform.p = 1
    transform.set_random_seed(0)
    shape = (32, 32) if isinstance(transform, A.GaussNoise) else SHAPE
    data = {"image": np.zeros((*shape, 1), np.uint8)}
    theirs = np.array(
        [
            measure(transform, transform.get_params() | transform.get_params_dependent_on_data({"shape": shape}, data))
            for _ in range(1500)
        ]
    )
    drawn = draw_batch(transform, 0, SEEDS, shape)
    ours: Any = drawn.table
    if measure is matrices:
        ours = drawn.moves.reshape(-1, 6)  # type: ignore[union-attr]
    elif measure is greys:
        ours = ours[:, [30, 128, 200]]
    elif isinstance(transform, A.GaussianBlur):
        ours = ours.max(axis=1, keepdims=True)
    # Two by two as well, since one may hang on another: the sides of a crop, the scales of x and y.
    centre, spread = theirs.mean(axis=0), theirs.std(axis=0) + 1e-9
    theirs, ours = (theirs - centre) / spread, (ours[:, : len(centre)] - centre) / spread
    pairs = list(combinations_with_replacement(range(theirs.shape[1]), 2))
    for one, other in pairs:
        # Two-sample Kolmogorov and Smirnov; the seeds are fixed, so that the outcome is.
        same = ks_2samp(*((part[:, one] + part[:, other]).round(4) for part in (ours, theirs)))
        assert same.pvalue > 0.01 / len(pairs), (one, other, same)


def test_draw__p_is_the_part_of_images_that_change() -> None:
    rows = draw_batch(A.HorizontalFlip(p=0.3), 2, SEEDS, SHAPE).rows
    assert abs(len(rows) - 900) < 4 * (3000 * 0.3 * 0.7) ** 0.5  # binomial: ± 100


def test_uniforms__are_level_and_know_nothing_of_each_other() -> None:
    for seeds in (SEEDS, np.arange(-1500, 1500)):  # neighbouring seeds too
        numbers = np.concatenate([uniforms(seeds, number, 6) for number in range(3)], axis=1)
        numbers = np.concatenate([numbers[1:], numbers[:-1]], axis=1)  # of one seed, and of the one before
        assert 0 <= numbers.min() < 0.001
        assert 0.999 < numbers.max() < 1
        np.testing.assert_allclose(numbers.mean(axis=0), 0.5, atol=4 * (1 / 12 / 3000) ** 0.5)
        assert np.abs(np.corrcoef(numbers.T) - np.eye(36)).max() < 5 / 3000**0.5


def test_batch_augment__noise_is_normal_and_differs_everywhere() -> None:
    grey = torch.full((4, 1, 101, 99), 128, dtype=torch.uint8)
    noise = BatchAugment(Augment([A.GaussNoise(std_range=(0.1, 0.1), p=1)]))(grey, np.arange(4))[0].double() - 128
    expected = np.trunc(np.random.default_rng(0).normal(0, 25.5, 40000))
    assert ks_2samp(noise.flatten().numpy(), expected).pvalue > 1e-3
    rows = torch.cat([noise.flatten(1), noise.roll(1, -1).flatten(1), noise.roll(1, -2).flatten(1)]).numpy()
    assert np.abs(np.corrcoef(rows) - np.eye(12)).max() < 5 / 9999**0.5
    halves = noise.flatten(1)[:, :9998].unflatten(1, (2, -1)).abs()  # made in pairs: one is no measure of the other
    for one, other in halves.numpy():
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / 4999**0.5
