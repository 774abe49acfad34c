"""Learning rates over a fine-tuning stage: torch's schedulers, told how long the stage is, with a warm-up."""

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

WARMUP_START = 0.01  # of the rate

Schedule = Callable[..., LRScheduler | ReduceLROnPlateau]
"""Called with the optimizer, `steps` (of the stage) and `steps_per_epoch`; stepped after each training step."""


def step(
    optimizer: Optimizer,
    *,
    steps: int,
    steps_per_epoch: int,
    every_epochs: int = 10,
    factor: float = 0.1,
    warmup_epochs: float = 0,
) -> LRScheduler:
    """Multiply the rate by `factor` every so many epochs."""
    main = StepLR(optimizer, every_epochs * steps_per_epoch, factor)
    return _warmed(optimizer, main, warmup_epochs, steps_per_epoch)


def cosine(
    optimizer: Optimizer, *, steps: int, steps_per_epoch: int, floor: float = 0.0, warmup_epochs: float = 0
) -> LRScheduler:
    """Fall along half a cosine to `floor` (a rate) at the stage's end (Loshchilov & Hutter, arXiv 1608.03983)."""
    length = max(1, steps - round(warmup_epochs * steps_per_epoch))
    return _warmed(optimizer, CosineAnnealingLR(optimizer, length, floor), warmup_epochs, steps_per_epoch)


def one_cycle(
    optimizer: Optimizer, *, steps: int, steps_per_epoch: int, warmup_share: float = 0.3, momentum: bool = False
) -> LRScheduler:
    """Rise to the optimizer's rate and fall far below it (Smith & Topin, arXiv 1708.07120)."""
    peaks = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, peaks, total_steps=steps + 1, pct_start=warmup_share, cycle_momentum=momentum)


class Plateau(ReduceLROnPlateau):
    """torch's, after a linear warm-up of `warmup` steps, in which no epoch counts as one without improvement.

    `SequentialLR` cannot hold it: one is stepped by training steps, the other by what an epoch's figure was.
    """

    def __init__(self, optimizer: Optimizer, warmup: int, **settings: Any) -> None:
        super().__init__(optimizer, **settings)
        self.warmup = warmup
        self.first_step: int | None = None
        self.full_rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.warming = warmup > 0

    def warm(self, step: int) -> None:
        """Set the rates for the trainer's step `step`; of no effect once the warm-up is over."""
        if not self.warming:
            return
        self.first_step = step if self.first_step is None else self.first_step
        share = min(1.0, (step - self.first_step) / self.warmup)
        self.warming = share < 1
        for group, rate in zip(self.optimizer.param_groups, self.full_rates, strict=True):
            group["lr"] = rate * (WARMUP_START + (1 - WARMUP_START) * share)

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Compare an epoch's figure with the best one, unless it warmed up."""
        if not self.warming:
            super().step(metrics, epoch)


def plateau(
    optimizer: Optimizer,
    *,
    steps: int,
    steps_per_epoch: int,
    factor: float = 0.1,
    patience: int = 3,
    mode: str = "min",
    warmup_epochs: float = 0,
) -> Plateau:
    """Multiply by `factor` after `patience` epochs in which the monitored figure did not improve."""
    warmup = round(warmup_epochs * steps_per_epoch)
    return Plateau(optimizer, warmup, mode="max" if mode == "max" else "min", factor=factor, patience=patience)


def constant(optimizer: Optimizer, *, steps: int, steps_per_epoch: int, warmup_epochs: float = 0) -> LRScheduler:
    """Keep the rate, after a warm-up."""
    return _warmed(optimizer, StepLR(optimizer, steps + 1, 1.0), warmup_epochs, steps_per_epoch)


def _warmed(optimizer: Optimizer, main: LRScheduler, warmup_epochs: float, steps_per_epoch: int) -> LRScheduler:
    """Rise linearly from a hundredth of the rate over `warmup_epochs`, then follow `main`."""
    warmup = round(warmup_epochs * steps_per_epoch)
    if not warmup:
        return main
    rise = LinearLR(optimizer, start_factor=WARMUP_START, total_iters=warmup)
    return SequentialLR(optimizer, [rise, main], [warmup])
