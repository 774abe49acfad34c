"""A run that was interrupted in the midst of an epoch ends where one that was not ends: to the last bit, on the CPU."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback

from pulmo import interruption, run
from pulmo.interruption import Interrupted
from tests.conftest import SMALL

STAGES = ["finetune=head_then_last", "finetune.stages.0.epochs=2", "model.net.dropout=0.5"]
SPARSE = ["trainer.check_val_every_n_epoch=2", "callbacks.early_stopping=null"]


class Signal(Callback):
    """Sends SIGTERM to this process while it works on a batch of training, or of validation."""

    def __init__(self, epoch: int, batch: int, stage: str = "train") -> None:
        self.when = (stage, epoch, batch)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._send("train", trainer, batch_idx)

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, *rest: Any) -> None:
        self._send("val", trainer, batch_idx)

    def _send(self, stage: str, trainer: Any, batch_idx: int) -> None:
        if (stage, trainer.current_epoch, batch_idx) == self.when:
            os.kill(os.getpid(), signal.SIGTERM)


def _fit(config: DictConfig, folder: Path, *callbacks: Callback) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    experiment = run.build(config, folder)
    experiment.trainer.callbacks += list(callbacks)  # type: ignore[attr-defined]
    with interruption.handled():
        run.fit(experiment)
    return dict(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True))


SLOW = [pytest.param(when, marks=pytest.mark.slow) for when in ((0, 0), (2, 2), (1, 0, "val"))]


@pytest.mark.parametrize("when", [(1, 1), *SLOW], ids=str)
@pytest.mark.parametrize(
    "learning",
    [
        pytest.param(["optimizer=adamw", "scheduler=one_cycle", "model.net.dropout=0.5"], id="one-cycle-dropout"),
        pytest.param(["data.sampling=balanced", "model.loss.class_weights=balanced", *STAGES], id="staged-balanced"),
        pytest.param(["scheduler=step", "model.scheduler.warmup_epochs=1", "callbacks=ema"], id="step-ema"),
        pytest.param(["finetune=head", "augment=none", "model.net.dropout=0.5"], id="kept-features"),
        pytest.param(["data.num_workers=1", "scheduler=plateau", "model.scheduler.patience=0"], id="worker-plateau"),
        pytest.param(
            ["data.resident=true", "trainer.check_val_every_n_epoch=2", "callbacks.early_stopping=null"],
            id="resident-validated-each-other-epoch",
        ),
    ],
)
def test_interrupted__run_ends_at_the_same_weights_and_history(
    composed: Callable[..., DictConfig], tmp_path: Path, learning: list[str], when: tuple[Any, ...]
) -> None:
    overrides = [*SMALL, *learning, "trainer.max_epochs=4"]
    straight = _fit(composed(*overrides, folder=tmp_path / "straight"), tmp_path / "straight")
    folder = tmp_path / "cut"
    with pytest.raises(Interrupted) as stop:
        _fit(composed(*overrides, folder=folder), folder, Signal(*when))
    assert stop.value.code == 128 + signal.SIGTERM
    resumed = _fit(composed(*overrides, f"resume={folder}/checkpoints/last.ckpt", folder=folder), folder)
    assert resumed["epoch"] == straight["epoch"] == 3
    assert resumed["global_step"] == straight["global_step"]
    for name, weights in straight["state_dict"].items():
        assert torch.equal(weights, resumed["state_dict"][name]), name
    assert straight["pulmo"]["state"] == resumed["pulmo"]["state"]
    assert straight["lr_schedulers"] == resumed["lr_schedulers"]
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "straight" / "history.csv"), pd.read_csv(folder / "history.csv"), check_like=True
    )
