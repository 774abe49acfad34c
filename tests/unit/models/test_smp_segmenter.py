from pathlib import Path
from typing import NoReturn
from urllib.error import URLError

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
from torch import nn

from pulmo.errors import ConfigError, WeightsError
from pulmo.models import timm_classifier
from pulmo.models.smp_segmenter import smp_segmenter

LITTLE = "tu-mobilenetv3_small_050"
THIN = {"decoder_channels": (32, 16, 8, 8, 8)}


def saved(path: Path, net: nn.Module, prefix: str = "") -> Path:
    torch.save({"state_dict": {prefix + key: value for key, value in net.state_dict().items()}}, path)
    return path


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise URLError("Name or service not known")

    monkeypatch.setattr(timm_classifier, "urlopen", fail)
    monkeypatch.setattr(timm_classifier, "try_to_load_from_cache", lambda *_, **__: None)


@pytest.mark.parametrize("architecture", sorted(set(smp.MODEL_ARCHITECTURES_MAPPING) - {"dpt"}))
def test_smp__logit_maps_are_as_large_as_the_image_in_every_architecture(architecture: str) -> None:
    net = smp_segmenter(architecture, LITTLE, channels=1, outputs=2).to("meta")
    assert net(torch.zeros(2, 1, 128, 160, device="meta")).shape == (2, 2, 128, 160)


def test_smp__a_vision_transformer_goes_with_dpt() -> None:
    sizes = {"decoder_intermediate_channels": (8, 8, 8, 8), "decoder_fusion_channels": 8, "img_size": 32}
    net = smp_segmenter("DPT", "tu-vit_tiny_patch16_224", channels=1, outputs=2, **sizes).eval()
    with torch.no_grad():
        assert net(torch.randn(1, 1, 32, 32)).shape == (1, 2, 32, 32)


