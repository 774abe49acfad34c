"""A small convolutional network trained from scratch, the baseline beside the pretrained ones."""

from collections import OrderedDict
from pathlib import Path

from torch import Tensor, nn

from pulmo.errors import ConfigError
from pulmo.models.arguments import check_arguments
from pulmo.models.weights import load_chosen_weights


class CustomCNN(nn.Module):
    """Three convolutions of 32, 64 and 128 channels, each halving the image, then two dense layers.

    `(B, channels, size, size)` float → `(B, outputs)` logits. At 224 pixels the last feature map holds
    128 × 28 × 28 = 100352 values; a size that 8 doesn't divide loses the odd row and column at each halving.
    Children: `features` (`block1`, `block2`, `block3`) and `head` (`hidden`, `output` …).

    Args:
        channels: of the input, `model.input.channels`.
        outputs: logits an image; 1 for one sigmoid.
        size: height and width in pixels, `model.input.size`, 8 at least.
        dropout: probability between the two dense layers.
        weights: "none", or the path of a file of an earlier run.

    Raises:
        ConfigError: a size below 8, or `weights="default"`, which nobody published.
        WeightsError: the file can't be read, or is of another network.
    """

    def __init__(
        self,
        channels: int = 1,
        outputs: int = 1,
        size: int = 224,
        dropout: float = 0.5,
        weights: str | Path = "none",
    ) -> None:
        super().__init__()
        check_arguments(channels, outputs, dropout)
        if size < 8:
            raise ConfigError(f"model.input.size is {size}; CustomCNN halves three times and needs at least 8")
        self.features = nn.Sequential(
            OrderedDict(block1=_block(channels, 32), block2=_block(32, 64), block3=_block(64, 128))
        )
        self.head = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                hidden=nn.Linear(128 * (size // 8) ** 2, 256),
                relu=nn.ReLU(),
                dropout=nn.Dropout(dropout),
                output=nn.Linear(256, outputs),
            )
        )
        load_chosen_weights(self, weights, network="CustomCNN")

    def forward(self, image: Tensor) -> Tensor:
        """Return logits `(B, outputs)` from normalised images `(B, channels, size, size)`."""
        logits: Tensor = self.head(self.features(image))
        return logits


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    # ReLU not in place: class-activation maps need the convolution's own output and gradient.
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1),
            relu=nn.ReLU(),
            pool=nn.MaxPool2d(2),
        )
    )
