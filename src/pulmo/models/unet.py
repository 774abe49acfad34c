"""U-Net as it was published, but for padding and batch norm."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pulmo.errors import ConfigError
from pulmo.models.arguments import check_arguments
from pulmo.models.weights import load_chosen_weights


class UNet(nn.Module):
    """Two convolutions a level, halving down and doubling up, skips concatenated (Ronneberger et al. 2015).

    `(B, channels, H, W)` float → `(B, outputs, H, W)` logits; H and W are multiples of 16 (two to the number
    of halvings). From https://arxiv.org/abs/1505.04597 it departs as is usual today: convolutions are padded,
    so that the output is as large as the input, and each is followed by batch norm, which makes its bias
    needless. 31.0 M parameters. Layers start by torch's default. Children: `encoder` (`level1` … `level5`),
    `dropout`, `decoder` (`level4` … `level1`) and `head`.

    Args:
        channels: of the input, `model.input.channels`.
        outputs: logit maps an image; 1 for one sigmoid.
        weights: "none", or the path of a file of an earlier run.
        widths: channels of each level, from the image's own size down; two levels at least.
        dropout: probability at the end of the way down, where the paper has it.

    Raises:
        ConfigError: arguments out of range, or `weights="default"`, which nobody published; on calling, an
            image whose sides can't be halved that often.
        WeightsError: the file can't be read, or is of another network.
    """

    def __init__(
        self,
        *,
        channels: int,
        outputs: int,
        weights: str | Path = "none",
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_arguments(channels, outputs, dropout)
        if len(widths) < 2 or min(widths) < 1:
            raise ConfigError(f"UNet's widths are {list(widths)}; give two or more, each 1 or more")
        steps = list(pairwise((channels, *widths)))
        self.encoder = nn.Sequential(
            OrderedDict((f"level{level}", _two_convolutions(*step)) for level, step in enumerate(steps, start=1))
        )
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Sequential(
            OrderedDict((f"level{level}", _Up(*steps[level])) for level in range(len(widths) - 1, 0, -1))
        )
        self.head = nn.Conv2d(widths[0], outputs, kernel_size=1)
        self.multiple = 2 ** (len(widths) - 1)
        load_chosen_weights(self, weights, network="UNet")

    def forward(self, image: Tensor) -> Tensor:
        """Return logits `(B, outputs, H, W)` from normalised images `(B, channels, H, W)`."""
        height, width = image.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise ConfigError(
                f"images are {height}×{width}; this UNet needs multiples of {self.multiple}: "
                f"give model.input.size={-(-max(height, width) // self.multiple) * self.multiple}"
            )
        levels: list[Tensor] = []
        for level in self.encoder:
            levels.append(level(F.max_pool2d(levels[-1], 2) if levels else image))
        features = self.dropout(levels.pop())
        for up in self.decoder:
            features = up(features, levels.pop())
        logits: Tensor = self.head(features)
        return logits


class _Up(nn.Module):
    """`(B, below, H, W)` and the skip `(B, width, 2H, 2W)` → `(B, width, 2H, 2W)`."""

    def __init__(self, width: int, below: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(below, width, kernel_size=2, stride=2)
        self.convolutions = _two_convolutions(2 * width, width)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        merged: Tensor = self.convolutions(torch.cat([skip, self.up(features)], dim=1))
        return merged


def _two_convolutions(channels_in: int, channels_out: int) -> nn.Sequential:
    # ReLU not in place: class-activation maps need the norm's own output and gradient.
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False),
            norm1=nn.BatchNorm2d(channels_out),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(channels_out, channels_out, kernel_size=3, padding=1, bias=False),
            norm2=nn.BatchNorm2d(channels_out),
            relu2=nn.ReLU(),
        )
    )
