"""One label an image: normal or pneumonia, or one of several classes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from pulmo.errors import ConfigError
from pulmo.losses import ClassificationLoss
from pulmo.metrics.classification import binary_metrics, multiclass_metrics, scores_of
from pulmo.metrics.collector import PredictionCollector
from pulmo.tasks.base import Task, mean_of_steps
from pulmo.thresholds import BINARY_FIGURES, OperatingPoints, binary_points
from pulmo.types import Batch, Predictions, Target


class ClassificationTask(Task):
    """Cross entropy on labels; scores, figures at the fitted threshold and at `report_thresholds` beside it.

    net                partial: called with the number of `outputs`
    class_names        of the data set, the normal class first
    binary             two classes as one "sigmoid" logit or a "softmax" over two
    """

    fitted_figures: ClassVar[frozenset[str]] = BINARY_FIGURES
    threshold_free: ClassVar[frozenset[str]] = frozenset({"loss", "auroc", "average_precision"})

    def __init__(
        self,
        *,
        net: Callable[..., nn.Module],
        class_names: Sequence[str],
        loss: nn.Module,
        binary: Literal["sigmoid", "softmax"] = "sigmoid",
        report_thresholds: Sequence[float] = (0.5, 0.25),
        **learning: Any,
    ) -> None:
        if not isinstance(loss, ClassificationLoss):
            raise ConfigError(f"{type(loss).__name__} is no loss of a classifier: choose loss=cross_entropy")
        loss.check(len(class_names))
        self.is_binary = len(class_names) == 2
        outputs = 1 if self.is_binary and binary == "sigmoid" else len(class_names)
        collected = PredictionCollector(["logits", "label"])
        learning |= {"class_names": class_names, "report_thresholds": report_thresholds, "collected": collected}
        super().__init__(net=net(outputs=outputs), **learning)
        self.outputs, self.loss = outputs, loss
        self.train_accuracy = mean_of_steps()
        self.recall: Callable[[Batch], Tensor] | None = None  # set while the network before its head is frozen

    @classmethod
    def needs(cls, settings: Mapping[str, Any]) -> frozenset[Target]:
        """Labels alone."""
        return frozenset({"label"})

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Loss of one batch; loss and accuracy (at 0.5) are gathered over the epoch."""
        logits = self.logits(batch)
        loss: Tensor = self.loss(logits, batch["label"])
        self.train_loss.update(loss.detach().expand(len(logits)))
        self.train_accuracy.update((_decided(logits.detach()) == batch["label"]).float())
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True)
        self.log("train/accuracy", self.train_accuracy, on_step=False, on_epoch=True)
        return loss

    def evaluate(self, batch: Batch) -> None:
        """Keep the logits."""
        self.collected.update(row=batch["row"], logits=self.logits(batch).float(), label=batch["label"])

    def logits(self, batch: Batch) -> Tensor:
        """Network's answer (B, K), from kept features where a callback has some."""
        answer: Tensor = self(batch["image"]) if self.recall is None else self.recall(batch)
        return answer

    def fit_operating_point(self, predictions: Predictions) -> None:
        """Let the policy choose the cut-off; among several classes the likeliest is taken, without one."""
        if self.is_binary:
            super().fit_operating_point(predictions)

    def operating_points(self, predictions: Predictions) -> OperatingPoints:
        """Every cut-off on the images' scores."""
        return binary_points(scores_of(predictions["logits"]).numpy(), predictions["label"].numpy())

    def measure(self, predictions: Predictions) -> dict[str, float]:
        """Loss, AUROC and the like; `@0.5` behind a name is its cut-off."""
        logits, labels = predictions["logits"], predictions["label"]
        loss = float(self.loss.cpu()(logits, labels))
        self.loss.to(self.device)
        scores = scores_of(logits)
        if not self.is_binary:
            return {"loss": loss} | multiclass_metrics(scores, labels, self.class_names)
        cut_offs = {"": self.cut_off} | {f"@{value:g}": value for value in self.report_thresholds}
        return {"loss": loss} | binary_metrics(scores, labels, cut_offs)

    def table_columns(self, predictions: Predictions) -> dict[str, Any]:
        """label, score, prediction; for more than two classes a score each, `score` that of the predicted one."""
        scores = scores_of(predictions["logits"])
        columns: dict[str, Any] = {"label": predictions["label"].numpy()}
        if self.is_binary:
            return columns | {"score": scores.numpy(), "prediction": (scores >= self.cut_off).int().numpy()}
        best = scores.max(dim=1)
        columns |= {"score": best.values.numpy(), "prediction": best.indices.numpy()}
        return columns | {f"score_{name}": scores[:, k].numpy() for k, name in enumerate(self.class_names)}

    def image_scores(self, predictions: Predictions) -> tuple[Tensor, Tensor] | None:
        """Scores of the second of two classes."""
        return (scores_of(predictions["logits"]), predictions["label"]) if self.is_binary else None

    @property
    def monitorable(self) -> frozenset[str]:
        """Names of the figures that a callback can watch."""
        classes = torch.arange(len(self.class_names))
        logits = torch.nn.functional.one_hot(classes).float()[:, -self.outputs :]
        figures = self.measure(Predictions(row=classes, logits=logits, label=classes))
        return frozenset({"train/loss", "train/accuracy", *(f"val/{name}" for name in figures)})


def _decided(logits: Tensor) -> Tensor:
    return (logits[:, 0] >= 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)
