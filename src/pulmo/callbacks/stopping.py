"""The end of a run that is asked to end: at a step, all processes at the same, with a checkpoint to go on from."""

from pathlib import Path
from typing import Any, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.loops.fetchers import _DataFetcher
from pytorch_lightning.trainer import call
from torch import Tensor

from pulmo import interruption
from pulmo.data.datamodule import ChestDataModule
from pulmo.interruption import Interrupted
from pulmo.tasks.base import Task


class Stopping(Callback):
    """Saves `last.ckpt` in `folder` and raises `Interrupted` before the step that follows a signal.

    Steps are optimizer steps, and batches of the validation within training; elsewhere nothing is there to save, and a
    signal is obeyed at once. A run that goes on from the checkpoint ends as if it had not been interrupted: the order
    of images is the data module's to restore, random numbers are `StepSeed`'s, and the means of an epoch are in here.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "last.ckpt"
        self._batches = 0  # of a validation, that all processes have
        self._kept: dict[str, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here a signal waits for the step; go on where an interrupted run ended, in the midst of an epoch."""
        interruption.answer()
        interruption.wait_for_step(True)
        if not trainer.fit_loop.restarted_mid_epoch:
            return
        call._call_callback_hooks(trainer, "on_train_epoch_start")  # Lightning leaves them out
        call._call_lightning_module_hook(trainer, "on_train_epoch_start")
        _restore_means(trainer, cast(Task, pl_module), self._kept)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Tell the data module where to begin, and remember the means until the training does."""
        self._kept = checkpoint.get("interrupted", {})
        loops = checkpoint["loops"]["fit_loop"]
        batches = 0
        if self._kept:  # counted anew, for there may be more processes or smaller batches than there were
            all_batches = -(-sum(map(int, _data(trainer).class_counts)) // _images_a_step(trainer))
            batches = min(self._kept["images"] // _images_a_step(trainer), all_batches)
            progress = loops["epoch_loop.batch_progress"]["current"]
            progress |= dict.fromkeys(progress, batches)
        _data(trainer).begin = loops["epoch_progress"]["current"]["processed"], batches * _images_a_step(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop before this batch, where the optimizer has seen those before it."""
        if batch_idx % trainer.accumulate_grad_batches:
            return
        if number := _agreed(trainer):
            _undo_fetch(trainer)
            steps = f"step {batch_idx} of {trainer.num_training_batches}"
            raise Interrupted(number, f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}, {steps}", saved=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the batches that all processes have: the last one may be some processes' alone."""
        interruption.answer()
        if trainer.state.fn == "fit":
            batches = sum(cast(list[int], trainer.num_val_batches))
            self._batches = batches if trainer.world_size == 1 else _reduced(trainer, batches, "min")

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        """Stop behind this batch; the whole validation comes again."""
        if trainer.state.fn != "fit" or trainer.sanity_checking or rest[2] >= self._batches:
            return
        if number := _agreed(trainer):
            _undo_validation(trainer, cast(Task, pl_module))
            place = f"the validation of epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
            raise Interrupted(number, place, saved=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop between the training and the test; what the last epoch saved is enough."""
        interruption.wait_for_step(False)
        if number := _agreed(trainer):
            raise Interrupted(number, "the end of the training")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Answer to signals."""
        interruption.answer()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Answer to signals."""
        interruption.answer()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the checkpoint: every process comes here, and Lightning wants them all."""
        if isinstance(exception, Interrupted) and exception.saved:
            trainer.save_checkpoint(self.path)
        interruption.wait_for_step(False)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the epoch's means where the epoch is not at its end."""
        if trainer.state.status == "interrupted":
            batches = trainer.fit_loop.epoch_loop.batch_progress.current.completed
            images = {"images": batches * _images_a_step(trainer)}
            checkpoint["interrupted"] = images | _means(trainer, cast(Task, pl_module))


def _agreed(trainer: Trainer) -> int:
    """Give the number of a signal that has come to any of the processes; 0 for none."""
    number = int(interruption.asked() or 0)
    return number if trainer.world_size == 1 else _reduced(trainer, number, "max")


def _reduced(trainer: Trainer, number: int, how: str) -> int:
    tensor = torch.tensor(number, device=trainer.strategy.root_device)
    return int(cast(Tensor, trainer.strategy.reduce(tensor, reduce_op=how)))


def _data(trainer: Trainer) -> ChestDataModule:
    return cast(ChestDataModule, trainer.datamodule)  # type: ignore[attr-defined]


def _images_a_step(trainer: Trainer) -> int:
    return _data(trainer).batch_size * trainer.world_size


def _undo_fetch(trainer: Trainer) -> None:
    """Count the batch that was fetched and will not be trained on as not fetched."""
    loop = trainer.fit_loop.epoch_loop
    for progress in (loop.batch_progress.total, loop.batch_progress.current):
        progress.ready = progress.completed
    loop.batch_progress.is_last_batch = False
    if loop._should_check_val_fx(cast(_DataFetcher, trainer.fit_loop._data_fetcher)):
        # Going on, Lightning leaves out the validation that is done, and counts a batch for it.
        loop._batches_that_stepped -= 1


def _undo_validation(trainer: Trainer, task: Task) -> None:
    """Stand at the first batch of the validation, with the weights that train."""
    for part in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(part, WeightAveraging):
            part.on_validation_epoch_end(trainer, task)  # swaps back what it has swapped
    progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    progress.reset()
    progress.increment_ready()
    progress.increment_started()
    trainer.training = True


def _means(trainer: Trainer, task: Task) -> dict[str, Any]:
    """What has been summed up of the epoch, over all processes; after its last batch, the figures that it gives."""
    known = {name: value.detach().cpu() for name, value in trainer.callback_metrics.items()}
    if trainer.fit_loop.epoch_loop._num_ready_batches_reached():
        figures = trainer.fit_loop.epoch_loop._results.metrics(on_step=False)["callback"]
        return {"known": known, "figures": {name: value.detach().cpu() for name, value in figures.items()}}
    sums = {}
    for name, metric in task.train_metrics().items():
        with metric.sync_context():
            sums[name] = {key: torch.as_tensor(value).cpu().clone() for key, value in metric.metric_state.items()}
    return {"known": known, "sums": sums}


def _restore_means(trainer: Trainer, task: Task, kept: dict[str, Any]) -> None:
    trainer.callback_metrics.update(kept.get("known", {}))  # an epoch without validation shows the last one's figures
    for name, value in kept.get("figures", {}).items():
        task.log(name, value)
    sums = kept.get("sums", {}) if trainer.is_global_zero else {}  # of all processes
    for name, metric in task.train_metrics().items():
        for key, value in sums.get(name, {}).items():
            setattr(metric, key, value.to(metric.device))
