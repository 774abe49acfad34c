"""Mask R-CNN and Faster R-CNN of torchvision, for one kind of finding on square grey images.

He et al. 2017, arXiv 1703.06870; Ren et al. 2015, arXiv 1506.01497; version 2: Li et al. 2021, arXiv 2111.11429.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torchvision.models.detection as zoo
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase  # of SyncBatchNorm too
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, RPNHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.resnet import resnet50

from pulmo.errors import ConfigError
from pulmo.models.stem_and_head import replace_first_convolution
from pulmo.models.torchvision_classifier import published_weights
from pulmo.models.weights import chosen, load_weights, read_state_dict

BACKGROUND_AND_FINDING = 2
STRIDE = 32


class RCNN(nn.Module):
    """A ResNet-50 with feature pyramid, proposals, and heads that score and refine them.

    Images come normalised and of one size, so torchvision's own resizing, which would go over each of them again,
    is passed by. While evaluating, the mask head is left out: boxes are what is asked for, and its masks are learnt
    from boxes anyway where the data has no others.

    kind           "mask_rcnn", or "faster_rcnn", the same without masks
    version        1 (He et al.) or 2 (deeper heads with batch norm)
    channels       of the input; the first convolution is folded for other than 3
    size           side of the image in pixels, a multiple of 32
    weights        "none"; "default": torchvision's of COCO; or a file, of a ResNet-50 or of a whole detector
    frozen_norms   batch norms of the backbone keep their statistics, as small batches ask for; null: with weights
    anchor_sides   side of the square anchor at each of the five levels, as a share of the image's side
    anchor_ratios  height / width
    proposals      regions that are looked at: (in training, while evaluating)
    samples        of them, that the heads learn from in each image
    most           boxes an image
    score_floor    boxes with a lower score are not given
    nms_iou        of two boxes that overlap more, the weaker is not given
    """

    def __init__(
        self,
        *,
        kind: Literal["mask_rcnn", "faster_rcnn"],
        channels: int,
        size: int,
        version: Literal[1, 2] = 1,
        weights: str | Path = "none",
        frozen_norms: bool | None = None,
        anchor_sides: Sequence[float] = (0.08, 0.14, 0.2, 0.28, 0.4),
        anchor_ratios: Sequence[float] = (0.75, 1.4, 2.2),
        proposals: Sequence[int] = (1000, 300),
        samples: int = 64,
        most: int = 50,
        score_floor: float = 0.01,
        nms_iou: float = 0.5,
    ) -> None:
        super().__init__()
        if size % STRIDE:
            raise ConfigError(f"model.input.size={size}: {kind} takes a multiple of {STRIDE}")
        if len(anchor_sides) != 5 or len(proposals) != 2:
            raise ConfigError("model.net.anchor_sides takes five shares, one a level; model.net.proposals two numbers")
        choice = chosen(weights)
        state_dict: dict[str, Tensor] = {}
        if choice != "none":  # before the network is built: a failed download then costs no waiting
            state_dict = _published(kind, version) if choice == "default" else read_state_dict(choice)
        anchors = AnchorGenerator(tuple((round(side * size),) for side in anchor_sides), (tuple(anchor_ratios),) * 5)
        arguments: dict[str, Any] = {
            "rpn_anchor_generator": anchors,
            "rpn_pre_nms_top_n_train": 2 * proposals[0],
            "rpn_pre_nms_top_n_test": 2 * proposals[1],
            "rpn_post_nms_top_n_train": proposals[0],
            "rpn_post_nms_top_n_test": proposals[1],
            "box_batch_size_per_image": samples,
            "box_detections_per_img": most,
            "box_score_thresh": score_floor,
            "box_nms_thresh": nms_iou,
        }
        self.detector = _built(kind, version, arguments)
        if channels != 3:
            replace_first_convolution(self.detector.backbone.body, channels)
        self.frozen_norms = choice != "none" if frozen_norms is None else frozen_norms
        # torchvision asks this method; there is no argument for it.
        self.detector.roi_heads.__class__ = _MasksInTraining
        if state_dict:
            whole = any("rpn.head" in name for name in state_dict)
            part = self.detector if whole else self.detector.backbone.body
            load_weights(part, state_dict, source=choice, network=kind if whole else "resnet50")
        self.train()  # Lightning calls it no more, but keeps and restores the modes that it finds

    def forward(self, image: Tensor, truth: Sequence[Tensor] | None = None) -> Any:
        """Give losses by name where `truth` is given, else each image's (D, 5) boxes and scores, falling.

        `image` is (B, C, S, S) normalised float; `truth` of each image (N, 4) float32 xyxy, (0, 4) where there is
        nothing: such an image is learnt from as a negative. Boxes are xyxy in pixels of `image`, as the truth's.
        """
        sizes = [(image.shape[2], image.shape[3])] * len(image)
        targets = None if truth is None else [self._target(boxes, sizes[0]) for boxes in truth]
        features = self.detector.backbone(image)
        proposals, proposal_losses = self.detector.rpn(ImageList(image, sizes), features, targets)
        found, losses = self.detector.roi_heads(features, proposals, sizes, targets)
        if truth is not None:
            return {**losses, **proposal_losses}
        return [torch.cat([part["boxes"], part["scores"][:, None]], dim=1).float() for part in found]

    def train(self, mode: bool = True) -> "RCNN":
        """Train, or evaluate; frozen norms stay as they are."""
        super().train(mode)
        if self.frozen_norms:
            for module in self.detector.backbone.body.modules():
                if isinstance(module, _NormBase):
                    module.eval()
        return self

    def _target(self, boxes: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]  # torchvision ends the run at a box without area
        target = {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64, device=boxes.device)}
        if self.detector.roi_heads.mask_head is not None:
            target["masks"] = rectangles(boxes, size)
        return target


class _MasksInTraining(RoIHeads):  # type: ignore[misc]
    def has_mask(self) -> bool:
        return self.training and bool(super().has_mask())


def rectangles(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Fill each of (N, 4) xyxy boxes into a mask of its own: (N, H, W) uint8 {0, 1}, by the pixels' centres."""
    height, width = size
    y = torch.arange(height, device=boxes.device) + 0.5
    x = torch.arange(width, device=boxes.device) + 0.5
    rows = (y >= boxes[:, 1:2]) & (y < boxes[:, 3:4])
    columns = (x >= boxes[:, 0:1]) & (x < boxes[:, 2:3])
    return (rows[:, :, None] & columns[:, None, :]).to(torch.uint8)


