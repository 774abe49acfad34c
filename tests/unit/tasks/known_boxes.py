"""A detector whose answers are known: an image of grey value k gets the k-th list of boxes."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pulmo.tasks.detection import DetectionTask
from pulmo.thresholds import Fixed
from pulmo.types import Batch, Predictions

SIZE = 64
# Side by side, overlapping by half: IoU 200 / 600 = 1/3.
LEFT, RIGHT, FAR = [0, 0, 20, 20], [10, 0, 30, 20], [40, 40, 60, 60]
Scored = list[list[float]]  # x1, y1, x2, y2, score


class Known(nn.Module):
    """Losses of 2 and 1 an image with boxes and of 0.5 without, averaged; or the known boxes."""

    def __init__(self, answers: Sequence[Scored]) -> None:
        super().__init__()
        self.answers = [torch.tensor(boxes, dtype=torch.float32).reshape(-1, 5) for boxes in answers]
        self.shift = nn.Parameter(torch.zeros(()))  # something to learn

    def forward(self, image: Tensor, truth: Sequence[Tensor] | None = None) -> Any:
        if truth is None:
            return [self.answers[int(grey)] for grey in image[:, 0, 0, 0]]
        each = torch.tensor([2.0 if len(boxes) else 0.5 for boxes in truth])
        return {"loss_classifier": each.mean() + self.shift, "loss_box_reg": each.mean() / 2 + self.shift}


def task(*answers: Scored, **arguments: Any) -> DetectionTask:
    settings: dict[str, Any] = {"threshold": Fixed(0.5), "optimizer": partial(torch.optim.SGD, lr=0.0)}
    return DetectionTask(
        net=partial(Known, answers), image=nn.Identity(), class_names=("of", "the data"), **(settings | arguments)
    )


def batch(*truths: list[list[int]], first: int = 0) -> Batch:
    rows = range(first, first + len(truths))
    grey = torch.stack([torch.full((1, SIZE, SIZE), row, dtype=torch.uint8) for row in rows])
    boxes = [torch.tensor(truth, dtype=torch.float32).reshape(-1, 4) for truth in truths]
    return Batch(image=grey, row=torch.tensor(list(rows)), boxes=boxes)


def seen(module: DetectionTask, *truths: list[list[int]]) -> Predictions:
    """What the task keeps of images 0, 1, … with these true boxes."""
    module.collected.reset()
    with torch.no_grad():
        module.evaluate(batch(*truths))
    return module.collected.gathered()
