"""One label an image: normal or pneumonia, or one of several classes."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from pulmo.errors import ConfigError
from pulmo.losses import ClassificationLoss
from pulmo.metrics.classification import (
    PredictionCollector,
    binary_metrics,
    multiclass_metrics,
    scores_of,
)
from pulmo.tasks.base import Task
from pulmo.thresholds import Fixed, ThresholdPolicy
from pulmo.types import Batch, Predictions, Target


class ClassificationTask(Task):
    """Cross entropy on labels; scores, figures at the fitted threshold and at `report_thresholds` beside it.

    net                partial: called with the number of `outputs`
    class_names        of the data set, the normal class first
    binary             two classes as one "sigmoid" logit or a "softmax" over two
    threshold          policy that is fitted on each validation's scores; its cut-off is in the checkpoint
    """

    needs: ClassVar[frozenset[Target]] = frozenset({"label"})

    def __init__(
        self,
        *,
        net: Callable[..., nn.Module],
        class_names: Sequence[str],
        loss: ClassificationLoss,
        threshold: ThresholdPolicy,
        binary: Literal["sigmoid", "softmax"] = "sigmoid",
        report_thresholds: Sequence[float] = (0.5, 0.25),
        **learning: Any,
    ) -> None:
        self.is_binary = len(class_names) == 2
        outputs = 1 if self.is_binary and binary == "sigmoid" else len(class_names)
        super().__init__(net=net(outputs=outputs), **learning)
        self.outputs = outputs
        loss.check(len(class_names))
        self.class_names = tuple(class_names)
        self.loss, self.policy = loss, threshold
        self.threshold: float | None = None
        if not all(0 <= value <= 1 for value in report_thresholds):
            raise ConfigError(f"model.task.report_thresholds={list(report_thresholds)}: scores between 0 and 1")
        self.report_thresholds = tuple(float(value) for value in report_thresholds)
        self.train_loss, self.train_accuracy = MeanMetric(), MeanMetric()
        self.collected = PredictionCollector()

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Loss of one batch; loss and accuracy (at 0.5) are gathered over the epoch."""
        logits = self(batch["image"])
        loss: Tensor = self.loss(logits, batch["label"])
        self.train_loss.update(loss.detach(), weight=len(logits))
        self.train_accuracy.update((_decided(logits.detach()) == batch["label"]).float())
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True)
        self.log("train/accuracy", self.train_accuracy, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        """Keep the logits."""
        self.collected.update(batch["row"], self(batch["image"]), batch["label"])

    def test_step(self, batch: Batch, index: int) -> None:
        """Keep the logits."""
        self.validation_step(batch, index)

    def predict_step(self, batch: Batch, index: int) -> None:
        """Keep the logits."""
        self.validation_step(batch, index)

    def on_validation_epoch_end(self) -> None:
        """Fit the threshold on these scores, then measure with it."""
        predictions = self._gathered("val")
        if self.is_binary:
            scores = scores_of(predictions["logits"])
            self.threshold = self.policy.fit(scores.numpy(), predictions["label"].numpy())
            self.figures["threshold"] = self.threshold
            self.figures["threshold_is_fitted"] = float(not isinstance(self.policy, Fixed))
        self._measure("val", predictions)

    def on_test_epoch_end(self) -> None:
        """Measure with the threshold that validation fitted."""
        self._measure("test", self._gathered("test"))

    def on_predict_epoch_end(self) -> None:
        """Gather; there is nothing to measure against."""
        self._gathered("predict")

    def table_columns(self, predictions: Predictions) -> dict[str, Any]:
        """label, score, prediction; for more than two classes a score each, `score` that of the predicted one."""
        scores = scores_of(predictions["logits"])
        columns: dict[str, Any] = {"label": predictions["label"].numpy()}
        if self.is_binary:
            return columns | {"score": scores.numpy(), "prediction": (scores >= self.cut_off).int().numpy()}
        best = scores.max(dim=1)
        columns |= {"score": best.values.numpy(), "prediction": best.indices.numpy()}
        return columns | {f"score_{name}": scores[:, k].numpy() for k, name in enumerate(self.class_names)}

    @property
    def cut_off(self) -> float:
        """Score from which an image counts as positive."""
        return 0.5 if self.threshold is None else self.threshold

    @property
    def monitorable(self) -> frozenset[str]:
        """Names of the figures that a callback can watch."""
        classes = torch.arange(len(self.class_names))
        figures = self._figures(torch.nn.functional.one_hot(classes).float()[:, -self.outputs :], classes)
        return frozenset({"train/loss", "train/accuracy", "val/loss", *(f"val/{name}" for name in figures)})

    def state(self) -> dict[str, Any]:
        """The fitted threshold."""
        return {"threshold": self.threshold}

    def restore(self, state: dict[str, Any]) -> None:
        """Take the fitted threshold back."""
        self.threshold = state.get("threshold")

    def _gathered(self, split: str) -> Predictions:
        predictions = self.predictions[split] = self.collected.compute()
        self.collected.reset()
        return predictions

    def _measure(self, split: str, predictions: Predictions) -> None:
        logits, labels = predictions["logits"], predictions["label"]
        loss = self.loss.cpu()(logits, labels)
        self.loss.to(self.device)
        self.log_figures(split, {"loss": float(loss)} | self._figures(logits, labels))

    def _figures(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        scores = scores_of(logits)
        if not self.is_binary:
            return multiclass_metrics(scores, labels, self.class_names)
        thresholds = {"": self.cut_off} | {f"@{value:g}": value for value in self.report_thresholds}
        return binary_metrics(scores, labels, thresholds)


def _decided(logits: Tensor) -> Tensor:
    return (logits[:, 0] >= 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)
