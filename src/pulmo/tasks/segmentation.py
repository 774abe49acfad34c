"""A mask for each image: its lungs, or its opacities."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics.classification import BinaryF1Score

from pulmo.errors import ConfigError
from pulmo.losses import ClassificationLoss
from pulmo.metrics.boxes import box_columns, detection_metrics
from pulmo.metrics.classification import binary_metrics
from pulmo.metrics.collector import PredictionCollector
from pulmo.metrics.segmentation import (
    BINS,
    counts_at,
    mask_histograms,
    on_grid,
    per_image,
    pooled_curve,
    segmentation_metrics,
)
from pulmo.tasks.base import Task
from pulmo.thresholds import BINARY_FIGURES, OperatingPoints, counted_points
from pulmo.transforms.components import boxes_of_mask
from pulmo.types import Batch, Predictions, Target

MaskTarget = Literal["lungs", "opacity"]


class SegmentationTask(Task):
    """One logit a pixel; figures of masks, and of opacities also those of images and of boxes.

    net            partial: called with the number of `outputs`, 1
    target         "lungs" or "opacity": which of the batch's masks is learnt
    smallest_area  share of the image that a component must fill to count as a box

    An empty true mask counts as it is: in the losses as the library has it (soft Dice leaves out a batch without
    foreground, the others see its pixels), in the figures as `segmentation_metrics` says. The loss of validation and
    test is the mean over images of each image's own, so that it does not depend on how they fall into batches.
    An image's score is its highest probability.
    """

    fitted_figures: ClassVar[frozenset[str]] = BINARY_FIGURES | {"dice"}

    def __init__(
        self,
        *,
        net: Callable[..., nn.Module],
        class_names: Sequence[str],
        loss: nn.Module,
        target: MaskTarget,
        smallest_area: float = 0.002,
        report_thresholds: Sequence[float] = (0.5,),
        **learning: Any,
    ) -> None:
        if isinstance(loss, ClassificationLoss):
            raise ConfigError("loss=cross_entropy is of classifiers: choose loss=bce, dice, bce_dice, focal or tversky")
        if not 0 <= smallest_area < 1:
            raise ConfigError(f"model.task.smallest_area={smallest_area}: a share of the image, 0 to below 1")
        names = self.classes({"target": target}, class_names)
        lists = {"boxes": 5, "true_boxes": 4} if target == "opacity" else {}
        collected = PredictionCollector(["loss", "histograms", "score"], lists)
        at = [on_grid(value) if 0 <= value <= 1 else value for value in report_thresholds]
        learning |= {"class_names": names, "report_thresholds": at, "collected": collected}
        super().__init__(net=net(outputs=1), **learning)
        self.loss, self.target, self.smallest_area = loss, target, smallest_area
        self.boxed_at: float | None = None  # cut-off of the boxes that were kept last
        self.train_dice = BinaryF1Score(validate_args=False)  # which would wait for a GPU

    @classmethod
    def needs(cls, settings: Mapping[str, Any]) -> frozenset[Target]:
        """The masks of the target; of opacities also the boxes, to be compared with those around the masks."""
        return frozenset({"lung_mask"}) if settings["target"] == "lungs" else frozenset({"opacity_mask", "boxes"})

    @classmethod
    def classes(cls, settings: Mapping[str, Any], class_names: Sequence[str]) -> tuple[str, ...]:
        """Without and with the target, whatever the data's own classes are."""
        return ("no lungs", "lungs") if settings["target"] == "lungs" else ("no opacity", "opacity")

    def check_input(self, channels: int, size: int) -> None:
        """Send an image through a copy of the network that has shapes alone: what halves too often says so."""
        copy.deepcopy(self.net).to("meta").eval()(torch.zeros(1, channels, size, size, device="meta"))

    def masks_of(self, batch: Batch) -> Tensor:
        """The (B, H, W) uint8 masks that are learnt."""
        return batch["lung_mask"] if self.target == "lungs" else batch["opacity_mask"]

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Loss of one batch; loss and Dice (pooled, at 0.5) are gathered over the epoch."""
        logits, masks = self(batch["image"]).float(), self.masks_of(batch)
        loss: Tensor = self.loss(logits, masks[:, None].float())
        self.train_loss.update(loss.detach().expand(len(logits)))
        self.train_dice.update(logits.detach()[:, 0].sigmoid().flatten(), masks.flatten())
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True)
        self.log("train/dice_pooled", self.train_dice, on_step=False, on_epoch=True)
        return loss

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """Keep each image's histogram of probabilities, its loss and score, and boxes; give `probabilities` (B, H, W).

        Boxes lie around the mask at the present cut-off; while training goes on that is the last epoch's, so then
        there are none.
        """
        logits, masks = self(batch["image"]).float(), self.masks_of(batch)
        probabilities = logits[:, 0].sigmoid()
        losses = [self.loss(logits[[i]], masks[[i], None].float()) for i in range(len(masks))]
        kept: dict[str, Any] = {
            "row": batch["row"],
            "loss": torch.stack(losses),
            "histograms": mask_histograms(probabilities, masks),
            "score": probabilities.amax(dim=(1, 2)),
        }
        if self.target == "opacity":
            self.boxed_at = self.cut_off
            nothing = torch.zeros((0, 5), device=self.device)
            boxes = [nothing if self._in_fit else self._boxes(part) for part in probabilities]
            kept |= {"boxes": boxes, "true_boxes": batch["boxes"]}
        self.collected.update(**kept)
        return {"probabilities": probabilities}

    def fit_operating_point(self, predictions: Predictions) -> None:
        """Let the policy choose the cut-off, on the grid of the histograms."""
        super().fit_operating_point(predictions)
        self.threshold = self.figures["threshold"] = on_grid(self.cut_off)

    def operating_points(self, predictions: Predictions) -> OperatingPoints:
        """Figures over all pixels of the split; `f1` is their pooled Dice, `dice` the mean over images with a mask."""
        histograms = predictions["histograms"]
        cuts, tp, fp, positives, negatives = pooled_curve(histograms)
        points = counted_points(cuts.numpy(), tp.numpy(), fp.numpy(), positives, negatives)
        drawn = histograms[histograms[:, 1].sum(1) > 0]
        dice = [float(_dice(drawn, cut).mean()) if len(drawn) else math.nan for cut in cuts.tolist()]
        return OperatingPoints(points.cuts, {**points.figures, "dice": np.array(dice)})

    def measure(self, predictions: Predictions) -> dict[str, float]:
        """Loss and figures of masks; of opacities also the images' (AUROC, …) and, after training, the boxes'."""
        figures = self._mask_figures(predictions)
        if self.target == "opacity" and not self._in_fit:
            figures |= detection_metrics(predictions["boxes"], predictions["true_boxes"])
        return figures

    @property
    def stale(self) -> bool:
        """Whether the boxes lie around masks at another cut-off than the one that was fitted on them."""
        return self.boxed_at not in (None, self.cut_off)

    def image_scores(self, predictions: Predictions) -> tuple[Tensor, Tensor] | None:
        """Highest probabilities against whether there is an opacity."""
        return self._scores(predictions) if self.target == "opacity" else None

    def table_columns(self, predictions: Predictions) -> dict[str, Any]:
        """label: whether the true mask holds anything; score, prediction; then the figures of each mask."""
        scores, labels = self._scores(predictions)
        columns = {name: values.numpy() for name, values in per_image(predictions["histograms"], self.cut_off).items()}
        prediction = (columns["predicted_area"] > 0).astype(int)
        if self.target == "opacity":
            columns["true_boxes"] = np.array([len(part) for part in predictions["true_boxes"]])
        return {"label": labels.numpy(), "score": scores.numpy(), "prediction": prediction} | columns

    def quality(self, predictions: Predictions) -> tuple[str, Tensor] | None:
        """Dice of each image; NaN where the true mask is empty: there are many, and all are 0 or without a Dice."""
        figures = per_image(predictions["histograms"], self.cut_off)
        return "Dice", torch.where(figures["true_area"] > 0, figures["dice"], torch.nan)

    def drawn(self, batch: Batch, predictions: Predictions, place: int) -> dict[str, Any]:
        """Both masks; the true one of opacities is the boxes, filled."""
        mask = self(batch["image"])[0, 0].float().sigmoid() >= self.cut_off
        return {
            "true_mask": self.masks_of(batch)[0].cpu().numpy(),
            "predicted_mask": mask.to(torch.uint8).cpu().numpy(),
        }

    def box_columns(self, predictions: Predictions) -> dict[str, Any] | None:
        """Boxes around the opacities drawn."""
        return box_columns(predictions) if self.target == "opacity" else None

    @property
    def monitorable(self) -> frozenset[str]:
        """Names of the figures that a callback can watch."""
        histograms = torch.zeros((2, 2, BINS + 1), dtype=torch.int64)
        histograms[0, 1, -1] = histograms[1, 0, 0] = 1
        predictions = {"loss": torch.zeros(2), "histograms": histograms, "score": torch.tensor([1.0, 0.0])}
        figures = self._mask_figures(cast(Predictions, predictions))
        return frozenset({"train/loss", "train/dice_pooled", *(f"val/{name}" for name in figures)})

    @property
    def _in_fit(self) -> bool:
        return self._trainer is not None and self.trainer.state.fn == "fit"

    def _mask_figures(self, predictions: Predictions) -> dict[str, float]:
        cut_offs = {"": self.cut_off} | {f"@{value:g}": value for value in self.report_thresholds}
        figures = {"loss": float(predictions["loss"].mean())}
        figures |= segmentation_metrics(predictions["histograms"], cut_offs)
        if self.target == "opacity":
            figures |= binary_metrics(*self._scores(predictions), {"": self.cut_off})
        return figures

    def _scores(self, predictions: Predictions) -> tuple[Tensor, Tensor]:
        return predictions["score"].double(), (predictions["histograms"][:, 1].sum(1) > 0).long()

    def _boxes(self, probabilities: Tensor) -> Tensor:
        boxes, scores = boxes_of_mask(probabilities.cpu().numpy(), self.cut_off, self.smallest_area)
        return torch.from_numpy(np.column_stack([boxes, scores])).to(self.device)


def _dice(histograms: Tensor, cut_off: float) -> Tensor:
    tp, fp, fn, _ = counts_at(histograms, cut_off)
    return 2 * tp / (2 * tp + fp + fn).double()
