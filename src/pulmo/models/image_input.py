"""The first layer of every network: grey bytes become what the network was trained on."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pulmo.errors import ConfigError


class ImageInput(nn.Module):
    """Grey images become normalised floats of as many channels as the network eats.

    `(B, 1, H, W)` uint8, or float in [0, 255], → `(B, channels, H, W)` float: `(x / 255 - mean) / std`.
    The output has the precision that the module was moved to.

    Args:
        channels: what the network's first convolution takes, `model.input.channels`.
        mean: one value a channel, in [0, 1]. Three values with one channel are averaged, since a grey
            image through a folded first convolution stands for three equal channels.
        std: one positive value a channel; three values with one channel are averaged.

    Raises:
        ConfigError: channels, mean and std don't fit together.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if channels < 1:
            raise ConfigError(f"model.input.channels is {channels}; a network needs at least 1")
        means = _one_value_a_channel("mean", mean, channels)
        stds = _one_value_a_channel("std", std, channels)
        if not all(0.0 <= value <= 1.0 for value in means):
            raise ConfigError(f"model.input.mean is {means}; give fractions of full range, in [0, 1]")
        if not all(value > 0.0 for value in stds):
            raise ConfigError(f"model.input.std is {stds}; every value must be above 0")
        # Not in the checkpoint: the config says them, and a folded net may be reloaded with other channels.
        self.register_buffer("mean", torch.tensor(means).view(1, channels, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(stds).view(1, channels, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return `(B, channels, H, W)` float from `(B, 1, H, W)` uint8 or float in [0, 255]."""
        # One grey channel against `channels` means: broadcasting does the expanding.
        return (image.to(self.mean.dtype) / 255.0 - self.mean) / self.std


def _one_value_a_channel(key: str, values: Sequence[float], channels: int) -> list[float]:
    found = [float(values)] if isinstance(values, (int, float)) else [float(value) for value in values]
    if len(found) == channels:
        return found
    if channels == 1 and len(found) == 3:
        return [sum(found) / 3.0]
    raise ConfigError(
        f"model.input.{key} has {len(found)} value(s), model.input.channels is {channels}: "
        f"give one value a channel (for 1 channel, three are averaged)"
    )
