"""Staged fine-tuning: which blocks of the network learn, at which rate, and when."""

import logging
from collections.abc import Sequence
from typing import Any, NotRequired, cast

from pytorch_lightning import Callback, LightningModule, Trainer
from torch.nn.modules.batchnorm import _NormBase
from typing_extensions import TypedDict  # pydantic checks configs by it, and wants this one below 3.12

from pulmo.errors import ConfigError
from pulmo.tasks.base import Task

log = logging.getLogger(__name__)


class Learner(TypedDict):
    """A block of the network, as a path such as `layer4` or several, and its rate; else the optimizer's own."""

    block: str | Sequence[str]
    lr: NotRequired[float | None]


class Stage(TypedDict):
    """Some blocks learning for some epochs; the last stage may leave its epochs open."""

    learn: Sequence[Learner]
    epochs: NotRequired[int | None]


class StagedFinetuning(Callback):
    """Trains the blocks of each stage and freezes all others, their batch norms' statistics too.

    Each stage starts with a fresh optimizer and a schedule of its own length, as the published protocols do
    by compiling anew. A resumed run goes on in the stage, and with the optimizer, in which it was cut off.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        if not stages:
            raise ConfigError("finetune.stages is empty: give at least one stage, or finetune=full")
        for number, stage in enumerate(stages[:-1]):
            if not stage.get("epochs"):
                raise ConfigError(f"finetune.stages[{number}].epochs is missing: only the last stage may be open")
        self.stages = list(stages)
        self.current = 0

    @property
    def starts(self) -> list[int]:
        """First epoch of each stage."""
        starts = [0]
        for stage in self.stages[:-1]:
            starts.append(starts[-1] + int(stage.get("epochs") or 0))
        return starts

    def check(self, task: Task, max_epochs: int | None) -> None:
        """Raise `ConfigError` for a block that the network has not, or stages that do not fit the epochs."""
        for stage in self.stages:
            task.learning_rates = _rates(stage)
            task.learning_parameters()
        if not max_epochs or max_epochs < 1:
            return
        last = self.stages[-1].get("epochs")
        end = self.starts[-1] + (last or 1)
        if max_epochs < end or (last and max_epochs > end):
            raise ConfigError(
                f"the stages of finetune take {end}{'' if last else ' or more'} epochs, trainer.max_epochs is "
                f"{max_epochs}: change one, or give finetune.stages.N.epochs"
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Name the first stage's blocks, before the optimizer is made."""
        if stage == "fit":
            self._announce(trainer, cast(Task, pl_module), 0)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Name the blocks of the stage in which the checkpoint was written: its optimizer has just those."""
        self._announce(trainer, cast(Task, pl_module), self._stage_of(int(checkpoint["epoch"])))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Enter the next stage where it begins, and freeze what does not learn."""
        task = cast(Task, pl_module)
        stage = self._stage_of(trainer.current_epoch)
        if stage != self.current:
            self._announce(trainer, task, stage)
            task.schedule_steps = None  # a schedule of this stage's own length
            trainer.strategy.setup_optimizers(trainer)
        freeze_others(task)
        if trainer.current_epoch in self.starts:
            blocks = ", ".join(name or "all blocks" for name in task.learning_rates)
            log.info(
                "stage %d of %d, from epoch %d: %s learn", stage + 1, len(self.stages), trainer.current_epoch, blocks
            )

    def _announce(self, trainer: Trainer, task: Task, stage: int) -> None:
        self.current = stage
        task.learning_rates = _rates(self.stages[stage])
        task.stage_epochs = self.stages[stage].get("epochs") or max(1, (trainer.max_epochs or 0) - self.starts[stage])

    def _stage_of(self, epoch: int) -> int:
        return max(number for number, start in enumerate(self.starts) if start <= epoch)


def _rates(stage: Stage) -> dict[str, float | None]:
    """Each block of the stage and its rate."""
    rates: dict[str, float | None] = {}
    for learner in stage["learn"]:
        block = learner["block"]
        rates |= dict.fromkeys([block] if isinstance(block, str) else block, learner.get("lr"))
    return rates


def freeze_others(task: Task) -> None:
    """Let gradients reach the learning blocks alone; batch norms elsewhere keep their statistics."""
    learning = {id(parameter) for group in task.learning_parameters().values() for parameter in group}
    for parameter in task.net.parameters():
        parameter.requires_grad_(id(parameter) in learning)
    task.net.train()  # as the network has it: a detector may keep norms frozen on its own
    for module in task.net.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, _NormBase) and own:
            module.train(module.training and any(id(parameter) in learning for parameter in own))
