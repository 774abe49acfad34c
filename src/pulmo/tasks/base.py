"""What every task shares: the network and its input, the optimizer, the blocks that learn, the operating point."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torchmetrics import MeanMetric, Metric

from pulmo import thresholds
from pulmo.errors import ConfigError, TrainingError
from pulmo.metrics.collector import PredictionCollector
from pulmo.tasks.schedules import Plateau, Schedule
from pulmo.tasks.stored import StoredTask
from pulmo.types import Batch, Predictions, Target

NEVER = 2**62  # epochs: Lightning leaves the plateau schedule to us, see `on_train_epoch_end`


def mean_of_steps() -> MeanMetric:
    """A mean over an epoch's images, which does not look at its values: a GPU would be waited for at each step.

    A step's value is given once for each of its images: without a look torchmetrics 1.9 drops weights.
    """
    return MeanMetric(nan_strategy="disable")


class Task(StoredTask, ABC):
    """A network, how it learns, and how it is measured.

    net        image in, logits or detections out
    image      normalises (B, 1, H, W) uint8 to what the network eats; part of the checkpoint and of exports
    optimizer  partial: given parameter groups
    scheduler  partial of `pulmo.tasks.schedules`, or None for a constant rate
    monitor    figure that a plateau schedule watches
    threshold  policy that is fitted on each validation; its cut-off is in the checkpoint
    report_thresholds  cut-offs at which the figures are given beside

    A subclass says what is kept of each image (`evaluate`), what its figures are (`measure`), and which operating
    points it has (`operating_points`); the rest is the same for all.
    """

    fitted_figures: ClassVar[frozenset[str]]
    """Figures that a threshold policy may look at."""
    threshold_free: ClassVar[frozenset[str]] = frozenset({"loss"})
    """Figures that are the same at every cut-off: runs that watch no other can share a training."""

    def __init__(
        self,
        *,
        net: nn.Module,
        image: nn.Module,
        optimizer: Callable[..., Optimizer],
        collected: PredictionCollector,
        class_names: Sequence[str],
        threshold: thresholds.ThresholdPolicy,
        report_thresholds: Sequence[float] = (),
        scheduler: Schedule | None = None,
        monitor: str = "val/loss",
    ) -> None:
        super().__init__()
        thresholds.check(threshold, self.fitted_figures)
        if not all(0 <= value <= 1 for value in report_thresholds):
            raise ConfigError(f"model.task.report_thresholds={list(report_thresholds)}: scores between 0 and 1")
        self.net, self.image = net, image
        self.optimizer, self.scheduler, self.monitor = optimizer, scheduler, monitor
        self.class_names = tuple(class_names)
        self.policy = threshold
        self.report_thresholds = tuple(float(value) for value in report_thresholds)
        self.collected, self.train_loss = collected, mean_of_steps()
        # Block of the net → its learning rate (None: the optimizer's). Set stage by stage in fine-tuning.
        self.learning_rates: Mapping[str, float | None] = {"": None}
        self.rate_factor = 1.0  # of every rate, where batches are larger than those that the rates are for
        self.stage_epochs: int | None = None
        self._steps_of_run: int | None = None
        self.figures: dict[str, float] = {}
        self.predictions: dict[str, Predictions] = {}

    @classmethod
    @abstractmethod
    def needs(cls, settings: Mapping[str, Any]) -> frozenset[Target]:
        """Targets that a task of these settings (those under `model.task`) needs, before it is built."""

    @classmethod
    def classes(cls, settings: Mapping[str, Any], class_names: Sequence[str]) -> tuple[str, ...]:
        """What a task of these settings tells apart, in data of these classes, before it is built."""
        return tuple(class_names)

    def forward(self, image: Tensor) -> Any:
        """Network's answer to (B, 1, H, W) uint8 images."""
        return self.net(self.image(image))

    def check_input(self, channels: int, size: int) -> None:
        """Raise `ConfigError` for images that the network cannot take, before any is read."""

    @abstractmethod
    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Give the loss."""

    @abstractmethod
    def evaluate(self, batch: Batch) -> dict[str, Tensor] | None:
        """Put what the figures need of each image into `collected`; give what callbacks may want to see."""

    @abstractmethod
    def operating_points(self, predictions: Predictions) -> thresholds.OperatingPoints:
        """Tabulate `fitted_figures` at every cut-off."""

    @abstractmethod
    def measure(self, predictions: Predictions) -> dict[str, float]:
        """Figures of a split by name, at the fitted threshold and at those of `report_thresholds`."""

    @abstractmethod
    def table_columns(self, predictions: Predictions) -> dict[str, Any]:
        """Columns of the predictions csv behind the image's own: `label`, `score`, `prediction`, …"""

    def image_scores(self, predictions: Predictions) -> tuple[Tensor, Tensor] | None:
        """Give (N,) scores and (N,) labels {0, 1} of the images; None where the task has none."""
        return None

    def quality(self, predictions: Predictions) -> tuple[str, Tensor] | None:
        """Name and (N,) values of the figure by which images are better or worse; None where nothing can be drawn."""
        return None

    def drawn(self, batch: Batch, predictions: Predictions, place: int) -> dict[str, Any]:
        """What `report.overlays.Case` draws of the image at `place` in `predictions`, alone in `batch`."""
        return {}

    def box_columns(self, predictions: Predictions) -> dict[str, Any] | None:
        """Columns of a table of predicted boxes: `row`, `box` (N, 4) in the network's pixels, `score`, …; or None."""
        return None

    def validation_step(self, batch: Batch, index: int) -> dict[str, Tensor] | None:
        """Evaluate."""
        return self.evaluate(batch)

    def test_step(self, batch: Batch, index: int) -> dict[str, Tensor] | None:
        """Evaluate."""
        return self.evaluate(batch)

    def predict_step(self, batch: Batch, index: int) -> dict[str, Tensor] | None:
        """Evaluate, without a truth to compare with."""
        return self.evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        """Fit the operating point on these images, then measure with it."""
        predictions = self._gathered("val")
        self.fit_operating_point(predictions)
        self.log_figures("val", self.measure(predictions))

    def on_test_epoch_end(self) -> None:
        """Measure with the operating point that validation fitted."""
        self.log_figures("test", self.measure(self._gathered("test")))

    def on_predict_epoch_end(self) -> None:
        """Gather; there is nothing to measure against."""
        self._gathered("predict")

    def fit_operating_point(self, predictions: Predictions) -> None:
        """Let the policy choose the cut-off."""
        self.threshold = self.policy.fit(self.operating_points(predictions)).cut_off
        self.figures["threshold"] = self.threshold
        self.figures["threshold_is_fitted"] = float(self.policy.figure is not None)

    @property
    def stale(self) -> bool:
        """Whether what was kept of validation depends on a cut-off that has changed since."""
        return False

    @property
    def cut_off(self) -> float:
        """Score from which something counts as positive."""
        return 0.5 if self.threshold is None else self.threshold

    def _gathered(self, split: str) -> Predictions:
        predictions = self.predictions[split] = self.collected.gathered()
        self.collected.reset()
        return predictions

    @property
    @abstractmethod
    def monitorable(self) -> frozenset[str]:
        """Names of the figures that a callback can watch."""

    def train_metrics(self) -> dict[str, Metric]:
        """Metrics that training steps fill; their attributes are named `train_…`."""
        named = self.named_modules()
        return {name: part for name, part in named if name.startswith("train_") and isinstance(part, Metric)}

    def learning_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Parameters of each block in `learning_rates`, each parameter once, in the block that names it first.

        Raises `ConfigError` for a block that the network has not.
        """
        taken: set[int] = set()
        groups: dict[str, list[nn.Parameter]] = {}
        for name in sorted(self.learning_rates, key=len, reverse=True):  # the inner block before the outer
            try:
                block = self.net.get_submodule(name)
            except AttributeError:
                have = ", ".join(child for child, _ in self.net.named_children())
                raise ConfigError(f"finetune: the network has no block {name!r}; it has {have}") from None
            groups[name] = [parameter for parameter in block.parameters() if id(parameter) not in taken]
            taken |= {id(parameter) for parameter in groups[name]}
        return groups

    def configure_optimizers(self) -> Any:
        """Give the optimizer of the current stage, and its schedule over the stage's steps."""
        groups = [
            {"params": parameters, "name": name or "all"}
            | ({} if self.learning_rates[name] is None else {"lr": self.learning_rates[name]})
            for name, parameters in self.learning_parameters().items()
        ]
        try:
            optimizer = self.optimizer(groups)
        except ValueError as error:  # a rate below nought, say
            raise ConfigError(f"model.optimizer: {error}") from error
        for group in optimizer.param_groups:
            group["lr"] *= self.rate_factor
        if self.scheduler is None:
            return optimizer
        epochs = self.trainer.max_epochs
        if epochs is None or epochs < 1:
            raise ConfigError(f"trainer.max_epochs={epochs}: a schedule needs an end")
        steps_per_epoch = max(1, int(self.trainer.estimated_stepping_batches) // epochs)
        steps = steps_per_epoch * (self.stage_epochs or epochs)
        schedule = self.scheduler(optimizer, steps=steps, steps_per_epoch=steps_per_epoch)
        self._steps_of_run = steps
        self._refuse_other_length(schedule)
        if isinstance(schedule, ReduceLROnPlateau):
            config = {"interval": "epoch", "frequency": NEVER, "monitor": self.monitor, "strict": False}
        else:
            config = {"interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, **config}}

    def on_train_start(self) -> None:
        """Refuse a schedule of another length once more: shared-out weights are loaded when the schedule is there."""
        if self._steps_of_run is not None:
            self._refuse_other_length(self.lr_schedulers())

    def on_train_epoch_end(self) -> None:
        """Refuse weights that are no numbers any more, and step a plateau schedule.

        Before the checkpoint is written: Lightning would do it afterwards, and a resumed run would then have
        missed the step.
        """
        if not all(bool(parameter.isfinite().all()) for parameter in self.net.parameters()):
            raise TrainingError(
                f"the weights are no numbers after epoch {self.trainer.current_epoch + 1}: give a lower "
                "model.optimizer.lr, or trainer.gradient_clip_val=1"
            )
        schedule = self.lr_schedulers()
        if isinstance(schedule, ReduceLROnPlateau) and self.monitor in self.trainer.callback_metrics:
            schedule.step(float(self.trainer.callback_metrics[self.monitor]))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Log the learning rate of each block, as often as the loggers take a step."""
        schedule = self.lr_schedulers()
        if isinstance(schedule, Plateau):
            schedule.warm(self.trainer.global_step)
        if self._logs_this_step():  # each value is a copy to the GPU, and waited for
            for group in self.trainer.optimizers[0].param_groups:
                self.log(f"lr/{group['name']}", float(group["lr"]), on_step=True, on_epoch=False)

    def _logs_this_step(self) -> bool:
        loop, every = self.trainer.fit_loop.epoch_loop, self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        return every > 0 and bool((loop._batches_that_stepped + 1) % every == 0 or loop.batch_progress.is_last_batch)

    def _refuse_other_length(self, schedule: object) -> None:
        """Raise where a resumed schedule was made for another number of steps: its state would carry it on."""
        steps = self._steps_of_run
        stored, self.schedule_steps = self.schedule_steps, steps
        if stored not in (None, steps) and not isinstance(schedule, (StepLR, ReduceLROnPlateau)):
            raise ConfigError(
                f"the checkpoint's schedule was made for {stored} steps, this run has {steps}: resume with the same "
                "trainer.max_epochs and data, or start anew with model.weights=CHECKPOINT"
            )

    def log_figures(self, split: str, figures: Mapping[str, float]) -> None:
        """Keep as `split/name`, and log them, so that callbacks can monitor them.

        All ranks hold the same figures, computed on all images. Those at further thresholds, and counts, stay
        out of the loggers, whose pages they would flood; and so does the best checkpoint's validation after
        training, which would end the curve with a point of another epoch.
        """
        curve = split != "val" or self.trainer.state.fn == "fit"
        named = {f"{split}/{name}": float(value) for name, value in figures.items()}
        self.figures |= named
        for name, value in named.items():
            shown = curve and "@" not in name and not name.endswith(("positives", "negatives"))
            self.log(name, torch.tensor(value, dtype=torch.float32), logger=shown)
