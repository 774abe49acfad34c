"""Boxes around opacities."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchmetrics import MeanMetric
from torchvision.ops import nms

from pulmo.errors import ConfigError
from pulmo.metrics.boxes import box_columns, detection_metrics
from pulmo.metrics.classification import binary_metrics, scores_of
from pulmo.metrics.collector import PredictionCollector
from pulmo.metrics.detection import box_curve
from pulmo.metrics.rsna import rsna_curve, rsna_image_score
from pulmo.tasks.base import Task, mean_of_steps
from pulmo.tasks.classification import ClassificationTask
from pulmo.thresholds import OperatingPoints
from pulmo.types import Batch, Predictions, Target

PARTS = ("loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg")


class DetectionTask(Task):
    """A detector's own losses; boxes kept above a score and apart from each other, both fitted on validation.

    net          partial: called without arguments; images and true boxes in, losses or (D, 5) boxes out
    nms_ious     of two boxes that overlap more than this, the weaker is dropped; of several the one is taken at which
                 the threshold's figure is best on validation; with a fixed threshold, the first
    box_scale    factor on each box's sides about its centre: winners of the RSNA challenge of 2018 took 0.875
    gate         a trained classifier: images that it calls negative, at its own threshold, keep no boxes;
                 `gate_size` is the side of its input in pixels

    An image's score is that of its surest box, 0 where there is none; its label, whether it has a true box.
    """

    fitted_figures: ClassVar[frozenset[str]] = frozenset({"rsna_score", "f1", "sensitivity", "precision"})

    def __init__(
        self,
        *,
        net: Callable[[], nn.Module],
        class_names: Sequence[str],
        nms_ious: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5),
        box_scale: float = 1.0,
        gate: ClassificationTask | None = None,
        gate_size: int | None = None,
        **learning: Any,
    ) -> None:
        if not nms_ious or not all(0 <= value <= 1 for value in nms_ious):
            raise ConfigError(f"model.task.nms_ious={list(nms_ious)}: at least one share of overlap, 0 to 1")
        if not 0 < box_scale <= 2:
            raise ConfigError(f"model.task.box_scale={box_scale}: a factor above 0, at most 2")
        collected = PredictionCollector([], {"boxes": 5, "true_boxes": 4})
        learning |= {"class_names": self.classes({}, class_names), "collected": collected}
        super().__init__(net=net(), **learning)
        self.nms_ious, self.box_scale = tuple(nms_ious), box_scale
        self.nms_iou: float | None = None
        self.gate, self.gate_size = gate, gate_size
        if gate is not None:
            gate.requires_grad_(False)
        self.train_parts = nn.ModuleDict({part: mean_of_steps() for part in PARTS})

    @classmethod
    def needs(cls, settings: Mapping[str, Any]) -> frozenset[Target]:
        """Boxes alone."""
        return frozenset({"boxes"})

    @classmethod
    def classes(cls, settings: Mapping[str, Any], class_names: Sequence[str]) -> tuple[str, ...]:
        """Without and with an opacity, whatever the data's own classes are."""
        return "no opacity", "opacity"

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Sum of the detector's losses; it and its parts are gathered over the epoch."""
        losses: dict[str, Tensor] = self.net(self.image(batch["image"]), batch["boxes"])
        loss = torch.stack(list(losses.values())).sum()
        self.train_loss.update(loss.detach().expand(len(batch["row"])))
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True)
        for part, value in losses.items():
            mean = cast(MeanMetric, self.train_parts[part])
            mean.update(value.detach().expand(len(batch["row"])))
            self.log(f"train/{part}", mean, on_step=False, on_epoch=True)
        return loss

    def evaluate(self, batch: Batch) -> None:
        """Keep all boxes; which of them count is decided when the operating point is known."""
        self.collected.update(row=batch["row"], boxes=self.found(batch["image"]), true_boxes=batch["boxes"])

    def found(self, image: Tensor) -> list[Tensor]:
        """All (D, 5) boxes with scores of each of (B, 1, S, S) uint8 images, gated and scaled, not yet kept apart."""
        found: list[Tensor] = self(image)
        if self.gate is not None:
            passed = self._passed(image)
            found = [part if positive else part[:0] for part, positive in zip(found, passed, strict=True)]
        return [scaled_boxes(part, self.box_scale, image.shape[-1]) for part in found]

    @property
    def overlap(self) -> float:
        """Intersection over union above which the weaker of two boxes is dropped."""
        return self.nms_ious[0] if self.nms_iou is None else self.nms_iou

    def fit_operating_point(self, predictions: Predictions) -> None:
        """Let the policy choose the cut-off at each of `nms_ious`; keep the pair with the best figure."""
        best = -np.inf
        for nms_iou in self.nms_ious:
            choice = self.policy.fit(self.operating_points(apart(predictions, nms_iou)))
            merit = -np.inf if np.isnan(choice.merit) else choice.merit
            if self.nms_iou is None or merit > best or nms_iou == self.nms_ious[0]:
                best, self.nms_iou, self.threshold = merit, nms_iou, choice.cut_off
        self.figures |= {"threshold": self.cut_off, "nms_iou": cast(float, self.nms_iou)}
        self.figures["threshold_is_fitted"] = float(self.policy.figure is not None)

    def operating_points(self, predictions: Predictions) -> OperatingPoints:
        """RSNA score at every cut-off; sensitivity, precision and F1 of boxes at IoU above 0.4."""
        scored, truths = _scored(predictions["boxes"]), predictions["true_boxes"]
        if not (sum(map(len, predictions["boxes"])) and sum(map(len, truths))):
            return OperatingPoints(np.empty(0), {name: np.empty(0) for name in self.fitted_figures})
        cuts, rsna = rsna_curve(scored, truths)
        curve = box_curve(scored, truths)
        tp, fp = curve.true_positives, curve.false_positives
        with np.errstate(invalid="ignore", divide="ignore"):
            figures = {
                "rsna_score": rsna,
                "sensitivity": tp / np.float64(curve.truths),
                "precision": tp / (tp + fp),
                "f1": 2 * tp / np.float64(curve.truths + tp + fp),
            }
        # A cut-off above every score keeps nothing: it may be best where nothing is found, and is no threshold.
        within = cuts <= 1
        return OperatingPoints(cuts[within], {name: values[within] for name, values in figures.items()})

    def measure(self, predictions: Predictions) -> dict[str, float]:
        """Figures of boxes and, by the surest box, of images."""
        kept = self._apart(predictions)
        cut_offs = {"": self.cut_off} | {f"@{value:g}": value for value in self.report_thresholds}
        figures = binary_metrics(*self._scores(kept), cut_offs)
        return figures | detection_metrics(kept["boxes"], kept["true_boxes"], self.cut_off)

    def image_scores(self, predictions: Predictions) -> tuple[Tensor, Tensor] | None:
        """Scores of the surest boxes against whether there is a true one."""
        return self._scores(predictions)

    def table_columns(self, predictions: Predictions) -> dict[str, Any]:
        """label: whether there is a true box; score of the surest box; prediction; numbers of boxes; RSNA score."""
        kept = self._apart(predictions)
        scores, labels = self._scores(kept)
        return {
            "label": labels.numpy(),
            "score": scores.numpy(),
            "prediction": (scores >= self.cut_off).int().numpy(),
            "true_boxes": np.array([len(part) for part in kept["true_boxes"]]),
            "predicted_boxes": np.array([int((part[:, 4].double() >= self.cut_off).sum()) for part in kept["boxes"]]),
            "rsna_score": self._rsna_scores(kept).numpy(),
        }

    def box_columns(self, predictions: Predictions) -> dict[str, Any] | None:
        """All boxes that non-maximum suppression leaves, those below the threshold too."""
        return box_columns(self._apart(predictions))

    def quality(self, predictions: Predictions) -> tuple[str, Tensor] | None:
        """RSNA score of each image; NaN where there is no true box: there are many, and all are 0 or without one."""
        kept = self._apart(predictions)
        without = torch.tensor([not len(part) for part in kept["true_boxes"]])
        return "RSNA score", self._rsna_scores(kept).masked_fill(without, torch.nan)

    def drawn(self, batch: Batch, predictions: Predictions, place: int) -> dict[str, Any]:
        """Both kinds of boxes, the predicted ones from the threshold on, with scores."""
        boxes = self._apart(predictions)["boxes"][place].numpy()
        boxes = boxes[boxes[:, 4].astype(np.float64) >= self.cut_off]
        truth = predictions["true_boxes"][place].numpy()
        return {"true_boxes": truth, "predicted_boxes": boxes[:, :4], "scores": boxes[:, 4]}

    @property
    def monitorable(self) -> frozenset[str]:
        """Names of the figures that a callback can watch."""
        box = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.9]])
        boxes, nothing = [box, torch.zeros((0, 5))], torch.zeros((0, 4))
        figures = self.measure(Predictions(row=torch.arange(2), boxes=boxes, true_boxes=[box[:, :4], nothing]))
        return frozenset({"train/loss", *(f"val/{name}" for name in figures)})

    def state(self) -> dict[str, Any]:
        """The fitted threshold and overlap, and the gate's own."""
        return super().state() | {"nms_iou": self.nms_iou} | ({"gate": self.gate.state()} if self.gate else {})

    def restore(self, state: dict[str, Any]) -> None:
        """Take them back."""
        super().restore(state)
        self.nms_iou = state.get("nms_iou")
        if self.gate is not None and "gate" in state:
            self.gate.restore(state["gate"])

    def train(self, mode: bool = True) -> "DetectionTask":
        """Train or evaluate; the gate only evaluates."""
        super().train(mode)
        if self.gate is not None:
            self.gate.eval()
        return self

    def _passed(self, image: Tensor) -> list[bool]:
        """Whether the gate calls each of (B, 1, S, S) uint8 images positive."""
        gate = cast(ClassificationTask, self.gate)
        if self.gate_size not in (None, image.shape[-1]):
            size = (self.gate_size, self.gate_size)
            image = interpolate(image.float(), size, mode="bilinear", antialias=True).round()
        passed: list[bool] = (scores_of(gate(image).float()) >= gate.cut_off).tolist()
        return passed

    def _apart(self, predictions: Predictions) -> Predictions:
        return apart(predictions, self.overlap)

    def _scores(self, predictions: Predictions) -> tuple[Tensor, Tensor]:
        best = [float(part[:, 4].max()) if len(part) else 0.0 for part in predictions["boxes"]]
        labels = [int(len(part) > 0) for part in predictions["true_boxes"]]
        return torch.tensor(best, dtype=torch.float64), torch.tensor(labels)

    def _rsna_scores(self, predictions: Predictions) -> Tensor:
        kept = [part[part[:, 4].double() >= self.cut_off] for part in predictions["boxes"]]
        pairs = zip(_scored(kept), predictions["true_boxes"], strict=True)
        return torch.tensor([rsna_image_score(boxes, scores, truth) for (boxes, scores), truth in pairs])


def apart(predictions: Predictions, iou: float) -> Predictions:
    """Drop each box that overlaps a surer one of its image by more than `iou` (greedy non-maximum suppression)."""
    kept = [part[nms(part[:, :4], part[:, 4], iou)] for part in predictions["boxes"]]
    return {**predictions, "boxes": kept}


def scaled_boxes(boxes: Tensor, factor: float, size: int) -> Tensor:
    """Scale the sides of (D, 5) xyxy boxes with scores about their centres, inside an image of `size`² pixels."""
    if factor == 1:
        return boxes
    centres, halves = (boxes[:, :2] + boxes[:, 2:4]) / 2, (boxes[:, 2:4] - boxes[:, :2]) / 2 * factor
    return torch.cat([centres - halves, centres + halves, boxes[:, 4:]], dim=1).clamp(0, size)


def _scored(boxes: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return [(part[:, :4], part[:, 4]) for part in boxes]
