"""The measuring behind `finders`: a range test of the learning rate, and trials of batch sizes."""

import gc
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from pulmo.errors import ConfigError
from pulmo.tasks.base import Task

log = logging.getLogger(__name__)

Array = npt.NDArray[np.float64]

DIVERGED = 4.0  # times the lowest loss so far
FEWEST = 10  # points of a curve
GIB = 2**30


class SearchEndedError(Exception):
    """Ends a fit that has shown enough, before the hooks that follow a real epoch."""


class RangeTest(Callback):
    """Trains with a rate that grows from step to step, and keeps the losses, until they diverge.

    Blocks that have a rate of their own in `finetune` keep it, as they will when the found one is the optimizer's.
    """

    def __init__(self, min_lr: float, max_lr: float, steps: int) -> None:
        self.rates = np.geomspace(min_lr, max_lr, steps)
        self.losses: list[list[float]] = [[]]

    @property
    def curve(self) -> tuple[Array, Array]:
        """Rates, and the mean loss of the batches of each; steps that gave no number are left out."""
        losses = np.array([np.mean(part) if part else np.nan for part in self.losses])
        known = np.isfinite(losses)
        return self.rates[: len(losses)][known], losses[known]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set the step's rate."""
        own = cast(Task, pl_module).learning_rates
        for group in trainer.optimizers[0].param_groups:
            if own["" if group["name"] == "all" else group["name"]] is None:
                group["lr"] = float(self.rates[trainer.global_step])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss; end where it has run away, or the range is through."""
        given = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        loss = float(given) * trainer.accumulate_grad_batches
        self.losses[-1].append(loss)
        means = [np.mean(part) for part in self.losses]
        if not np.isfinite(loss) or means[-1] > DIVERGED * np.min(means):
            raise SearchEndedError
        if trainer.global_step == len(self.losses):
            if len(self.losses) == len(self.rates):
                raise SearchEndedError
            self.losses.append([])


def steepest(rates: Array, losses: Array) -> tuple[float | None, Array]:
    """The rate at which the smoothed loss falls fastest along log(rate), before its lowest point; and that curve.

    None where there are too few points, or the loss falls by no more than it jumps from step to step.
    """
    if len(losses) < FEWEST:
        return None, losses
    places = np.arange(len(losses))
    weights = np.exp(-0.5 * ((places[:, None] - places) / max(1.0, len(losses) / 25)) ** 2)
    smooth = (weights @ losses) / weights.sum(axis=1)
    lowest = int(smooth.argmin())
    jumps = float(np.std(np.diff(losses[: lowest + 1]))) / np.sqrt(2) if lowest > 1 else np.inf
    if lowest < 2 or smooth[:lowest].max() - smooth[lowest] <= max(1.5 * jumps, 1e-3 * abs(smooth[lowest])):
        return None, smooth
    slopes = np.gradient(smooth, np.log(rates))[: lowest + 1]
    return float(rates[int(slopes.argmin())]), smooth


@dataclass(frozen=True)
class Trial:
    """What training with batches of a size took: `memory` at its most, of `limit`; `before` the network was there."""

    size: int
    fits: bool = False
    images_per_second: float = float("nan")
    memory: float = float("nan")  # GiB, of the device's allocator or of the process
    before: float = 0.0
    limit: float = float("nan")
    on_gpu: bool = False

    def __str__(self) -> str:
        if not self.fits:
            return f"batches of {self.size} do not fit"
        return (
            f"batches of {self.size}: {self.images_per_second:.1f} images/s, {self.memory:.2f} of {self.limit:.2f} GiB"
        )


class BatchTrial(Callback):
    """Trains a few steps with batches of one size, and measures their speed and the memory that they take."""

    def __init__(self, size: int, steps: int) -> None:
        self._size, self._steps = size, steps
        self._before, self._last = 0.0, 0.0
        self._speeds: list[float] = []
        self.result = Trial(size)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what is taken already."""
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)
        self._before = _memory(pl_module.device)[0]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure the step; not the first, in which memory is laid out and kernels are chosen."""
        on_gpu = pl_module.device.type == "cuda"
        if on_gpu:
            torch.cuda.synchronize(pl_module.device)
        now = time.perf_counter()
        if self._last:
            self._speeds.append(len(batch["row"]) / (now - self._last))
        self._last = now
        if len(self._speeds) == self._steps:
            memory, limit = _memory(pl_module.device)
            speed = float(np.median(self._speeds))
            self.result = Trial(self._size, True, speed, memory, self._before, limit, on_gpu)
            raise SearchEndedError


def largest_that_fits(
    attempt: Callable[[int], Trial], first: int, largest: int, images: Callable[[], int], share: float
) -> tuple[list[Trial], Trial | None]:
    """Double the batch from `first` on, or halve it where that does not fit; give the trials, and the one to take.

    On a GPU that is the largest that did not run out of memory. On a CPU the process would be killed before it is told,
    so there the next size is not tried where it would take more than `share` of the memory, by twice what the last one
    took; and of those tried the fastest is taken, or the smallest within 3% of it.
    """
    trials: list[Trial] = []
    size = first
    while size >= 1:
        trial = _tried(attempt, size)
        trials.append(trial)
        log.info("%s", trial)
        if not trial.fits and any(earlier.fits for earlier in trials):
            break
        if not trial.fits:
            size //= 2
            continue
        doubled = 2 * trial.memory - trials[0].before
        if (len(trials) > 1 and size < first) or 2 * size > min(largest, images()):
            break
        if not trial.on_gpu and doubled > share * trial.limit:
            break
        size *= 2
    fitting = sorted((trial for trial in trials if trial.fits), key=lambda trial: trial.size)
    if not fitting or fitting[-1].on_gpu:
        return trials, fitting[-1] if fitting else None
    fastest = max(trial.images_per_second for trial in fitting)
    return trials, next(trial for trial in fitting if trial.images_per_second >= 0.97 * fastest)


def _tried(attempt: Callable[[int], Trial], size: int) -> Trial:
    try:
        return attempt(size)
    except torch.OutOfMemoryError:
        return Trial(size)
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _memory(device: torch.device) -> tuple[float, float]:
    """GiB that are taken at most until now, and GiB that there are for this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB, torch.cuda.mem_get_info(device)[1] / GIB
    status, machine = (_lines(Path("/proc") / name) for name in ("self/status", "meminfo"))
    if device.type != "cpu" or "VmHWM" not in status:
        raise ConfigError("find.batch_size measures the memory of CUDA, or of a CPU under Linux: give data.batch_size")
    free = machine["MemAvailable"]
    group = Path("/sys/fs/cgroup")
    if (group / "memory.max").is_file() and (allowed := (group / "memory.max").read_text().strip()) != "max":
        free = min(free, (int(allowed) - int((group / "memory.current").read_text())) / GIB)
    return status["VmHWM"], status["VmRSS"] + free


def _lines(path: Path) -> dict[str, float]:
    """GiB by name of one of Linux's tables in kB; empty where there is none."""
    if not path.is_file():
        return {}
    rows = (line.split() for line in path.read_text().splitlines() if line.endswith(" kB"))
    return {row[0].rstrip(":"): int(row[1]) * 1024 / GIB for row in rows}
