from pathlib import Path

import pytest
import torch

from pulmo.errors import ConfigError, WeightsError
from pulmo.models.unet import UNet

SMALL = (4, 5, 6)


def small(channels: int = 1, outputs: int = 1, **arguments: object) -> UNet:
    torch.manual_seed(0)
    return UNet(channels=channels, outputs=outputs, widths=SMALL, **arguments)


def test_unet__has_31_million_parameters() -> None:
    def two(fan_in: int, width: int) -> int:  # two convolutions without bias, two norms
        return 9 * fan_in * width + 9 * width * width + 4 * width

    def up(below: int, width: int) -> int:  # transposed 2×2 with bias; the skip doubles what the next one reads
        return 4 * below * width + width + two(2 * width, width)

    down = two(1, 64) + two(64, 128) + two(128, 256) + two(256, 512) + two(512, 1024)
    back = up(1024, 512) + up(512, 256) + up(256, 128) + up(128, 64)
    with torch.device("meta"):
        found = sum(parameter.numel() for parameter in UNet(channels=1, outputs=1).parameters())
    assert found == down + back + 64 + 1 == 31_036_481


@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 32)])
def test_unet__logit_maps_are_as_large_as_the_image(height: int, width: int) -> None:
    with torch.device("meta"):
        net = UNet(channels=2, outputs=3)
        assert net(torch.zeros(2, 2, height, width)).shape == (2, 3, height, width)


@pytest.mark.parametrize(("widths", "multiple", "next_up"), [((4, 5, 6), 4, 52), ((4, 4, 4, 4, 4), 16, 64)])
def test_unet__a_size_that_the_halvings_do_not_divide_is_refused_with_the_next_one_up(
    widths: tuple[int, ...], multiple: int, next_up: int
) -> None:
    net = UNet(channels=1, outputs=1, widths=widths)
    with pytest.raises(ConfigError, match=rf"32×50.*multiples of {multiple}.*model\.input\.size={next_up}"):
        net(torch.zeros(1, 1, 32, 50))


def test_unet__an_image_moved_by_the_stride_gives_logits_moved_alike() -> None:
    net = small().double().eval()
    image = torch.randn(1, 1, 80, 80, dtype=torch.double)
    moved = net(image.roll((4, -8), dims=(2, 3)))
    inside = (..., slice(30, 50), slice(30, 50))  # further from the border than the network sees
    torch.testing.assert_close(moved[inside], net(image).roll((4, -8), dims=(2, 3))[inside])


def test_unet__gradients_reach_every_parameter() -> None:
    net = small()
    net(torch.randn(2, 1, 32, 32)).square().mean().backward()
    missed = [name for name, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert missed == []


@pytest.mark.parametrize("level", ["level2", "level1"])
def test_unet__the_way_up_reads_its_skip_first_then_what_comes_from_below(level: str) -> None:
    net = small().eval()
    up = net.decoder.get_submodule(level)
    seen: list[torch.Tensor] = []
    up.convolutions.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net.encoder.get_submodule(level).register_forward_hook(lambda *arguments: seen.append(arguments[-1]))
    net(torch.randn(1, 1, 16, 16))
    skip, merged = seen
    torch.testing.assert_close(merged[:, : up.up.out_channels], skip)
    assert merged.shape[1] == 2 * skip.shape[1]


def test_unet__dropout_acts_in_training_only() -> None:
    image = torch.randn(2, 1, 16, 16)
    net = small(dropout=0.5)
    assert not torch.equal(net(image), net(image))
    net.eval()
    assert torch.equal(net(image), net(image))


@pytest.mark.parametrize(
    "wrong", [{"channels": 0}, {"outputs": 0}, {"dropout": 1.0}, {"widths": (8,)}, {"widths": (8, 0)}]
)
def test_unet__impossible_arguments_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        UNet(**({"channels": 1, "outputs": 1} | wrong))


def test_unet__weights_of_an_earlier_run_give_the_same_logits_on_grey(tmp_path: Path) -> None:
    earlier = small(channels=3).eval()
    torch.save(
        {"state_dict": {f"net.{key}": value for key, value in earlier.state_dict().items()}}, tmp_path / "a.ckpt"
    )
    again = small(channels=1, weights=tmp_path / "a.ckpt").eval()
    image = torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(again(image), earlier(image.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


def test_unet__a_head_of_another_size_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    earlier = small(outputs=1)
    torch.save(earlier.state_dict(), tmp_path / "a.pt")
    with caplog.at_level("INFO", logger="pulmo"):
        again = small(outputs=2, weights=tmp_path / "a.pt")
    assert "left out: head.weight (1→2), head.bias (1→2)" in caplog.text
    assert torch.equal(again.decoder.level1.up.weight, earlier.decoder.level1.up.weight)


def test_unet__weights_of_another_network_and_published_ones_are_refused(tmp_path: Path) -> None:
    torch.save(UNet(channels=1, outputs=1, widths=(5, 6, 7)).state_dict(), tmp_path / "wide.pt")
    with pytest.raises(WeightsError, match=r"wide\.pt fits 0 of \d+ tensors of UNet"):
        small(weights=tmp_path / "wide.pt")
    with pytest.raises(ConfigError, match=r"model\.weights=none"):
        small(weights="default")
