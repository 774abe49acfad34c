import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pulmo.errors import WeightsError
from pulmo.models.weights import load_weights, read_state_dict


class Net(nn.Module):
    """5 layers, 17 counted tensors of which 2 are the head's, and 3 step counters."""

    def __init__(self, channels: int = 3, outputs: int = 1000, width: int = 8) -> None:
        super().__init__()
        blocks = [
            layer
            for fan_in in (channels, width, width)
            for layer in (nn.Conv2d(fan_in, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        ]
        self.body = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(width, outputs)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.body(image))
        return logits


def trained(**sizes: int) -> Net:
    """Return a net whose batch norms have seen images, in evaluation mode."""
    torch.manual_seed(1)
    net = Net(**sizes)
    channels = sizes.get("channels", 3)
    for _ in range(3):
        net(torch.randn(4, channels, 8, 8))
    return net.eval()


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_weights__first_convolution_folds_to_the_same_function() -> None:
    colour, grey = trained(), Net(channels=1).eval()
    report = load_weights(grey, colour.state_dict())
    image = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(grey(image), colour(image.expand(-1, 3, -1, -1)), atol=1e-4, rtol=0)
    assert report.folded == "3→1"
    assert report.loaded == report.total == 17


def test_weights__a_grey_first_convolution_unfolds_to_the_same_function() -> None:
    grey, colour = trained(channels=1), Net(channels=3).eval()
    assert load_weights(colour, grey.state_dict()).folded == "1→3"
    image = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(colour(image.expand(-1, 3, -1, -1)), grey(image), atol=1e-4, rtol=0)


def test_weights__a_head_of_another_size_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    net = Net(channels=1, outputs=1)
    fresh = net.fc.weight.clone()
    with caplog.at_level(logging.INFO, logger="pulmo"):
        report = load_weights(net, trained().state_dict(), source="net.pt", network="tiny")
    assert torch.equal(net.fc.weight, fresh)
    assert report.left_out == ("fc.weight (1000→1)", "fc.bias (1000→1)")
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert caplog.messages == [
        "weights: 15 of 17 tensors of tiny loaded from net.pt; "
        "left out: fc.weight (1000→1), fc.bias (1000→1); first convolution folded 3→1"
    ]


def test_weights__a_head_is_taken_whole_or_not_at_all() -> None:
    given = trained(outputs=2).state_dict()
    given["fc.weight"] = given["fc.weight"][:, :4]
    net = Net(outputs=2)
    fresh = net.fc.bias.clone()
    assert load_weights(net, given).left_out == ("fc.weight (2×4→2×8)", "fc.bias")
    assert torch.equal(net.fc.bias, fresh)


def test_weights__step_counters_are_loaded_but_never_counted() -> None:
    given = trained().state_dict()
    net = Net()
    load_weights(net, given)
    assert net.body[1].num_batches_tracked == 3
    without = {key: value for key, value in given.items() if not key.endswith("num_batches_tracked")}
    report = load_weights(Net(), without)
    assert (report.loaded, report.total, report.left_out) == (17, 17, ())


def test_weights__one_missing_tensor_of_the_body_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    given = trained().state_dict()
    del given["body.1.bias"]
    report = load_weights(Net(), given)
    assert report.left_out == ("body.1.bias (not in the file)",)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_weights__another_network_is_refused_and_nothing_changes() -> None:
    net = Net(width=8)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(WeightsError, match=r"wide\.pt fits 0 of 15 tensors of tiny .* another network"):
        load_weights(net, trained(width=6).state_dict(), source="wide.pt", network="tiny")
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_weights__a_larger_network_that_holds_this_one_whole_is_refused() -> None:
    deeper = dict(trained().state_dict())
    deeper |= {f"body.{10 + index}.weight": torch.zeros(8) for index in range(5)}
    with pytest.raises(WeightsError, match=r"only 15 of 20 tensors of deep\.pt have a place in tiny"):
        load_weights(Net(), deeper, source="deep.pt", network="tiny")


@pytest.mark.parametrize("prefix", ["module.", "net.", "model.", "net._orig_mod.module."])
def test_weights__the_prefix_of_a_training_program_is_taken_off(prefix: str, tmp_path: Path) -> None:
    original = trained()
    tensors = {prefix + key: value for key, value in original.state_dict().items()}
    average = {f"ema.{key}": torch.zeros_like(value) for key, value in tensors.items()}
    content = {"epoch": 3, "state_dict": average | tensors | {"loss.weight": torch.ones(1)}}
    net = Net()
    report = load_weights(net, read_state_dict(saved(tmp_path / "last.ckpt", content)))
    assert (report.left_out, report.unused) == ((), ())
    assert torch.equal(net.fc.weight, original.fc.weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights__half_precision_becomes_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    original = trained()
    path = saved(tmp_path / "half.pt", original.to(dtype).state_dict())
    tensors = read_state_dict(path)
    assert {value.dtype for value in tensors.values()} == {torch.float32, torch.int64}
    net = Net()
    load_weights(net, tensors)
    assert torch.equal(net.fc.weight, original.fc.weight.float())


def test_weights__safetensors_are_read(tmp_path: Path) -> None:
    torch_file = pytest.importorskip("safetensors.torch")
    torch_file.save_file({"w": torch.arange(3.0)}, tmp_path / "net.safetensors")
    assert torch.equal(read_state_dict(tmp_path / "net.safetensors")["w"], torch.arange(3.0))
    (tmp_path / "bad.safetensors").write_bytes(b"<html>")
    with pytest.raises(WeightsError, match="download it again"):
        read_state_dict(tmp_path / "bad.safetensors")


def test_weights__a_missing_file_is_named() -> None:
    with pytest.raises(WeightsError, match=r"no weights file 'imagenet'; model\.weights is none, default or"):
        read_state_dict("imagenet")


def test_weights__pickled_code_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.pt", Net())
    with pytest.raises(WeightsError, match=r"holds pickled code .*Net.*torch\.save\(net\.state_dict\(\), PATH\)"):
        read_state_dict(path)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"version https://git-lfs", bytes(range(256))])
def test_weights__a_file_that_is_none_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"net\.pth .*again"):
        read_state_dict(tmp_path / "net.pth")


def test_weights__a_half_downloaded_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.pth", Net().state_dict())
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(WeightsError, match=r"net\.pth can't be read"):
        read_state_dict(path)


def test_weights__a_file_without_named_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no tensors by name"):
        read_state_dict(saved(tmp_path / "list.pt", [torch.ones(1)]))
