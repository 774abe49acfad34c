"""Class-activation maps of a task's network, by the grad-cam library (Gildenblat 2021, MIT)."""

import copy
import io
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pulmo.errors import ConfigError
from pulmo.heatmaps.layers import FeatureMap, candidates, chosen
from pulmo.tasks.base import Task
from pulmo.tasks.classification import ClassificationTask
from pulmo.tasks.segmentation import SegmentationTask

METHODS = {
    "gradcam": "GradCAM",  # Selvaraju et al. 2017, arXiv 1610.02391
    "gradcam++": "GradCAMPlusPlus",  # Chattopadhay et al. 2018, arXiv 1710.11063
    "xgradcam": "XGradCAM",  # Fu et al. 2020, arXiv 2008.02312
    "hirescam": "HiResCAM",  # Draelos and Carin 2020, arXiv 2011.08891
    "layercam": "LayerCAM",  # Jiang et al. 2021, 10.1109/TIP.2021.3089943
    "elementwise": "GradCAMElementWise",
    "eigencam": "EigenCAM",  # Muhammad and Yeasin 2020, arXiv 2008.00299: of no class
    "eigengradcam": "EigenGradCAM",
    "ablationcam": "AblationCAM",  # Desai and Ramaswamy 2020: a forward pass for every channel
    "scorecam": "ScoreCAM",  # Wang et al. 2020, arXiv 1910.01279: likewise
}
"""Name of each method, and its class in the library."""

AGAINST_THE_SCORE = frozenset({"ablationcam"})
"""Methods that divide by the image's score: it is moved to 1 for them, since logits may be negative."""

Maps = npt.NDArray[np.float32]


class HeatMaps:
    """Called with (B, 1, H, W) uint8 images, gives (B, H, W) float32 in [0, 1]: where the score comes from.

    method  one of `METHODS`
    layer   name of a module of the network; None: the last one that gives a map before it is pooled, found by sending
            noise through the network once. Of a segmentation, the last of the smallest maps
    target  "positive": of two classes, what speaks for the second, also in images that are called normal; "predicted":
            what speaks for the class that was called. Of several classes it is always that. A segmentation's score is
            the mean logit of the pixels that it draws, its highest where it draws none (Vinogradova et al. 2020,
            arXiv 2002.11434)

    The largest heat of an image is 1, and nothing is told of how much that is; where nothing speaks for the class, all
    is 0. Works on a copy of the network, in evaluation mode and float32: the task, frozen or not, stays as it is, and
    what it learns later is not seen. Raises `ConfigError` for an unknown method, layer, or a detector, whose boxes say
    already where it looks.
    """

    def __init__(
        self,
        task: Task,
        method: str = "gradcam",
        layer: str | None = None,
        target: Literal["positive", "predicted"] = "positive",
    ) -> None:
        if method not in METHODS:
            raise ConfigError(f"no method {method!r}; there are {', '.join(METHODS)}")
        if not isinstance(task, (ClassificationTask, SegmentationTask)):
            raise ConfigError(
                f"a {type(task).__name__} has no heat maps, its boxes say where it looks: "
                "give a run of a classifier or of a segmentation"
            )
        self.method, self.layer, self.target = method, layer, target
        self.binary = not isinstance(task, ClassificationTask) or task.is_binary
        self._smallest = isinstance(task, SegmentationTask)
        with torch.inference_mode(False):
            self._scored = _Scored(task)
        self._found: FeatureMap | None = None

    def __call__(self, images: Tensor) -> Maps:
        """Heat of each image; by the library's own scaling, from the least heat of the image to its largest."""
        with torch.inference_mode(False), torch.enable_grad():
            grey = images.detach().clone().to(self._scored.device, torch.float32)
            feature_map = self.feature_map((grey.shape[2], grey.shape[3]))
            targets = self._targets(grey)
            cam = _library_class(self.method)(
                self._scored,
                [self._scored.net.get_submodule(feature_map.name)],
                reshape_transform=feature_map.channels_first,
            )
            try:
                with redirect_stderr(io.StringIO()):  # a bar for every image
                    heat = cam(grey.requires_grad_(), targets)
            finally:
                cam.activations_and_grads.release()
        return np.nan_to_num(np.asarray(heat, np.float32)).clip(0, 1)

    def feature_map(self, size: tuple[int, int]) -> FeatureMap:
        """The map that the heat of images of `size` (H, W) is computed from."""
        if self._found is None:
            with torch.inference_mode(False), torch.enable_grad():
                found = candidates(self._scored, self._scored.net, size)
            self._found = chosen(found, self.layer, smallest=self._smallest)
        return self._found

    def _targets(self, grey: Tensor) -> list[Callable[[Tensor], Tensor]]:
        """Of each image, what takes its (K,) scores to the one to be explained."""
        with torch.no_grad():
            scores = self._scored(grey)
        last = scores.shape[1] - 1
        if self.binary and self.target == "positive":
            called = torch.ones(len(scores), dtype=torch.long)
        else:
            called = (scores[:, 0] >= 0).long() if last == 0 else scores.argmax(1)

        def explained(label: int, base: float) -> Callable[[Tensor], Tensor]:
            def score(output: Tensor) -> Tensor:
                return _of(output, label) - base

            return score

        labels = called.tolist()
        divides = self.method in AGAINST_THE_SCORE
        bases = [float(_of(each, label)) - 1 if divides else 0.0 for each, label in zip(scores, labels, strict=True)]
        return [explained(label, base) for label, base in zip(labels, bases, strict=True)]


def _of(scores: Tensor, label: int) -> Tensor:
    """The logit of a label among (K,): of one logit, what speaks for its class or against it."""
    if len(scores) == 1:
        return scores[0] if label else -scores[0]
    return scores[label]


class _Scored(nn.Module):
    """Float grey (B, 1, H, W) in [0, 255] to (B, K) scores, by a copy of the task's network that keeps no gradients."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.net, self.image = copy.deepcopy(task.net).float(), copy.deepcopy(task.image).float()
        self.requires_grad_(False).eval()
        for module in self.modules():
            if getattr(module, "inplace", False) is True:
                module.inplace = False  # type: ignore[assignment]  # it would overwrite the map that is looked at
        self._cut_off = task.cut_off if isinstance(task, SegmentationTask) else None

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    def forward(self, grey: Tensor) -> Tensor:
        logits: Tensor = self.net(self.image(grey)).float()
        if self._cut_off is None:
            return logits
        pixels = logits.flatten(1)
        drawn = pixels.sigmoid() >= self._cut_off
        drawn |= ~drawn.any(1, keepdim=True) & (pixels == pixels.amax(1, keepdim=True))
        return (pixels * drawn).sum(1, keepdim=True) / drawn.sum(1, keepdim=True)


def _library_class(method: str) -> Any:
    import pytorch_grad_cam as library  # a second to import

    known = getattr(library, METHODS[method])
    return _oriented(known) if method.startswith("eigen") else known


def _oriented(base: Any) -> Any:
    """The method with its sign settled: a principal component is as good with the other one (as of 1.5.7)."""

    class Oriented(base):  # type: ignore[misc]
        def get_cam_image(self, *arguments: Any) -> Any:
            maps = base.get_cam_image(self, *arguments)
            activations, gradients = arguments[3], arguments[4]
            strength = np.linalg.norm(activations, axis=1) if gradients is None else (activations * gradients).sum(1)
            strength = strength - strength.mean(axis=(1, 2), keepdims=True)
            sign = np.where((maps * strength).sum(axis=(1, 2)) < 0, -1, 1)
            return maps * sign[:, None, None]

    return Oriented
