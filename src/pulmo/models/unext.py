"""UNeXt, a small network for segmentation: convolutions where the image is large, shifted MLPs where it is small."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pulmo.errors import ConfigError
from pulmo.models.arguments import check_arguments
from pulmo.models.weights import load_chosen_weights

SHIFTS = (-2, -1, 0, 1, 2)
"""Pixels that each fifth of the channels moves by."""

REDUCTION = 32
"""Height and width of the image over those of the smallest feature map: five stages, each halving."""


class UNeXt(nn.Module):
    """Three convolutional and two tokenised-MLP stages down, five up, skips added (Valanarasu & Patel 2022).

    `(B, channels, H, W)` float → `(B, outputs, H, W)` logits; H and W are multiples of 32. With the default
    widths, 3 channels and 1 output it has 1.47 M parameters and costs 0.57 G multiply-accumulates at 256
    pixels, as https://arxiv.org/abs/2203.04967 says. Layers start by torch's default. Children: `encoder`
    (`conv1`, `conv2`, `conv3`, `mlp4`, `mlp5`), `decoder` (`mlp4`, `mlp3`, `conv2`, `conv1`, `conv0`) and
    `head`.

    Args:
        channels: of the input, `model.input.channels`.
        outputs: logit maps an image; 1 for one sigmoid.
        weights: "none", or the path of a file of an earlier run.
        widths: channels after each of the five stages, 5 at least: one a shift.
        dropout: probability inside the MLPs, after the activation and at the end.

    Raises:
        ConfigError: arguments out of range, `weights="default"`, which nobody published; on
            calling, an image whose sides are no multiples of 32.
        WeightsError: the file can't be read, or is of another network.
    """

    def __init__(
        self,
        *,
        channels: int,
        outputs: int,
        weights: str | Path = "none",
        widths: Sequence[int] = (16, 32, 128, 160, 256),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_arguments(channels, outputs, dropout)
        if len(widths) != 5 or min(widths) < len(SHIFTS):
            raise ConfigError(f"UNeXt's widths are {list(widths)}; give five, each {len(SHIFTS)} or more")
        first, second, third, fourth, fifth = widths
        self.encoder = nn.Sequential(
            OrderedDict(
                conv1=_ConvDown(channels, first),
                conv2=_ConvDown(first, second),
                conv3=_ConvDown(second, third),
                mlp4=_TokensDown(third, fourth, dropout),
                mlp5=_TokensDown(fourth, fifth, dropout),
            )
        )
        self.decoder = nn.Sequential(
            OrderedDict(
                mlp4=_Up(fifth, fourth, mlp=True, dropout=dropout),
                mlp3=_Up(fourth, third, mlp=True, dropout=dropout),
                conv2=_Up(third, second),
                conv1=_Up(second, first),
                conv0=_Up(first, first, last=True),
            )
        )
        self.head = nn.Conv2d(first, outputs, kernel_size=1)
        load_chosen_weights(self, weights, network="UNeXt")

    def forward(self, image: Tensor) -> Tensor:
        """Return logits `(B, outputs, H, W)` from normalised images `(B, channels, H, W)`."""
        height, width = image.shape[-2:]
        if height % REDUCTION or width % REDUCTION:
            raise ConfigError(
                f"images are {height}×{width}; UNeXt halves five times and needs multiples of {REDUCTION}: "
                f"give model.input.size={-(-max(height, width) // REDUCTION) * REDUCTION}"
            )
        maps: list[Tensor] = []
        features = image
        for down in self.encoder:
            features = down(features)
            maps.append(features)
        skips = [None, *maps[:-1]]
        for up in self.decoder:
            features = up(features, skips.pop())
        logits: Tensor = self.head(features)
        return logits


class ShiftedMLP(nn.Module):
    """A perceptron a pixel that also sees neighbours: channels are shifted along x before it, along y after.

    `(B, width, H, W)` → the same, added to what came in. The hidden layer is as wide as the outer ones.
    """

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        # A 1×1 convolution is the paper's dense layer on tokens, without the reshaping to and fro.
        self.along_x = nn.Conv2d(width, width, kernel_size=1)
        self.depthwise = nn.Conv2d(width, width, kernel_size=3, padding=1, groups=width)
        self.along_y = nn.Conv2d(width, width, kernel_size=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Return `(B, width, H, W)` from the same shape."""
        hidden = self.depthwise(self.along_x(shift(self.norm(features), axis=3)))
        hidden = self.dropout(F.gelu(hidden))
        added: Tensor = self.dropout(self.along_y(shift(hidden, axis=2)))
        return features + added


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel: `(B, C, H, W)` → the same."""

    def forward(self, input: Tensor) -> Tensor:
        """Return `(B, C, H, W)` from the same shape."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def shift(features: Tensor, axis: int) -> Tensor:
    """Return `(B, C, H, W)` with the channels, in five groups, moved by -2 … 2 along `axis`; zeros move in.

    Where five doesn't divide C, the first groups have one channel more.
    """
    size = features.shape[axis]
    reach = max(SHIFTS)
    padding = [0, 0, reach, reach] if axis == 2 else [reach, reach]
    groups = F.pad(features, padding).tensor_split(len(SHIFTS), dim=1)
    return torch.cat([group.narrow(axis, reach - by, size) for group, by in zip(groups, SHIFTS, strict=True)], dim=1)


class _ConvDown(nn.Sequential):
    """`(B, channels_in, H, W)` → `(B, channels_out, H/2, W/2)`."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            OrderedDict(
                conv=nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1),
                norm=nn.BatchNorm2d(channels_out),
                pool=nn.MaxPool2d(2),
                relu=nn.ReLU(),
            )
        )


class _TokensDown(nn.Sequential):
    """`(B, channels_in, H, W)` → `(B, channels_out, H/2, W/2)`, by patches of 3×3 pixels that overlap."""

    def __init__(self, channels_in: int, channels_out: int, dropout: float) -> None:
        super().__init__(
            OrderedDict(
                embed=nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=2, padding=1),
                embed_norm=ChannelNorm(channels_out),
                mlp=ShiftedMLP(channels_out, dropout),
                norm=ChannelNorm(channels_out),
            )
        )


class _Up(nn.Module):
    """`(B, channels_in, H, W)` → `(B, channels_out, 2H, 2W)`: the skip is added, tokens are mixed where they were made.

    The last stage reaches the image's own size, where nothing is left to be added or, in the paper's count, normed.
    """

    def __init__(
        self, channels_in: int, channels_out: int, *, mlp: bool = False, last: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1)
        self.norm = nn.Identity() if last else nn.BatchNorm2d(channels_out)
        self.tokens = nn.Sequential(*([ShiftedMLP(channels_out, dropout), ChannelNorm(channels_out)] if mlp else []))

    def forward(self, features: Tensor, skip: Tensor | None) -> Tensor:
        features = F.relu(F.interpolate(self.norm(self.conv(features)), scale_factor=2.0, mode="bilinear"))
        if skip is not None:
            features = features + skip
        mixed: Tensor = self.tokens(features)
        return mixed
