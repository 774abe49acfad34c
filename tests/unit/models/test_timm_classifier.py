from pathlib import Path
from typing import NoReturn
from urllib.error import URLError

import pytest
import timm
import torch

from pulmo.errors import ConfigError, WeightsError
from pulmo.models import timm_classifier as module
from pulmo.models.timm_classifier import timm_classifier

NAME = "mobilenetv3_small_050"


def test_timm__channels_outputs_and_dropout_are_as_asked() -> None:
    net = timm_classifier(NAME, channels=1, outputs=2, dropout=0.25).eval()
    with torch.no_grad():
        assert net(torch.zeros(2, 1, 64, 64)).shape == (2, 2)
    assert net.drop_rate == 0.25


def test_timm__a_file_fills_all_but_the_head_and_folds(tmp_path: Path) -> None:
    colour = timm.create_model(NAME, num_classes=10).eval()
    torch.save(colour.state_dict(), tmp_path / "net.pth")
    grey = timm_classifier(NAME, channels=1, outputs=1, weights=tmp_path / "net.pth").eval()
    image = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        expected = colour.forward_features(image.expand(-1, 3, -1, -1))
        torch.testing.assert_close(grey.forward_features(image), expected, atol=1e-4, rtol=1e-4)


def test_timm__both_heads_of_a_distilled_network_may_be_of_another_size(tmp_path: Path) -> None:
    given = timm.create_model("levit_128s", num_classes=10).state_dict()
    torch.save(given, tmp_path / "net.pth")
    net = timm_classifier("levit_128s", channels=3, outputs=1, weights=tmp_path / "net.pth")
    assert torch.equal(net.stem.conv1.linear.weight, given["stem.conv1.linear.weight"])


def test_timm__default_in_the_hubs_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> NoReturn:
        raise AssertionError("asked the network")

    colour = timm.create_model(NAME)
    torch.save(colour.state_dict(), tmp_path / "pytorch_model.bin")
    monkeypatch.setattr(module, "try_to_load_from_cache", lambda *_, **__: str(tmp_path / "pytorch_model.bin"))
    monkeypatch.setattr(module, "urlopen", no_network)
    grey = timm_classifier(NAME, channels=1, outputs=1, weights="default")
    torch.testing.assert_close(grey.conv_stem.weight, colour.conv_stem.weight.sum(1, keepdim=True))
    whole = timm_classifier(NAME, channels=3, outputs=1000, weights="default")
    assert torch.equal(whole.classifier.weight, colour.classifier.weight)


def test_timm__default_without_network_fails_at_once_with_both_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> NoReturn:
        raise URLError("Name or service not known")

    monkeypatch.setattr(module, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(module, "urlopen", no_network)
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("started the download all the same"))
    with pytest.raises(WeightsError, match=rf"timm/{NAME}.*no network.*=PATH.*model\.weights=none"):
        timm_classifier(NAME, channels=1, outputs=1, weights="default")


def test_timm__a_network_without_published_weights_says_so() -> None:
    with pytest.raises(WeightsError, match=r"no weights of efficientnet_b8; give model\.weights=none"):
        timm_classifier("efficientnet_b8", channels=1, outputs=1, weights="default")


def test_timm__unknown_names_tags_and_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"did you mean .*efficientnet_b0"):
        timm_classifier("eficientnet_b0", channels=1, outputs=1)
    with pytest.raises(ConfigError, match=r"no weights 'imagenet' of resnet18; it has .*a1_in1k"):
        timm_classifier("resnet18.imagenet", channels=1, outputs=1)
    with pytest.raises(ConfigError, match="img_size"):
        timm_classifier("resnet18", channels=1, outputs=1, img_size=96)
