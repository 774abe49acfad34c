"""Heat maps against hand-written ones, and what they must leave alone."""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.unit.tasks import known_boxes
from torch import Tensor, nn, optim
from torch.nn import functional as F

from pulmo.errors import ConfigError
from pulmo.explanation.localisation import located
from pulmo.heatmaps import METHODS, HeatMaps, feature_maps
from pulmo.losses import ClassificationLoss
from pulmo.models.custom_cnn import CustomCNN
from pulmo.models.image_input import ImageInput
from pulmo.models.timm_classifier import timm_classifier
from pulmo.models.torchvision_classifier import torchvision_classifier
from pulmo.models.unext import UNeXt
from pulmo.tasks.classification import ClassificationTask
from pulmo.tasks.segmentation import SegmentationTask
from pulmo.thresholds import Fixed

SIZE = 32
SLOW = {"ablationcam", "scorecam"}


def classifier(net: Callable[..., nn.Module], channels: int = 1, **arguments: object) -> ClassificationTask:
    torch.manual_seed(0)
    return ClassificationTask(
        net=net,
        image=ImageInput(channels, [0.5] * channels, [0.25] * channels),
        class_names=arguments.pop("class_names", ("normal", "pneumonia")),  # type: ignore[arg-type]
        loss=ClassificationLoss(),
        optimizer=optim.Adam,
        threshold=Fixed(0.5),
        **arguments,
    ).eval()


def cnn(**arguments: object) -> ClassificationTask:
    return classifier(partial(CustomCNN, size=SIZE), **arguments)


def speaking() -> ClassificationTask:
    """A network in which every channel speaks for the positive class."""
    task = cnn()
    for layer in (task.net.head.hidden, task.net.head.output):  # type: ignore[union-attr]
        layer.weight.data.abs_()  # type: ignore[union-attr,operator]
    return task


def images(count: int = 3, size: int = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 1, size, size), generator=generator, dtype=torch.uint8)


class Corner(nn.Module):
    """Its logit is the brightness of the upper left quarter's quarter."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 2, 1, bias=False)
        self.features.weight.data[:] = torch.tensor([1.0, 0.0])[:, None, None, None]
        self.head = nn.Linear(SIZE * SIZE * 2, outputs)
        weight = torch.zeros(outputs, 2, SIZE, SIZE)
        weight[-1, 0, :8, :8] = 1
        self.head.weight.data = weight.flatten(1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image).flatten(1))


class Linear(nn.Module):
    """Mean of two maps of the image, weighted: its score is a sum over places."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.maps, self.head = nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.Linear(2, outputs, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.maps(image).mean((2, 3)))


def scaled(maps: Tensor) -> Tensor:
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / (1e-7 + maps.amax((1, 2), keepdim=True))


def by_hand(task: ClassificationTask, x: Tensor, sign: int = 1) -> npt.NDArray[np.float32]:
    """Selvaraju et al. 2017, equations 1 and 2, at the custom network's last convolution."""
    net = task.net
    block = net.features[2]  # type: ignore[index]
    maps = block.relu(block.conv(net.features[:2](task.image(x)))).detach().requires_grad_()  # type: ignore[index]
    (sign * net.head(block.pool(maps))[:, 0].sum()).backward()  # type: ignore[operator]
    weights = maps.grad.mean((2, 3), keepdim=True)
    heat = scaled(F.relu((weights * maps).sum(1)).detach())
    return scaled(F.interpolate(heat[:, None], size=(SIZE, SIZE), mode="bilinear")[:, 0]).numpy()


def test_gradcam__is_what_the_paper_says() -> None:
    task, x = cnn(), images()
    heat = HeatMaps(task)
    np.testing.assert_allclose(heat(x), by_hand(task, x), atol=1e-5)
    assert heat.feature_map((SIZE, SIZE)).name == "features.block3.relu"


