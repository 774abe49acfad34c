from pathlib import Path
from typing import NoReturn
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision.models._api import WeightsEnum

from pulmo.errors import ConfigError, WeightsError
from pulmo.models.torchvision_classifier import torchvision_classifier


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("resnet18", 11_689_512),
        ("resnet50", 25_557_032),
        ("vgg16", 138_357_544),
        ("mobilenet_v2", 3_504_872),
        ("vit_b_16", 86_567_656),  # its head has a name, no number
    ],
)
def test_torchvision__parameters_are_as_published(name: str, published: int) -> None:
    # https://docs.pytorch.org/vision/stable/models.html, "num_params"
    with torch.device("meta"):
        assert parameters(torchvision_classifier(name, channels=3, outputs=1000)) == published


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_torchvision__channels_and_outputs_are_as_asked(name: str) -> None:
    net = torchvision_classifier(name, channels=1, outputs=2).eval()
    with torch.no_grad():
        assert net(torch.zeros(2, 1, 64, 64)).shape == (2, 2)


def test_torchvision__a_new_first_convolution_keeps_shape_and_scale() -> None:
    torch.manual_seed(0)
    colour = torchvision_classifier("resnet18", channels=3, outputs=1).conv1
    grey = torchvision_classifier("resnet18", channels=1, outputs=1).conv1
    assert (grey.kernel_size, grey.stride, grey.padding, grey.bias) == ((7, 7), (2, 2), (3, 3), None)
    assert grey.weight.std().item() == pytest.approx(colour.weight.std().item(), rel=0.1)


def test_torchvision__the_head_starts_by_torchs_default() -> None:
    torch.manual_seed(0)
    head = torchvision_classifier("mobilenet_v2", channels=1, outputs=50).classifier[1]
    bound = 1280**-0.5  # nn.Linear's; torchvision would draw a normal of 0.01
    assert head.weight.abs().max().item() == pytest.approx(bound, rel=0.01)


def test_torchvision__logits_may_be_negative_where_torchvision_clips_them() -> None:
    torch.manual_seed(0)
    net = torchvision_classifier("squeezenet1_1", channels=1, outputs=50).eval()
    with torch.no_grad():
        assert net(torch.randn(1, 1, 64, 64)).min() < 0


@pytest.mark.filterwarnings("ignore:The default weight initialization:FutureWarning")
def test_torchvision__auxiliary_heads_are_off_so_that_training_gives_logits() -> None:
    with torch.device("meta"):
        net = torchvision_classifier("googlenet", channels=1, outputs=1).train()
        assert net(torch.zeros(2, 1, 64, 64)).shape == (2, 1)


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "swin_t"])
def test_torchvision__dropout_is_before_the_head_and_keeps_the_names(name: str) -> None:
    with torch.device("meta"):
        plain = torchvision_classifier(name, channels=1, outputs=1)
        dropped = torchvision_classifier(name, channels=1, outputs=1, dropout=0.25)
    assert dropped.state_dict().keys() == plain.state_dict().keys()
    found = [module.p for path, module in dropped.named_modules() if hasattr(module, "p") and "features" not in path]
    assert set(found) == {0.25}


def test_torchvision__dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    head = torchvision_classifier("resnet18", channels=1, outputs=1, dropout=0.5).fc
    features = torch.randn(1, 512)
    assert not torch.equal(head(features), head(features))
    head.eval()
    assert torch.equal(head(features), nn.functional.linear(features, head.weight, head.bias))


def test_torchvision__a_file_fills_all_but_the_head(tmp_path: Path) -> None:
    colour = torchvision_classifier("resnet18", channels=3, outputs=10).eval()
    torch.save(colour.half().state_dict(), tmp_path / "resnet18.pth")
    grey = torchvision_classifier("resnet18", channels=1, outputs=1, weights=tmp_path / "resnet18.pth", dropout=0.5)
    colour.fc, grey.fc = nn.Identity(), nn.Identity()
    image = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        expected = colour.float()(image.expand(-1, 3, -1, -1))
        torch.testing.assert_close(grey.eval()(image), expected, atol=1e-4, rtol=1e-4)


def test_torchvision__weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(torchvision_classifier("mobilenet_v2", channels=3, outputs=9).state_dict(), tmp_path / "m.pth")
    with pytest.raises(WeightsError, match="fits 0 of 100 tensors of resnet18"):
        torchvision_classifier("resnet18", channels=1, outputs=1, weights=tmp_path / "m.pth")


def test_torchvision__default_without_network_gives_both_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(self: WeightsEnum, **_: object) -> NoReturn:
        raise URLError("Name or service not known")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", no_network)
    with pytest.raises(WeightsError, match=r"resnet18-\w+\.pth.*=PATH.*checkpoints.*model\.weights=none"):
        torchvision_classifier("resnet18", channels=1, outputs=1, weights="default")


def test_torchvision__default_is_loaded_and_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    colour = torchvision_classifier("resnet18", channels=3, outputs=1000)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, **_: colour.state_dict())
    grey = torchvision_classifier("resnet18", channels=1, outputs=1, weights="default")
    torch.testing.assert_close(grey.conv1.weight, colour.conv1.weight.sum(1, keepdim=True))


@pytest.mark.parametrize("weights", ["none", "None", None])
def test_torchvision__none_loads_nothing(weights: str, caplog: pytest.LogCaptureFixture) -> None:
    with torch.device("meta"), caplog.at_level("INFO", logger="pulmo"):
        torchvision_classifier("resnet18", channels=1, outputs=1, weights=weights)
    assert caplog.messages == []


@pytest.mark.parametrize("name", ["resnet19", "maskrcnn_resnet50_fpn"])
def test_torchvision__an_unknown_name_is_answered_with_those_alike(name: str) -> None:
    with pytest.raises(ConfigError, match=r"did you mean .*resnet"):
        torchvision_classifier(name, channels=1, outputs=1)
