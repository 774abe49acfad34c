"""A trial of a search tells how it does, epoch by epoch, and ends when others did better."""

import math
from collections.abc import Callable
from typing import Protocol

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor


class Reported(Protocol):
    """What is asked of Optuna's trial."""

    def report(self, value: float, step: int) -> None:
        """Tell the figure of an epoch."""

    def should_prune(self) -> bool:
        """Whether the others did better by now."""


class Pruning(Callback):
    """Reports `monitor` after each validated epoch, and ends the training where the trial is hopeless.

    `connect` gives the trial; the first process alone calls it, and all end together. An undefined figure is not
    reported; the last epoch is never pruned, since nothing would be saved. `known` are epochs that an earlier
    process reported, before the trial was cut off. Afterwards `cause` says why it was pruned, or is None.
    """

    def __init__(self, monitor: str, connect: Callable[[], tuple[Reported, frozenset[int]]]) -> None:
        self.monitor, self.connect = monitor, connect
        self.cause: str | None = None
        self._trial: Reported | None = None
        self._known: frozenset[int] = frozenset()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report and ask."""
        if (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1):
            return
        figure = trainer.callback_metrics.get(
            self.monitor
        )  # on all ranks: Lightning reduces over them when first asked
        cause = self._ask(trainer, figure) if trainer.is_global_zero else None
        self.cause = trainer.strategy.broadcast(cause)
        if self.cause:
            trainer.should_stop = True

    def _ask(self, trainer: Trainer, figure: Tensor | None) -> str | None:
        epoch = trainer.current_epoch
        if figure is None or not math.isfinite(figure):
            return None
        if self._trial is None:
            self._trial, self._known = self.connect()
        if epoch not in self._known:
            self._trial.report(float(figure), epoch)
        if epoch + 1 == trainer.max_epochs or not self._trial.should_prune():
            return None
        return f"pruned after epoch {epoch + 1}, with {self.monitor} {float(figure):.4f}"