def test_predicted__of_one_logit_below_nought_is_what_speaks_for_normal() -> None:
    task, x = cnn(), images()
    task.net.head.output.bias.data[:] = -9  # type: ignore[union-attr,index]
    np.testing.assert_allclose(HeatMaps(task, target="predicted")(x), by_hand(task, x, -1), atol=1e-5)


def test_softmax__explains_the_second_class_or_the_one_called() -> None:
    task, x = cnn(binary="softmax"), images()
    task.net.head.output.bias.data[:] = torch.tensor([9.0, 0.0])  # type: ignore[union-attr,index]
    positive, called = HeatMaps(task)(x), HeatMaps(task, target="predicted")(x)
    output = task.net.head.output  # type: ignore[union-attr]
    output.weight.data, output.bias.data = output.weight.data.flip(0), output.bias.data.flip(0)  # type: ignore[union-attr,operator]
    np.testing.assert_allclose(HeatMaps(task, target="predicted")(x), called, atol=1e-5)
    assert np.abs(positive - called).max() > 0.1


def test_gradcam__of_a_linear_network_is_each_places_share_of_the_score() -> None:
    task, x = classifier(Linear), images()
    exact = (task.net.head.weight.data @ task.net.maps(task.image(x)).detach().flatten(2))[:, 0]  # type: ignore[union-attr,operator]
    np.testing.assert_allclose(HeatMaps(task)(x), scaled(F.relu(exact.unflatten(1, (SIZE, SIZE)))).numpy(), atol=1e-5)


@pytest.mark.parametrize("method", sorted({"hirescam", "layercam", "elementwise"}))
def test_heat__of_a_network_that_sees_one_corner_is_there(method: str) -> None:
    x = images().clamp(min=160)  # brighter than the mean, so that every place of the corner speaks for the class
    heat = HeatMaps(classifier(Corner), method)(x)
    assert (heat[:, 8:].max(), heat[:, :, 8:].max()) == (0, 0)
    assert heat.max() == pytest.approx(1, abs=1e-5)
    corner, everywhere = np.zeros((SIZE, SIZE), bool), np.ones((SIZE, SIZE), bool)
    corner[:8, :8] = True
    for one in heat:
        figures = located(one, corner, everywhere)
        assert (figures["heat"], figures["points"]) == (1, 1)
        assert located(one, ~corner, everywhere)["heat"] == 0


@pytest.mark.parametrize("method", [method for method in METHODS if method not in SLOW])
def test_heat__is_between_nought_and_one(method: str) -> None:
    heat = HeatMaps(cnn(), method)(images())
    assert heat.shape == (3, SIZE, SIZE)
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    assert 0.99 < heat.max() <= 1


@pytest.mark.parametrize("method", sorted(SLOW))
def test_heat__of_slow_methods_is_quiet(method: str, capfd: pytest.CaptureFixture[str]) -> None:
    heat = HeatMaps(speaking(), method)(images(1))
    assert 0 <= heat.min() < heat.max() <= 1
    assert capfd.readouterr() == ("", "")


def test_ablationcam__of_an_image_called_normal_has_no_other_sign() -> None:
    task = speaking()
    heats, logit = [], float(task(images(1)).detach())
    for bias in (-logit - 1, 2):  # a logit of -1, then of 1
        task.net.head.output.bias.data += bias  # type: ignore[union-attr,index]
        heats.append(HeatMaps(task, "ablationcam")(images(1)))
    assert np.corrcoef(heats[0].ravel(), heats[1].ravel())[0, 1] > 0.9


def test_eigencam__is_warm_where_the_features_are_strong() -> None:
    x = torch.zeros((2, 1, SIZE, SIZE), dtype=torch.uint8) + 128
    x[0, 0, 4:12, 4:12], x[1, 0, 20:28, 20:28] = 255, 255
    heat = HeatMaps(classifier(Corner), "eigencam")(x)
    for image, place in zip(heat, (slice(4, 12), slice(20, 28)), strict=True):
        assert image[place, place].mean() > 0.9 > 0.1 > image[16, 16]


