"""Each key that travels through the house, defined once: the index table, Sample, Batch, Predictions.

The batch is the treaty between data and tasks: neither knows the other, both know this file.
"""

from typing import Literal, NotRequired, TypedDict

from torch import Tensor

Target = Literal["label", "lung_mask", "opacity_mask", "boxes"]
"""What a data module can give and a task can need."""

Split = Literal["train", "val", "test"]

TABLE_COLUMNS = ("image_id", "patient_id", "path", "split", "label", "boxes", "mask", "view")
"""Columns that every index table has, one row an image; a data set may add its own behind them.

image_id    str, unique in the table
patient_id  str; images of one patient never cross splits
path        str, the image file
split       "train", "val", "test" as the data set's authors have it, "" where they do not say
label       int, index into the data module's `class_names`; -1 where unlabelled
boxes       list of [x1, y1, x2, y2] in pixels of the image file, xyxy; empty where there are none
mask        str, path of the lung mask; "" where there is none
view        "PA", "AP", "lateral" or "" where unknown
"""


class Sample(TypedDict):
    """One image as the data set hands it over."""

    image: Tensor  # (1, H, W) uint8, air dark, bone bright
    row: int  # position in the table of the split
    label: NotRequired[int]
    lung_mask: NotRequired[Tensor]  # (H, W) uint8 {0, 1}
    opacity_mask: NotRequired[Tensor]  # (H, W) uint8 {0, 1}
    boxes: NotRequired[Tensor]  # (N, 4) float32 xyxy, pixels of `image`


class Batch(TypedDict):
    """B samples; what differs in number by image stays a list."""

    image: Tensor  # (B, 1, H, W) uint8
    row: Tensor  # (B,) int64
    label: NotRequired[Tensor]  # (B,) int64
    lung_mask: NotRequired[Tensor]  # (B, H, W) uint8
    opacity_mask: NotRequired[Tensor]  # (B, H, W) uint8
    boxes: NotRequired[list[Tensor]]  # B times (N_i, 4) float32


class Predictions(TypedDict):
    """A split's results, in the order of its table, each image once, the same on every rank and on the CPU.

    Which keys there are is the task's affair.
    """

    row: Tensor  # (N,) int64, ascending
    logits: NotRequired[Tensor]  # (N, K) float32; K = 1 for one sigmoid
    label: NotRequired[Tensor]  # (N,) int64
    loss: NotRequired[Tensor]  # (N,) float32
    histograms: NotRequired[Tensor]  # (N, 2, bins) int64: pixels by score, background and foreground
    score: NotRequired[Tensor]  # (N,) float32, of the image
    boxes: NotRequired[list[Tensor]]  # N times (D_i, 5): xyxy in pixels of the network's image, score
    true_boxes: NotRequired[list[Tensor]]  # N times (G_i, 4): xyxy likewise
