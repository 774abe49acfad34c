"""Learning rates over a fine-tuning stage: torch's schedulers, told how long the stage is, with a warm-up."""

from collections.abc import Callable

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


def plateau(
    optimizer: Optimizer,
    *,
    steps: int,
    steps_per_epoch: int,
    factor: float = 0.1,
    patience: int = 3,
    mode: str = "min",
) -> ReduceLROnPlateau:
    """Multiply by `factor` after `patience` epochs in which the monitored figure did not improve."""
    return ReduceLROnPlateau(optimizer, mode="max" if mode == "max" else "min", factor=factor, patience=patience)


def constant(optimizer: Optimizer, *, steps: int, steps_per_epoch: int, warmup_epochs: float = 0) -> LRScheduler:
    """Keep the rate, after a warm-up."""
    return _warmed(optimizer, StepLR(optimizer, steps + 1, 1.0), warmup_epochs, steps_per_epoch)


def _warmed(optimizer: Optimizer, main: LRScheduler, warmup_epochs: float, steps_per_epoch: int) -> LRScheduler:
    """Rise linearly from a hundredth of the rate over `warmup_epochs`, then follow `main`."""
    warmup = round(warmup_epochs * steps_per_epoch)
    if not warmup:
        return main
    rise = LinearLR(optimizer, start_factor=0.01, total_iters=warmup)
    return SequentialLR(optimizer, [rise, main], [warmup])
