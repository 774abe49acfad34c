"""Every classifier of conf/model has a layer that heat maps can be taken from."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from pulmo import run
from pulmo.heatmaps import HeatMaps
from tests.contracts.test_conf import CLASSIFIERS

LAYERS = {
    "custom_cnn": "features.block3.relu",
    "mobilenet_v2": "features",
    "resnet18": "layer4",
    "resnet50": "layer4",
    "timm": "bn2",
    "torchvision": "features",
    "vgg16": "features.29",
}


@pytest.mark.parametrize("model", CLASSIFIERS)
def test_classifier__has_heat_from_its_last_map(
    composed: Callable[..., DictConfig], tmp_path: Path, model: str
) -> None:
    config = composed(f"model={model}", "model.input.size=64", "strategy=cpu")
    task = run.build(config, tmp_path).task.eval()
    heat = HeatMaps(task)
    maps = heat(torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8))
    if model in LAYERS:
        assert heat.feature_map((64, 64)).name == LAYERS[model]
    assert maps.shape == (2, 64, 64)
    assert 0 <= maps.min() <= maps.max() <= 1
