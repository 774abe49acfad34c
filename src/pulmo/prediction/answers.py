"""What the networks say of a batch of prepared images."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.ops import nms

from pulmo.execution import computing_in
from pulmo.metrics.classification import scores_of
from pulmo.prediction.decoding import Prepared
from pulmo.prediction.fusion import fused
from pulmo.prediction.members import Member
from pulmo.prediction.views import PLAIN, View, mean_map
from pulmo.tasks.classification import ClassificationTask
from pulmo.tasks.detection import DetectionTask
from pulmo.transforms.components import boxes_of_mask

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Answer:
    """What is said of one image, by each member and together.

    score   of a finding in the image: the mean of the `members`'; of several classes that of the likeliest; of boxes
            that of the surest. Of several `maps` it is that of their mean, which `drawn` gives
    classes probabilities of several classes, else empty
    maps    (S, S) float32 probabilities of each member that draws, in pixels of its own prepared image
    boxes   (N, 5) float32 xyxy in pixels of the file, with scores, falling; None where nobody gives any
    """

    score: float
    members: tuple[float, ...]
    classes: tuple[float, ...] = ()
    maps: list[Floats] = field(default_factory=list)
    boxes: Floats | None = None


class Panel:
    """The members on a device, each asked about every image in each of the `views`.

    `lowered` is the type that each of them computes in, None where that is float32.
    """

    def __init__(
        self,
        members: Sequence[Member],
        device: torch.device,
        lowered: Sequence[torch.dtype | None],
        views: Sequence[View] = PLAIN,
    ) -> None:
        self._members, self._device, self._lowered, self._views = members, device, lowered, views
        for member in members:
            member.task.eval().to(device)
            member.task.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, batch: Sequence[Prepared]) -> list[Answer]:
        """Answer for each of the prepared images, in their order."""
        if not batch:
            return []
        with torch.inference_mode():
            images = [
                torch.from_numpy(np.stack([prepared.images[place] for prepared in batch]))[:, None].to(self._device)
                for place in range(len(self._members))
            ]
            task = self._members[0].task
            if isinstance(task, ClassificationTask):
                return self._classified(images)
            if isinstance(task, DetectionTask):
                return self._found(images, batch)
            return self._drawn(images)

    def _said(self, place: int, image: Tensor) -> list[Tensor]:
        """What a member says of each view."""
        with computing_in(self._lowered[place], self._device):
            return [self._members[place].task(view(image)) for view in self._views]

    def _classified(self, images: Sequence[Tensor]) -> list[Answer]:
        looks = [
            torch.stack([scores_of(said.float()) for said in self._said(place, image)]).mean(0).cpu()
            for place, image in enumerate(images)
        ]
        mean = torch.stack(looks).mean(0)
        if mean.ndim == 1:
            return [Answer(float(mean[i]), tuple(float(look[i]) for look in looks)) for i in range(len(mean))]
        best = mean.argmax(dim=1).tolist()
        return [
            Answer(float(mean[i, k]), tuple(float(look[i, k]) for look in looks), tuple(mean[i].tolist()))
            for i, k in enumerate(best)
        ]

    def _drawn(self, images: Sequence[Tensor]) -> list[Answer]:
        drawn = []
        for place, image in enumerate(images):
            said = self._said(place, image)
            looks = [view.unmask(one[:, 0].float().sigmoid()) for view, one in zip(self._views, said, strict=True)]
            drawn.append(mean_map(looks).cpu())
        answers = []
        for i in range(len(images[0])):
            scores = tuple(float(maps[i].max()) for maps in drawn)
            answers.append(Answer(float(np.mean(scores)), scores, maps=[maps[i].numpy() for maps in drawn]))
        return answers

    def _found(self, images: Sequence[Tensor], batch: Sequence[Prepared]) -> list[Answer]:
        by_member: list[list[Floats]] = []
        for place, (member, image) in enumerate(zip(self._members, images, strict=True)):
            size, task = image.shape[-1], member.task
            if not isinstance(task, DetectionTask):
                raise TypeError(f"{type(task).__name__} among detectors")
            with computing_in(self._lowered[place], self._device):
                looks = [[view.unbox(boxes, size) for boxes in task.found(view(image))] for view in self._views]
            found = []
            for i, prepared in enumerate(batch):
                boxes = torch.from_numpy(fused([look[i].float().cpu().numpy() for look in looks]))
                kept = boxes[nms(boxes[:, :4], boxes[:, 4], task.overlap)].numpy()
                placed = prepared.geometries[place].unbox(kept[:, :4])
                found.append(np.column_stack([placed, kept[:, 4]]).astype(np.float32))
            by_member.append(found)
        answers = []
        for i in range(len(batch)):
            scores = tuple(float(found[i][:, 4].max(initial=0)) for found in by_member)
            together = fused([found[i] for found in by_member])
            answers.append(Answer(float(together[:, 4].max(initial=0)), scores, boxes=together))
        return answers


def drawn(
    answer: Answer, prepared: Prepared, cut_off: float, smallest_area: float
) -> tuple[npt.NDArray[np.uint8], Floats, float]:
    """Give (H, W) uint8 {0, 1} in the file's size, the boxes of its components there, and the score: the highest.

    A single member's boxes lie around what it drew in its own pixels, as in a run's csv; those of several around the
    mean of their maps in the file's, and the score is of that: members that draw in different places draw nothing.
    """
    pairs = list(zip(answer.maps, prepared.geometries, strict=True))
    shares = np.stack([geometry.unmask(part, prepared.shape) for part, geometry in pairs]).mean(0, dtype=np.float32)
    alone = len(pairs) == 1
    boxes, scores = boxes_of_mask(answer.maps[0] if alone else shares, cut_off, smallest_area)
    placed = prepared.geometries[0].unbox(boxes) if alone else boxes
    mask = np.asarray(shares >= np.float32(cut_off), np.uint8)
    return mask, np.column_stack([placed, scores]).astype(np.float32), answer.score if alone else float(shares.max())