def test_smp__gradients_reach_every_parameter() -> None:
    net = smp_segmenter("Unet", LITTLE, channels=1, outputs=1, **THIN)
    net(torch.randn(2, 1, 96, 96)).square().mean().backward()
    missed = [name for name, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert missed == []


def test_smp__a_size_that_the_network_cannot_halve_is_refused_with_the_next_one_up() -> None:
    image = torch.zeros(1, 1, 64, 72)
    with pytest.raises(ConfigError, match=r"64×72.*multiples of 32.*model\.input\.size=96"):
        smp_segmenter("FPN", LITTLE, channels=1, outputs=1)(image)
    with torch.no_grad():  # the library's Unet resizes to its skips
        assert smp_segmenter("Unet", LITTLE, channels=1, outputs=1, **THIN).eval()(image).shape == image.shape


def test_smp__a_file_of_the_encoder_with_its_classifier_fills_it_and_folds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    colour = torchvision.models.resnet18().half()
    with caplog.at_level("INFO", logger="pulmo"):
        net = smp_segmenter(
            "Unet", "resnet18", channels=1, outputs=1, weights=saved(tmp_path / "r.pth", colour), **THIN
        )
    assert "100 of 100 tensors of resnet18" in caplog.text
    colour, image = colour.float().eval(), torch.randn(1, 1, 64, 64)
    trunk = nn.Sequential(*list(colour.children())[:-2])
    with torch.no_grad():
        expected = trunk(image.expand(-1, 3, -1, -1))
        torch.testing.assert_close(net.eval().encoder(image)[-1], expected, atol=1e-4, rtol=1e-4)


def test_smp__a_classifiers_dense_layers_do_not_make_a_file_another_networks(tmp_path: Path) -> None:
    given = timm.create_model(LITTLE.removeprefix("tu-")).state_dict()
    dense = {f"classifier.{index}.weight": torch.ones(1) for index in range(50)}  # VGG's are 6 of 32 tensors
    torch.save(given | dense, tmp_path / "net.pth")
    net = smp_segmenter("Unet", LITTLE, channels=3, outputs=1, weights=tmp_path / "net.pth", **THIN)
    assert torch.equal(net.encoder.model.conv_stem.weight, given["conv_stem.weight"])


@pytest.mark.parametrize(
    ("encoder", "key"), [("tu-convnext_atto", "stem_0.weight"), ("tu-efficientformer_l1", "model.stem.conv1.weight")]
)
def test_smp__a_file_of_timm_fills_its_features_whatever_timm_calls_them(
    encoder: str, key: str, tmp_path: Path
) -> None:
    colour = timm.create_model(encoder.removeprefix("tu-"), num_classes=7)
    file = saved(tmp_path / "timm.pth", colour)
    net = smp_segmenter("FPN", encoder, channels=1, outputs=1, weights=file)
    published = colour.state_dict()[key.removeprefix("model.").replace("_0", ".0")]
    torch.testing.assert_close(net.encoder.model.state_dict()[key], published.sum(1, keepdim=True))


def test_smp__densenets_oldest_names_are_understood(tmp_path: Path) -> None:
    given = smp.encoders.get_encoder("densenet121").state_dict()
    old = {key.replace("norm1", "norm.1").replace("conv2", "conv.2"): value for key, value in given.items()}
    torch.save(old, tmp_path / "densenet121.pth")
    net = smp_segmenter("FPN", "densenet121", channels=3, outputs=1, weights=tmp_path / "densenet121.pth")
    filled = net.encoder.state_dict()
    assert all(torch.equal(filled[key], value) for key, value in given.items())


def test_smp__a_whole_segmenter_gives_the_same_logits_on_grey(tmp_path: Path) -> None:
    earlier = smp_segmenter("Unet", LITTLE, channels=3, outputs=1, **THIN).eval()
    file = saved(tmp_path / "run.ckpt", earlier, prefix="net.")
    again = smp_segmenter("Unet", LITTLE, channels=1, outputs=1, weights=file, **THIN).eval()
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(again(image), earlier(image.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["FPN", "Segformer"])
def test_smp__a_head_of_another_size_is_left_out_and_said(
    architecture: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = saved(tmp_path / "run.pt", smp_segmenter(architecture, LITTLE, channels=1, outputs=1))
    with caplog.at_level("INFO", logger="pulmo"):
        smp_segmenter(architecture, LITTLE, channels=1, outputs=2, weights=file)
    assert "left out: segmentation_head.0.weight (1→2), segmentation_head.0.bias (1→2)" in caplog.text
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_smp__weights_of_another_encoder_or_architecture_are_refused(tmp_path: Path) -> None:
    file = saved(tmp_path / "m.pth", timm.create_model(LITTLE.removeprefix("tu-")))
    with pytest.raises(WeightsError, match=r"fits 0 of .* tensors of resnet18"):
        smp_segmenter("Unet", "resnet18", channels=1, outputs=1, weights=file, **THIN)
    file = saved(tmp_path / "unet.pt", smp_segmenter("Unet", LITTLE, channels=1, outputs=1, **THIN))
    with pytest.raises(WeightsError, match=r"tensors of UnetPlusPlus on tu-mobile"):
        smp_segmenter("UnetPlusPlus", LITTLE, channels=1, outputs=1, weights=file, **THIN)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("encoder", "download"),
    [("resnet18", r"smp-hub/resnet18\.imagenet --revision \w+"), (LITTLE, r"timm/mobilenetv3_small_050\.\w+")],
)
def test_smp__default_without_network_fails_at_once_with_both_remedies(encoder: str, download: str) -> None:
    with pytest.raises(WeightsError, match=rf"no network.*=PATH.*`hf download {download}`.*model\.weights=none"):
        smp_segmenter("Unet", encoder, channels=1, outputs=1, weights="default", **THIN)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_smp__default_in_the_hubs_cache_needs_no_network_and_is_folded(
    channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    colour = smp.encoders.get_encoder("resnet18").state_dict()
    save_file(colour, tmp_path / "model.safetensors")
    cached = str(tmp_path / "model.safetensors")
    monkeypatch.setattr(timm_classifier, "try_to_load_from_cache", lambda *_, **__: cached)
    monkeypatch.setattr(smp.encoders, "hf_hub_download", lambda *_, **__: cached)
    net = smp_segmenter("Unet", "resnet18", channels=channels, outputs=1, weights="default", **THIN)
    weight = net.encoder.conv1.weight
    assert weight.shape[1] == channels
    torch.testing.assert_close(weight.sum(1), colour["conv1.weight"].sum(1))  # grey means the same as ever
    assert torch.equal(net.encoder.layer4[1].conv2.weight, colour["layer4.1.conv2.weight"])


@pytest.mark.usefixtures("no_network")
def test_smp__timms_default_in_the_hubs_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colour = timm.create_model(LITTLE.removeprefix("tu-"))
    torch.save(colour.state_dict(), tmp_path / "pytorch_model.bin")
    monkeypatch.setattr(timm_classifier, "try_to_load_from_cache", lambda *_, **__: str(tmp_path / "pytorch_model.bin"))
    net = smp_segmenter("Unet", LITTLE, channels=1, outputs=1, weights="default", **THIN)
    torch.testing.assert_close(net.encoder.model.conv_stem.weight, colour.conv_stem.weight.sum(1, keepdim=True))


def test_smp__an_encoder_that_nobody_trained_says_so() -> None:
    with pytest.raises(WeightsError, match=r"no weights of tu-efficientnet_b8; give model\.weights=none"):
        smp_segmenter("Unet", "tu-efficientnet_b8", channels=1, outputs=1, weights="default", **THIN)


@pytest.mark.parametrize(
    ("architecture", "encoder", "near"),
    [
        ("Unett", "resnet18", "unet"),
        ("DeepLab", "resnet18", "deeplabv3plus"),
        ("Unet", "resnet5", "resnet50"),
        ("Unet", "tu-convnext_tiney", "tu-convnext_tiny"),
    ],
)
def test_smp__an_unknown_name_is_answered_with_those_alike(architecture: str, encoder: str, near: str) -> None:
    with pytest.raises(ConfigError, match=rf"did you mean .*{near}"):
        smp_segmenter(architecture, encoder, channels=1, outputs=1)


@pytest.mark.parametrize(
    ("architecture", "encoder", "arguments", "told"),
    [
        ("Unet", "resnet18", {"dropuot": 0.1}, "takes no dropuot; it takes .*decoder_channels"),
        ("Unet", "resnet18", {"activation": "sigmoid"}, "takes no activation"),
        ("Unet", LITTLE, {"aux_params": {"classes": 2}}, "takes no aux_params"),
        ("Unet", LITTLE, {"img_size": 64}, "can't be built so: .*img_size"),
        ("Unet", "tu-vit_tiny_patch16_224", {}, "can't be built so: .*downsampling"),
        (
            "Unet",
            "tu-resnet18.imagenet",
            {"weights": "default"},
            "no weights 'imagenet' of tu-resnet18; it has .*a1_in1k",
        ),
        ("Unet", "resnet18", {"encoder_depth": 9}, "can't be built so: .*depth"),
    ],
)
def test_smp__arguments_that_do_not_fit_are_refused(
    architecture: str, encoder: str, arguments: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        smp_segmenter(architecture, encoder, channels=1, outputs=1, **arguments)