def test_heat__leaves_the_task_as_it_was_frozen_training_and_with_its_gradients() -> None:
    task, x = cnn(), images()
    task.requires_grad_(False)
    task.net.head.output.requires_grad_(True)  # type: ignore[union-attr]
    task.train()
    task(x).sum().backward()
    before = {name: (value.clone(), value.requires_grad) for name, value in task.named_parameters()}
    gradient = task.net.head.output.weight.grad.clone()  # type: ignore[union-attr]
    with torch.inference_mode():  # where Lightning tests
        heat = HeatMaps(task)(x.clone())
    assert heat.max() > 0.99
    assert task.training
    assert torch.equal(task.net.head.output.weight.grad, gradient)  # type: ignore[union-attr]
    for name, value in task.named_parameters():
        assert torch.equal(value, before[name][0])
        assert value.requires_grad == before[name][1]
    assert not any(module._forward_hooks for module in task.modules())


def test_heat__does_not_depend_on_whether_relus_write_in_place() -> None:
    task = classifier(partial(torchvision_classifier, "resnet18", channels=1))
    inplace = HeatMaps(task, "layercam", "layer3")(images(size=64))
    for module in task.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    np.testing.assert_array_equal(HeatMaps(task, "layercam", "layer3")(images(size=64)), inplace)


@pytest.mark.parametrize(
    ("net", "name", "layout"),
    [
        (partial(torchvision_classifier, "densenet121", channels=1), "features", "channels first"),
        (partial(torchvision_classifier, "squeezenet1_1", channels=1), "features", "channels first"),
        (partial(torchvision_classifier, "resnet18", channels=1), "layer4", "channels first"),
        (partial(timm_classifier, "convnext_atto", channels=1), "stages", "channels first"),
        (partial(timm_classifier, "swin_tiny_patch4_window7_224", channels=1, img_size=64), "norm", "channels last"),
        (partial(timm_classifier, "vit_tiny_patch16_224", channels=1, img_size=64), "blocks.11.norm1", "tokens"),
    ],
)
def test_layer__is_the_last_map_before_it_is_pooled(net: Callable[..., nn.Module], name: str, layout: str) -> None:
    task = classifier(net)
    heat = HeatMaps(task)
    found = heat.feature_map((64, 64))
    assert (found.name, found.layout) == (name, layout)
    assert heat(images(2, 64)).shape == (2, 64, 64)


def test_layer__of_another_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"layer block3 gives no map.*features\.block3\.relu \(128 × 8 × 8\)"):
        HeatMaps(cnn(), layer="block3")(images())


def test_method__of_another_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no method 'grad-cam'; there are gradcam,"):
        HeatMaps(cnn(), "grad-cam")


def test_detector__is_refused_by_what_it_is() -> None:
    with pytest.raises(ConfigError, match="a DetectionTask has no heat maps"):
        HeatMaps(known_boxes.task())


def test_segmentation__explains_the_pixels_that_it_draws() -> None:
    torch.manual_seed(0)
    task = SegmentationTask(
        net=partial(UNeXt, channels=1, widths=(8, 8, 16, 16, 16)),
        image=ImageInput(1, [0.5], [0.25]),
        class_names=("", ""),
        loss=nn.BCEWithLogitsLoss(),
        target="opacity",
        optimizer=optim.Adam,
        threshold=Fixed(0.5),
    ).eval()
    heat = HeatMaps(task)
    assert heat(images(2, 64)).shape == (2, 64, 64)
    assert heat.feature_map((64, 64)).height == 2  # the bottleneck, 1/32 of the image


def test_feature_maps__are_what_the_module_gives() -> None:
    task, x = cnn(), images()
    task.train()
    maps = feature_maps(task, x, "features.block1.conv")
    torch.testing.assert_close(maps, task.net.features.block1.conv(task.image(x)).detach())  # type: ignore[union-attr,operator]
    assert task.training
    with pytest.raises(ConfigError, match="no module conv1; it has features"):
        feature_maps(task, x, "conv1")
    with pytest.raises(ConfigError, match=r"head\.output gives no map"):
        feature_maps(task, x, "head.output")