def _built(kind: str, version: int, arguments: dict[str, Any]) -> Any:
    norm = nn.BatchNorm2d if version == 2 else None
    backbone = zoo.backbone_utils._resnet_fpn_extractor(resnet50(weights=None), 5, norm_layer=norm)
    if version == 2:
        count = arguments["rpn_anchor_generator"].num_anchors_per_location()[0]
        arguments["rpn_head"] = RPNHead(backbone.out_channels, count, conv_depth=2)
        arguments["box_head"] = FastRCNNConvFCHead((backbone.out_channels, 7, 7), [256] * 4, [1024], norm_layer=norm)
    if kind == "faster_rcnn":
        return zoo.FasterRCNN(backbone, BACKGROUND_AND_FINDING, **arguments)
    if version == 2:
        arguments["mask_head"] = MaskRCNNHeads(backbone.out_channels, [256] * 4, 1, norm_layer=norm)
    return zoo.MaskRCNN(backbone, BACKGROUND_AND_FINDING, **arguments)


def _published(kind: str, version: int) -> dict[str, Tensor]:
    name = {"mask_rcnn": "maskrcnn_resnet50_fpn", "faster_rcnn": "fasterrcnn_resnet50_fpn"}[kind]
    return published_weights(name if version == 1 else f"{name}_v2")
