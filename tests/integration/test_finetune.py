"""Staged fine-tuning: what is frozen stays to the last bit, batch norm's statistics included."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback
from torch import Tensor

from pulmo import run
from pulmo.errors import ConfigError

RESNET = ["model=resnet18", "model.input.size=32", "data.batch_size=16", "strategy=cpu", "trainer.precision=32-true"]
STAGED = ["finetune=head_then_layer4", "finetune.stages.0.epochs=1", "trainer.max_epochs=2"]


def test_stages__frozen_blocks_and_their_statistics_do_not_move(
    composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    experiment = run.build(composed(*RESNET, *STAGED, folder=folder), folder)
    seen: list[dict[str, Tensor]] = [_copy(experiment.task.net.state_dict())]

    class Keep(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(_copy(pl_module.net.state_dict()))
            rates.append({group["name"]: group["lr"] for group in trainer.optimizers[0].param_groups})

    rates: list[dict[str, float]] = []
    experiment.trainer.callbacks.append(Keep())  # type: ignore[attr-defined]
    run.fit(experiment)
    assert _moved(seen[0], seen[1]) == {"fc"}
    assert _moved(seen[1], seen[2]) == {"fc", "layer4"}
    assert rates == [{"fc": 1e-3}, {"layer4": 1e-4, "fc": 1e-3}]


def test_stages__unknown_block_is_told_before_training(composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(ConfigError, match="no block 'layer9'; it has conv1, bn1"):
        run.build(composed(*RESNET, *STAGED, "finetune.stages.1.learn.1.block=layer9", folder=folder), folder)


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def _moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
