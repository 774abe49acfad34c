"""Which module of a network gives the last map of the image, found by sending an image through it once."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pulmo.errors import ConfigError
from pulmo.models.stem_and_head import head_layers

Layout = Literal["channels first", "channels last", "tokens"]

PASSING = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten)
"""Modules that give back what they got."""
POOLING = ("pool", "Pool")


@dataclass(frozen=True)
class FeatureMap:
    """What the module called `name` gives of an image: `channels` maps of `height` × `width`.

    layout  (B, C, H, W) as convolutions have it, (B, H, W, C) as Swin, or (B, N, C) tokens, `prefix` of which, such as
            a class token, stand for no place
    """

    name: str
    channels: int
    height: int
    width: int
    layout: Layout = "channels first"
    prefix: int = 0

    def channels_first(self, output: Tensor) -> Tensor:
        """(B, C, H, W) of what the module gave."""
        if self.layout == "channels last":
            return output.movedim(-1, 1)
        if self.layout == "tokens":
            return output[:, self.prefix :].transpose(1, 2).reshape(len(output), -1, self.height, self.width)
        return output

    def __str__(self) -> str:
        return f"{self.name} ({self.channels} × {self.height} × {self.width})"


def candidates(scored: nn.Module, net: nn.Module, size: tuple[int, int]) -> list[FeatureMap]:
    """Maps that modules of `net` give of an image of `size` (H, W) and that the score hangs on, in their order.

    `scored` (B, 1, H, W) grey → (B, K) scores holds `net`. A map has more than one place, and its score a gradient
    there: of a transformer that reads its class token alone, the last block's patches have none. Poolings and the layer
    that gives the logits are left out, and so is whatever only hands on what another module gave.
    """
    traced = _traced(scored, net, size)
    prefix = int(getattr(net, "num_prefix_tokens", 1))
    tokens = [output for _, _, output in traced if output.ndim == 3 and _grid(output, prefix) is not None]
    width = tokens[-1].shape[2] if tokens else 0  # of the stream that blocks add to; queries and keys have another
    heads, pooled = set(head_layers(net)), {id(output) for _, module, output in traced if _pools(module)}
    found: dict[int, FeatureMap] = {}
    for name, module, output in traced:
        if isinstance(module, PASSING) or name in heads or id(output) in pooled:
            continue
        shape = _shape(name, output, prefix)
        if shape is None or (shape.layout == "tokens" and shape.channels != width):
            continue
        if abs(shape.height * size[1] - shape.width * size[0]) > max(size):  # more than a pixel from the image's shape
            continue
        if output.grad is None or not shape.channels_first(output.grad).any():
            continue
        found.pop(id(output), None)  # the outermost of those that end with one map: layer4, not layer4.1.relu
        found[id(output)] = shape
    return list(found.values())


def chosen(found: list[FeatureMap], layer: str | None, *, smallest: bool) -> FeatureMap:
    """The map of the module `layer`, or the last one; with `smallest` the last of the smallest, a bottleneck.

    Raises `ConfigError` that lists what there is.
    """
    if not found:
        raise ConfigError("no module of this network gives a map of the image: heat maps need one")
    if layer is not None:
        for shape in found:
            if shape.name == layer:
                return shape
        there = ", ".join(map(str, found[-12:]))
        raise ConfigError(f"layer {layer} gives no map that the score hangs on; the last ones that do are {there}")
    if smallest:
        least = min(shape.height * shape.width for shape in found)
        return [shape for shape in found if shape.height * shape.width == least][-1]
    return found[-1]


def feature_maps(task: Any, images: Tensor, layer: str) -> Tensor:
    """(B, C, h, w) float32 on the CPU: what the module `layer` of the task's network gives of (B, 1, H, W) uint8.

    Raises `ConfigError` where the network has no such module, or it gives no map.
    """
    known = dict(task.net.named_modules())
    if layer not in known or not layer:
        near = ", ".join([name for name in known if name and name.count(".") < 2][-12:])
        raise ConfigError(f"the network has no module {layer}; it has {near}, …")
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            kept.append(output.detach())

    handle = known[layer].register_forward_hook(keep)
    was_training = task.training
    try:
        with torch.no_grad():
            task.eval()(images.to(task.device))
    finally:
        handle.remove()
        task.train(was_training)
    shape = _shape(layer, kept[-1], int(getattr(task.net, "num_prefix_tokens", 1))) if kept else None
    if shape is None:
        raise ConfigError(f"{layer} gives no map of the image: name a module that keeps height and width")
    return shape.channels_first(kept[-1]).float().cpu()


def _traced(scored: nn.Module, net: nn.Module, size: tuple[int, int]) -> list[tuple[str, nn.Module, Tensor]]:
    """Name, module and output of each module that gave one tensor for two images, as they end; with their gradients."""
    ended: list[tuple[str, nn.Module, Tensor]] = []
    handles = []

    def hook(name: str) -> Any:
        def keep(module: nn.Module, _: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.requires_grad and len(output) == 2:
                output.retain_grad()
                ended.append((name, module, output))

        return keep

    try:
        for name, module in net.named_modules():
            if name:
                handles.append(module.register_forward_hook(hook(name)))
        noise = torch.rand((2, 1, *size), generator=torch.Generator().manual_seed(0)) * 255
        device = next(net.parameters()).device
        scored(noise.to(device).requires_grad_()).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    return ended


def _shape(name: str, output: Tensor, prefix: int) -> FeatureMap | None:
    if output.ndim == 4:
        _, a, b, c = output.shape
        if b > 1 and c > 1 and not (a == b != c):
            return FeatureMap(name, a, b, c)
        return FeatureMap(name, c, a, b, "channels last") if a == b > 1 else None
    grid = _grid(output, prefix) if output.ndim == 3 else None
    if grid is None:
        return None
    side, without = grid
    return FeatureMap(name, output.shape[2], side, side, "tokens", without)


def _grid(output: Tensor, prefix: int) -> tuple[int, int] | None:
    """Side of the square that (B, N, C) tokens fill, and how many of them stand before it."""
    for without in dict.fromkeys((prefix, 0, 1)):
        side = math.isqrt(max(0, output.shape[1] - without))
        if side > 1 and side * side == output.shape[1] - without:
            return side, without
    return None


def _pools(module: nn.Module) -> bool:
    return any(part in type(module).__name__ for part in POOLING)
