from pathlib import Path

import pytest
import torch

from pulmo.errors import ConfigError
from pulmo.models.custom_cnn import CustomCNN


def test_custom_cnn__at_224_flattens_100352_values_and_has_25_8_million_parameters() -> None:
    with torch.device("meta"):
        net = CustomCNN()
    convolutions = (9 * 1 * 32 + 32) + (9 * 32 * 64 + 64) + (9 * 64 * 128 + 128)
    dense = (100352 * 256 + 256) + (256 + 1)
    assert net.head.hidden.in_features == 100352
    assert sum(parameter.numel() for parameter in net.parameters()) == convolutions + dense == 25_783_297


@pytest.mark.parametrize("size", [8, 30, 33])
def test_custom_cnn__any_size_from_8_gives_one_row_of_logits_an_image(size: int) -> None:
    net = CustomCNN(channels=2, outputs=3, size=size)
    assert net(torch.zeros(4, 2, size, size)).shape == (4, 3)


@pytest.mark.parametrize("wrong", [{"size": 7}, {"channels": 0}, {"outputs": 0}, {"dropout": 1.5}])
def test_custom_cnn__impossible_arguments_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        CustomCNN(**wrong)


def test_custom_cnn__dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    net = CustomCNN(size=16)
    image = torch.randn(1, 1, 16, 16)
    assert not torch.equal(net(image), net(image))
    net.eval()
    assert torch.equal(net(image), net(image))


def test_custom_cnn__blocks_have_names_for_fine_tuning() -> None:
    net = CustomCNN(size=8)
    assert [name for name, _ in net.named_children()] == ["features", "head"]
    assert [name for name, _ in net.features.named_children()] == ["block1", "block2", "block3"]


def test_custom_cnn__takes_weights_of_an_earlier_run_but_has_no_published_ones(tmp_path: Path) -> None:
    earlier = CustomCNN(size=16)
    torch.save(earlier.state_dict(), tmp_path / "earlier.pt")
    again = CustomCNN(size=16, weights=tmp_path / "earlier.pt")
    assert torch.equal(again.head.output.weight, earlier.head.output.weight)
    with pytest.raises(ConfigError, match=r"model\.weights=none"):
        CustomCNN(size=16, weights="default")
