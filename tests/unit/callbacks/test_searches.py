"""The searches behind the finders, on curves and machines that are made up."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from pulmo.callbacks.searches import Trial, _memory, largest_that_fits, steepest

RATES = np.geomspace(1e-7, 1, 100)


def curve(noise: float) -> np.ndarray:
    """A loss that falls fastest at 1e-3, is lowest near 3e-2, and then runs away."""
    x = np.log10(RATES)
    falling = 0.7 - 0.4 / (1 + np.exp(-4 * (x + 3)))
    return falling + 0.05 * np.exp(4 * (x + 1)) + np.random.default_rng(0).normal(0, noise, len(x))


@pytest.mark.parametrize("noise", [0, 0.02, 0.05])
def test_steepest__is_where_the_loss_falls_fastest(noise: float) -> None:
    rate, smooth = steepest(RATES, curve(noise))
    assert rate is not None
    assert abs(math.log10(rate) + 3) < 0.4
    assert smooth.shape == RATES.shape


def test_steepest__looks_before_the_lowest_point_alone() -> None:
    losses = curve(0)
    losses[-10:] = 5 - np.arange(10) * 0.45  # ran away, and came back fast
    rate, _ = steepest(RATES, losses)
    assert rate is not None
    assert abs(math.log10(rate) + 3) < 0.4


@pytest.mark.parametrize(
    "losses",
    [
        *(np.random.default_rng(seed).normal(0.7, 0.05, 100) for seed in range(10)),
        np.linspace(0.7, 3, 100),
        np.full(100, 0.7),
        np.linspace(0.7, 0.1, 5),
    ],
    ids=[*(f"noise{seed}" for seed in range(10)), "rising", "level", "few"],
)
def test_steepest__gives_nothing_where_the_loss_does_not_fall(losses: np.ndarray) -> None:
    assert steepest(RATES[: len(losses)], losses)[0] is None


@pytest.fixture(autouse=True)
def _no_collecting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gc.collect", lambda: 0)  # half a second each, in a process of many tests


def gpu(most: int) -> Callable[[int], Trial]:
    def attempt(size: int) -> Trial:
        if size > most:
            raise torch.OutOfMemoryError("no")
        return Trial(size, True, 100.0 + size, memory=size / most, limit=1.0, on_gpu=True)

    return attempt


def cpu(speeds: dict[int, float], a_size: float = 0.01) -> Callable[[int], Trial]:
    return lambda size: Trial(size, True, speeds[size], memory=1 + size * a_size, before=1.0, limit=3.0)


def chosen(
    attempt: Callable[[int], Trial], first: int, largest: int = 1024, images: int = 10_000
) -> tuple[list[int], int]:
    trials, choice = largest_that_fits(attempt, first, largest, lambda: images, share=0.8)
    assert choice is not None
    return [trial.size for trial in trials], choice.size


def test_largest_that_fits__on_a_gpu_is_the_last_before_it_ran_out_of_memory() -> None:
    assert chosen(gpu(most=100), 16) == ([16, 32, 64, 128], 64)


def test_largest_that_fits__on_a_gpu_is_halved_where_the_given_one_is_too_large() -> None:
    assert chosen(gpu(most=20), 64) == ([64, 32, 16], 16)


def test_largest_that_fits__ends_at_the_limit_and_at_the_number_of_images() -> None:
    assert chosen(gpu(most=9999), 16, largest=64) == ([16, 32, 64], 64)
    assert chosen(gpu(most=9999), 16, images=40) == ([16, 32], 32)


def test_largest_that_fits__is_none_where_not_one_image_fits() -> None:
    trials, choice = largest_that_fits(gpu(most=0), 4, 1024, lambda: 100, 0.8)
    assert [trial.size for trial in trials] == [4, 2, 1]
    assert choice is None


def test_largest_that_fits__on_a_cpu_is_the_smallest_of_the_fastest() -> None:
    assert chosen(cpu({8: 50, 16: 98, 32: 100, 64: 80}), 8, largest=64) == ([8, 16, 32, 64], 16)


def test_largest_that_fits__on_a_cpu_is_not_tried_beyond_the_share_of_the_memory() -> None:
    # 64 take 1.64 GiB; twice the growth would be 2.28, of 2.4 that are allowed; 128 take 2.28, and 256 would take 3.56.
    sizes, _ = chosen(cpu(dict.fromkeys((64, 128, 256), 10.0)), 64)
    assert sizes == [64, 128]


def test_memory__of_this_process_grows_by_what_it_takes() -> None:
    before, limit = _memory(torch.device("cpu"))
    block = np.ones(64 * 2**20 // 8)  # 64 MiB, touched
    after, _ = _memory(torch.device("cpu"))
    assert 0 < before <= after < limit
    assert after >= block.nbytes / 2**30
