"""Features of a frozen network are computed once, and nothing else changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback
from torch import Tensor, nn

from pulmo import run
from pulmo.run import Experiment

HEAD = ["model=resnet18", "model.input.size=32", "data.batch_size=8", "strategy=cpu", "trainer.precision=32-true"]
HEAD += ["finetune=head", "augment=none", "trainer.max_epochs=3", "logger=csv", "model.optimizer.lr=0.01"]
OFF = "callbacks.frozen_features.memory_gib=0"


class Count(Callback):
    """Counts images through the first convolution, by epoch and whether the network was training."""

    def __init__(self, net: nn.Module) -> None:
        self.seen: list[int] = []
        self.losses: list[float] = []
        net.get_submodule("conv1").register_forward_hook(lambda _, inputs, __: self._add(len(inputs[0])))

    def _add(self, images: int) -> None:
        self.seen[-1] += images

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.seen.append(0)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.losses.append(float(trainer.callback_metrics["val/loss"]))


@pytest.fixture
def fitted(composed: Callable[..., DictConfig], tmp_path: Path) -> Callable[..., tuple[Experiment, Count]]:
    def fit(*overrides: str, name: str) -> tuple[Experiment, Count]:
        folder = tmp_path / name
        folder.mkdir()
        experiment = run.build(composed(*HEAD, *overrides, folder=folder), folder)
        count = Count(experiment.task.net)
        experiment.trainer.callbacks.insert(0, count)  # type: ignore[attr-defined]
        run.fit(experiment)
        return experiment, count

    return fit


def _head(experiment: Experiment) -> Tensor:
    weight = experiment.task.net.get_submodule("fc").weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def test_features__are_computed_in_the_first_epoch_alone(fitted: Callable[..., tuple[Experiment, Count]]) -> None:
    kept, count = fitted(name="kept")
    plain, plain_count = fitted(OFF, name="plain")
    images = sum(len(kept.datamodule.rows_of(split)) for split in ("train", "val"))
    assert count.seen[0] >= images - 1  # a last batch of one is dropped
    assert count.seen[1:] in ([0, 0], [8, 0])  # of the second epoch what the first one dropped
    assert all(seen >= images - 1 for seen in plain_count.seen)
    assert count.losses == pytest.approx(plain_count.losses, rel=1e-4)
    torch.testing.assert_close(_head(kept), _head(plain), atol=1e-5, rtol=1e-3)


def test_features__of_validation_are_kept_where_training_is_augmented(
    fitted: Callable[..., tuple[Experiment, Count]],
) -> None:
    kept, count = fitted("augment=light", name="kept")
    train, val = (len(kept.datamodule.rows_of(split)) for split in ("train", "val"))
    assert count.seen[0] >= train + val
    assert all(train - 1 <= seen <= train for seen in count.seen[1:])


def test_features__are_forgotten_when_more_of_the_network_learns(
    fitted: Callable[..., tuple[Experiment, Count]],
) -> None:
    stages = ["finetune=head_then_all", "finetune.stages.0.epochs=2"]
    kept, count = fitted(*stages, name="kept")
    assert count.seen[1] <= 8
    assert count.seen[2] >= sum(len(kept.datamodule.rows_of(split)) for split in ("train", "val")) - 1
    plain, _ = fitted(*stages, OFF, name="plain")
    torch.testing.assert_close(_head(kept), _head(plain), atol=1e-4, rtol=1e-2)


def test_features__of_a_network_with_dropout_before_its_head_are_not_kept(
    fitted: Callable[..., tuple[Experiment, Count]], monkeypatch: pytest.MonkeyPatch
) -> None:
    build = run.build

    def with_dropout(config: DictConfig, folder: Path) -> Experiment:
        experiment = build(config, folder)
        experiment.task.net.set_submodule("avgpool", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Dropout(0.5)))
        return experiment

    monkeypatch.setattr(run, "build", with_dropout)
    experiment, count = fitted(name="dropout")
    images = sum(len(experiment.datamodule.rows_of(split)) for split in ("train", "val"))
    assert all(seen >= images - 1 for seen in count.seen)


def test_features__a_resumed_run_ends_with_the_same_weights(
    composed: Callable[..., DictConfig], fitted: Callable[..., tuple[Experiment, Count]], tmp_path: Path
) -> None:
    dropping = ["model=mobilenet_v2", "trainer.max_epochs=2"]  # its head drops at random

    def head(*overrides: str, name: str) -> Tensor:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        experiment = run.build(composed(*HEAD, *dropping, *overrides, folder=folder), folder)
        run.fit(experiment)
        return experiment.task.net.get_submodule("classifier.1").weight.detach()  # type: ignore[union-attr,return-value]

    uncut = head(name="uncut")
    head("trainer.max_epochs=1", name="cut")
    resumed = head(f"resume={tmp_path / 'cut/checkpoints/last.ckpt'}", name="cut")
    torch.testing.assert_close(resumed, uncut, atol=1e-6, rtol=1e-5)


def test_features__of_averaged_weights_are_not_kept_for_validation(
    fitted: Callable[..., tuple[Experiment, Count]],
) -> None:
    kept, count = fitted("augment=light", "callbacks=ema", name="averaged")
    images = sum(len(kept.datamodule.rows_of(split)) for split in ("train", "val"))
    assert all(seen >= images - 1 for seen in count.seen)


def test_features__that_take_too_much_are_kept_of_validation_alone(
    fitted: Callable[..., tuple[Experiment, Count]],
) -> None:
    # 512 float32 of 32 images are 64 KiB, of the four of validation alone 8 KiB.
    kept, count = fitted("callbacks.frozen_features.memory_gib=2e-5", name="kept")
    train, val = (len(kept.datamodule.rows_of(split)) for split in ("train", "val"))
    assert (train + val) * 2048 > 2e-5 * 2**30 > val * 2048
    assert all(train - 1 <= seen <= train for seen in count.seen[1:])


@pytest.mark.parametrize("block", ["not called", "norm in the block"])
def test_features__of_a_block_that_is_not_simple_are_not_kept(
    fitted: Callable[..., tuple[Experiment, Count]], monkeypatch: pytest.MonkeyPatch, block: str
) -> None:
    build = run.build

    def changed(config: DictConfig, folder: Path) -> Experiment:
        experiment = build(config, folder)
        net = experiment.task.net
        old = net.get_submodule("fc")
        if block == "not called":
            net.set_submodule("fc", nn.ModuleList([old]))
            monkeypatch.setattr(type(net), "forward", lambda self, image: self.fc[0](_before_head(self, image)))
        else:
            net.set_submodule("fc", nn.Sequential(nn.BatchNorm1d(512), old))
        return experiment

    monkeypatch.setattr(run, "build", changed)
    experiment, count = fitted(name="odd")
    images = sum(len(experiment.datamodule.rows_of(split)) for split in ("train", "val"))
    assert all(seen >= images - 1 for seen in count.seen)


def _before_head(net: Any, image: Tensor) -> Tensor:
    stem = net.maxpool(net.relu(net.bn1(net.conv1(image))))
    return torch.flatten(net.avgpool(net.layer4(net.layer3(net.layer2(net.layer1(stem))))), 1)
