import pytest
import torch
from torch import nn

from pulmo.errors import ConfigError
from pulmo.models.image_input import ImageInput

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def grey(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.uint8).view(1, 1, 1, -1)


def test_image_input__bytes_become_normalised_values_worked_out_by_hand() -> None:
    given = ImageInput(1, mean=[0.5], std=[0.25])(grey(0, 51, 255))
    assert given.dtype == torch.float32
    torch.testing.assert_close(given.flatten(), torch.tensor([-2.0, -1.2, 2.0]))


def test_image_input__float_in_0_255_is_read_like_bytes() -> None:
    layer = ImageInput(3, **IMAGENET)
    torch.testing.assert_close(layer(grey(7, 200).float()), layer(grey(7, 200)))


def test_image_input__three_channels_each_have_their_own_mean_and_std() -> None:
    given = ImageInput(3, **IMAGENET)(grey(255))
    expected = torch.tensor([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    assert given.shape == (1, 3, 1, 1)
    torch.testing.assert_close(given.flatten(), expected)


def test_image_input__three_values_are_averaged_for_one_channel() -> None:
    layer = ImageInput(1, **IMAGENET)
    assert layer.mean.item() == pytest.approx(0.449)
    assert layer.std.item() == pytest.approx(0.226)


@pytest.mark.parametrize(("channels", "values"), [(3, [0.5]), (1, [0.5, 0.5]), (3, [0.5, 0.5]), (2, [0.5] * 3)])
def test_image_input__other_counts_are_refused_by_key(channels: int, values: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"model\.input\.mean"):
        ImageInput(channels, mean=values, std=[0.5] * channels)
    with pytest.raises(ConfigError, match=r"model\.input\.std"):
        ImageInput(channels, mean=[0.5] * channels, std=values)


def test_image_input__byte_scaled_mean_and_zero_std_are_refused() -> None:
    with pytest.raises(ConfigError, match="fractions of full range"):
        ImageInput(1, mean=[123.7], std=[0.5])
    with pytest.raises(ConfigError, match="above 0"):
        ImageInput(1, mean=[0.5], std=[0.0])


def test_image_input__leaves_nothing_in_the_checkpoint() -> None:
    assert ImageInput(3, **IMAGENET).state_dict() == {}


def test_image_input__a_channels_last_network_stays_so_behind_it() -> None:
    net = nn.Sequential(ImageInput(3, **IMAGENET), nn.Conv2d(3, 8, 3)).to(memory_format=torch.channels_last)
    features = net(torch.zeros(2, 1, 6, 8, dtype=torch.uint8))
    assert features.is_contiguous(memory_format=torch.channels_last)


def test_image_input__exports_with_a_free_batch_size() -> None:
    layer = ImageInput(3, **IMAGENET)
    example = torch.zeros(2, 1, 4, 6, dtype=torch.uint8)
    program = torch.export.export(layer, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    image = torch.randint(0, 256, (5, 1, 4, 6), dtype=torch.uint8)
    torch.testing.assert_close(program.module()(image), layer(image))
