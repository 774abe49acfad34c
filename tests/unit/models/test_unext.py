from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pulmo.errors import ConfigError, WeightsError
from pulmo.models.unext import ShiftedMLP, UNeXt, shift

SMALL = (5, 6, 7, 8, 9)


def small(channels: int = 1, outputs: int = 1, **arguments: object) -> UNeXt:
    torch.manual_seed(0)
    return UNeXt(channels=channels, outputs=outputs, widths=SMALL, **arguments)


def test_unext__parameters_are_the_papers() -> None:
    def conv(fan_in: int, fan_out: int) -> int:
        return 9 * fan_in * fan_out + fan_out

    def mlp(width: int) -> int:  # norm, two dense layers, a depthwise convolution, the norm after the stage
        return 2 * width + 2 * (width * width + width) + (9 * width + width) + 2 * width

    down = conv(3, 16) + conv(16, 32) + conv(32, 128) + 2 * (16 + 32 + 128)
    tokens = conv(128, 160) + 2 * 160 + mlp(160) + conv(160, 256) + 2 * 256 + mlp(256)
    up = conv(256, 160) + conv(160, 128) + conv(128, 32) + conv(32, 16) + conv(16, 16) + 2 * (160 + 128 + 32 + 16)
    with torch.device("meta"):
        found = sum(parameter.numel() for parameter in UNeXt(channels=3, outputs=1).parameters())
    assert found == down + tokens + up + mlp(160) + mlp(128) + 16 + 1
    assert round(found / 1e6, 2) == 1.47  # https://arxiv.org/abs/2203.04967


def test_unext__cost_is_the_papers() -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        UNeXt(channels=3, outputs=1)(torch.zeros(1, 3, 256, 256))
    assert counter.get_total_flops() / 2 == pytest.approx(0.57e9, rel=0.03)  # multiply-accumulates


def test_unext__shift_moves_each_fifth_of_the_channels_and_fills_with_zeros() -> None:
    row = torch.tensor([1.0, 2.0, 3.0])
    moved = torch.tensor([[3, 0, 0], [2, 3, 0], [1, 2, 3], [0, 1, 2], [0, 0, 1]]).float()
    along_x = row.view(1, 1, 1, 3).expand(1, 5, 2, 3)
    assert torch.equal(shift(along_x, axis=3), moved.view(1, 5, 1, 3).expand(1, 5, 2, 3))
    along_y = row.view(1, 1, 3, 1).expand(1, 5, 3, 2)
    assert torch.equal(shift(along_y, axis=2), moved.view(1, 5, 3, 1).expand(1, 5, 3, 2))


def test_unext__shift_has_five_groups_where_five_does_not_divide_the_channels() -> None:
    impulse = torch.zeros(1, 7, 1, 5)
    impulse[..., 2] = 1.0
    assert shift(impulse, axis=3).argmax(dim=3).flatten().tolist() == [0, 0, 1, 1, 2, 3, 4]


def test_unext__a_shifted_mlp_sees_three_pixels_far_each_way_and_adds_to_its_input() -> None:
    torch.manual_seed(0)
    mlp = ShiftedMLP(10).double()
    image = torch.randn(1, 10, 11, 13, dtype=torch.double)
    changed = image.clone()
    changed[:, :, 5, 6] = torch.randn(10, dtype=torch.double)
    seen = (mlp(image) != mlp(changed)).any(dim=1)[0]
    expected = torch.zeros(11, 13, dtype=torch.bool)
    expected[5 - 3 : 5 + 4, 6 - 3 : 6 + 4] = True
    assert torch.equal(seen, expected)
    for parameter in mlp.along_y.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(mlp(image), image)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96)])
def test_unext__logit_maps_are_as_large_as_the_image(height: int, width: int) -> None:
    net = small(channels=2, outputs=3).eval()
    assert net(torch.zeros(1, 2, height, width)).shape == (1, 3, height, width)


def test_unext__a_size_that_five_halvings_do_not_divide_is_refused_with_the_next_one_up() -> None:
    with pytest.raises(ConfigError, match=r"64×100.*model\.input\.size=128"):
        small()(torch.zeros(1, 1, 64, 100))


def test_unext__gradients_reach_every_parameter() -> None:
    net = small()
    net(torch.randn(2, 1, 96, 96)).square().mean().backward()
    missed = [name for name, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert missed == []


def test_unext__each_stage_up_adds_the_stage_down_of_its_size() -> None:
    net = small().eval()
    down: list[torch.Tensor] = []
    up: list[torch.Tensor] = []
    for stage in net.encoder:
        stage.register_forward_hook(lambda *arguments: down.append(arguments[-1]))
    for stage in net.decoder:
        torch.nn.init.zeros_(stage.conv.weight)  # nothing comes from below
        torch.nn.init.zeros_(stage.conv.bias)
        stage.tokens.register_forward_pre_hook(lambda _, inputs: up.append(inputs[0]))
    net(torch.randn(1, 1, 64, 64))
    for added, skip in zip(up, reversed(down[:-1]), strict=False):
        torch.testing.assert_close(added, skip)
    assert not up[-1].any()


def test_unext__dropout_acts_in_training_only() -> None:
    image = torch.randn(2, 1, 64, 64)
    net = small(dropout=0.5)
    assert not torch.equal(net(image), net(image))
    net.eval()
    assert torch.equal(net(image), net(image))


@pytest.mark.parametrize(
    "wrong", [{"channels": 0}, {"outputs": 0}, {"dropout": 1.0}, {"widths": (8, 8, 8, 8)}, {"widths": (4, 8, 8, 8, 8)}]
)
def test_unext__impossible_arguments_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        UNeXt(**({"channels": 1, "outputs": 1} | wrong))


def test_unext__weights_of_an_earlier_run_give_the_same_logits_on_grey(tmp_path: Path) -> None:
    earlier = small(channels=3).eval()
    torch.save(
        {"state_dict": {f"net.{key}": value for key, value in earlier.state_dict().items()}}, tmp_path / "a.ckpt"
    )
    again = small(channels=1, weights=tmp_path / "a.ckpt").eval()
    image = torch.randn(1, 1, 64, 64)
    torch.testing.assert_close(again(image), earlier(image.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


def test_unext__a_head_of_another_size_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    earlier = small(outputs=1)
    torch.save(earlier.state_dict(), tmp_path / "a.pt")
    with caplog.at_level("INFO", logger="pulmo"):
        again = small(outputs=2, weights=tmp_path / "a.pt")
    assert "left out: head.weight (1→2), head.bias (1→2)" in caplog.text
    assert torch.equal(again.decoder.conv0.conv.weight, earlier.decoder.conv0.conv.weight)


def test_unext__weights_of_another_network_and_published_ones_are_refused(tmp_path: Path) -> None:
    torch.save(UNeXt(channels=1, outputs=1, widths=(6, 7, 8, 9, 10)).state_dict(), tmp_path / "wide.pt")
    with pytest.raises(WeightsError, match=r"wide\.pt fits \d+ of \d+ tensors of UNeXt"):
        small(weights=tmp_path / "wide.pt")
    with pytest.raises(ConfigError, match=r"model\.weights=none"):
        small(weights="default")
