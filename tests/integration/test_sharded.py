"""FSDP on two CPU processes: what it learns is what one process learns, and its checkpoint is one file for anybody.

Lightning keeps its FSDP from CPUs, but not ours: torch can do it by gloo, slowly.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning.trainer.states import TrainerFn

from pulmo import run
from pulmo.callbacks.checkpoint import AtomicCheckpoints
from pulmo.errors import ConfigError, MissingExtraError
from pulmo.sharded import OneFileDeepSpeed
from pulmo.tasks.base import Task
from tests.conftest import SMALL, command_line

TRAIN = Path(__file__).parents[2] / "train.py"
ON_CPU = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.sync_batchnorm=false"]
FSDP = ["strategy=fsdp", *ON_CPU, "+trainer.strategy.process_group_backend=gloo"]
BLOCKS = ["trainer.strategy.auto_wrap_policy.min_num_params=50000"]  # two of the small network


@pytest.mark.slow
def test_fsdp__learns_as_one_process_does_and_leaves_a_whole_checkpoint(
    composed: Callable[..., DictConfig], phantoms: Path, tmp_path: Path
) -> None:
    folder, alone = tmp_path / "sharded", tmp_path / "alone"
    places = [f"data.root={phantoms / 'rsna'}", f"data.cache_dir={tmp_path / 'cache'}", f"run_dir={folder}"]
    net = ["model.net.dropout=0", "trainer.gradient_clip_val=0.05", "optimizer=sgd", "trainer.max_epochs=2"]
    _train(*SMALL, *FSDP, *BLOCKS, *net, "trainer.limit_train_batches=1", *places, cwd=tmp_path)
    steps = ["strategy.effective_batch=16", "trainer.limit_train_batches=2"]
    run.train(composed(*SMALL, *net, *steps, folder=alone), alone, [])
    sharded, whole = (torch.load(path / "checkpoints" / "last.ckpt", weights_only=True) for path in (folder, alone))
    torch.testing.assert_close(sharded["state_dict"], whole["state_dict"], atol=1e-6, rtol=1e-4)
    assert Task.load_from_checkpoint(folder / "checkpoints" / "best.ckpt").threshold is not None
    last = f"resume={folder / 'checkpoints' / 'last.ckpt'}"  # goes on in one process, then again in shares
    run.train(composed(*SMALL, *net, *steps, "trainer.max_epochs=3", last, folder=folder), folder, [])
    _train(
        *SMALL,
        *FSDP,
        *BLOCKS,
        *net,
        "trainer.limit_train_batches=1",
        *places,
        last,
        "trainer.max_epochs=4",
        cwd=tmp_path,
    )
    assert pd.read_csv(folder / "history.csv")["epoch"].tolist() == [0, 1, 2, 3]
    further = ["trainer.max_epochs=4", f"resume={alone / 'checkpoints' / 'last.ckpt'}"]
    run.train(composed(*SMALL, *net, *steps, *further, folder=alone), alone, [])
    sharded, whole = (torch.load(path / "checkpoints" / "last.ckpt", weights_only=True) for path in (folder, alone))
    torch.testing.assert_close(sharded["state_dict"], whole["state_dict"], atol=1e-6, rtol=1e-4)


SYNCHRONISED = """
import sys
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader
from pulmo.sharded import ShardedStrategy

nn.SyncBatchNorm.forward = nn.BatchNorm2d.forward  # in training, torch's own wants a GPU


class Small(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(1))
        self.net(torch.rand(2, 1, 8, 8))

    def training_step(self, batch, index):
        return self.net(batch).square().mean()

    def validation_step(self, batch, index):
        self.log("loss", self.training_step(batch, index), sync_dist=True)

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.net.parameters(), lr=0.01)


torch.manual_seed(0)
task = Small()
images = DataLoader(torch.rand(1, 1, 8, 8).repeat(8, 1, 1, 1), batch_size=2)  # the same for both processes
quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
strategy = ShardedStrategy(process_group_backend="gloo")
trainer = Trainer(
    accelerator="cpu", devices=2, strategy=strategy, sync_batchnorm=True, max_epochs=1, num_sanity_val_steps=0, **quiet
)
trainer.fit(task, images, images)
within = float(trainer.callback_metrics["loss"])
trainer.save_checkpoint(sys.argv[1])
for after in (trainer.validate(task, images), trainer.test(task, images, ckpt_path=sys.argv[1])):
    assert after == [{"loss": within}], (after, within)
assert isinstance(task.net.module[1], nn.SyncBatchNorm)
"""


@pytest.mark.slow
def test_fsdp__synchronised_norms_are_validated_and_tested_after_the_training(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SYNCHRONISED)
    _run(script, str(tmp_path / "small.ckpt"), cwd=tmp_path)


@pytest.mark.parametrize(
    ("override", "said"),
    [("finetune=head", "take finetune=full alone"), ("callbacks=ema", "take callbacks=default alone")],
)
def test_fsdp__what_shares_cannot_do_is_refused(
    composed: Callable[..., DictConfig], tmp_path: Path, override: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        run.build(composed(*SMALL[:3], *FSDP, override), tmp_path)


def test_deepspeed__detector_in_lowered_precision_is_refused(
    composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    overrides = ["model=faster_rcnn", "model.input.size=64", "strategy=deepspeed", *ON_CPU]
    with pytest.raises(ConfigError, match=r"no detector in trainer\.precision=bf16-mixed: choose strategy=ddp"):
        run.build(composed(*overrides, "trainer.precision=bf16-mixed"), tmp_path)


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed"])
def test_sharding__needs_a_gpu(composed: Callable[..., DictConfig], tmp_path: Path, strategy: str) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(ConfigError, match="this machine has no GPU that torch can see"):
        run.build(composed(*SMALL[:3], f"strategy={strategy}"), tmp_path)


def test_deepspeed__is_an_extra(
    composed: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulmo.sharded.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pulmo\[deepspeed\]'"):
        run.build(composed(*SMALL[:3], "strategy=deepspeed", *ON_CPU), tmp_path)


def test_deepspeed__stage_3_is_refused_since_its_weights_are_in_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulmo.sharded.importlib.util.find_spec", lambda name: object())
    with pytest.raises(ConfigError, match="strategy=fsdp"):
        OneFileDeepSpeed(stage=3)


class Engine:
    """In DeepSpeed's place: an engine that is killed when it has written one of its two files."""

    killed = False

    def save_checkpoint(self, folder: str, client_state: dict[str, Any], tag: str, **_: Any) -> None:
        shares = Path(folder) / tag
        shares.mkdir(parents=True, exist_ok=True)
        torch.save(client_state["epoch"], shares / "0.pt")
        if self.killed:
            raise KeyboardInterrupt
        torch.save(client_state["epoch"], shares / "1.pt")

    def load_checkpoint(self, folder: str, **_: Any) -> tuple[None, dict[str, Any]]:
        epochs = [torch.load(path) for path in sorted((Path(folder) / "checkpoint").iterdir())]
        assert len(epochs) == 2
        assert epochs[0] == epochs[1]
        return None, {"epoch": epochs[0]}


@pytest.fixture
def deepspeed(monkeypatch: pytest.MonkeyPatch) -> OneFileDeepSpeed:
    monkeypatch.setattr("pulmo.sharded.importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("pytorch_lightning.strategies.deepspeed._DEEPSPEED_AVAILABLE", True)
    monkeypatch.setattr("pytorch_lightning.strategies.deepspeed._DEEPSPEED_GREATER_EQUAL_0_16", True)
    monkeypatch.setitem(sys.modules, "deepspeed", MagicMock())
    strategy = OneFileDeepSpeed()
    strategy.checkpoint_io = AtomicCheckpoints()
    fitting = SimpleNamespace(state=SimpleNamespace(fn=TrainerFn.FITTING))
    strategy._lightning_module = SimpleNamespace(trainer=fitting, strict_loading=True)  # type: ignore[assignment]
    strategy.model = Engine()  # type: ignore[assignment]
    return strategy


def test_deepspeed__kill_while_shares_are_written_leaves_the_old_ones(
    deepspeed: OneFileDeepSpeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    deepspeed.save_checkpoint(_checkpoint(1), path)
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "killed", True)
        with pytest.raises(KeyboardInterrupt):
            deepspeed.save_checkpoint(_checkpoint(2), path)
    assert deepspeed.load_checkpoint(path) == {"epoch": 1}
    assert torch.load(path, weights_only=True)["epoch"] == 1
    deepspeed.save_checkpoint(_checkpoint(3), path)
    assert deepspeed.load_checkpoint(path) == {"epoch": 3}
    assert sorted(found.name for found in tmp_path.iterdir()) == ["last.ckpt", "last.shards"]


@pytest.mark.parametrize("goes_on", ["with the training", "with the next checkpoint"])
def test_deepspeed__kill_between_two_names_leaves_the_old_shares(
    deepspeed: OneFileDeepSpeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goes_on: str
) -> None:
    path, rename = tmp_path / "last.ckpt", Path.rename
    deepspeed.save_checkpoint(_checkpoint(1), path)

    def until_the_second(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", until_the_second)
        with pytest.raises(KeyboardInterrupt):
            deepspeed.save_checkpoint(_checkpoint(2), path)
    if goes_on == "with the next checkpoint":
        monkeypatch.setattr(Engine, "killed", True)
        with pytest.raises(KeyboardInterrupt):
            deepspeed.save_checkpoint(_checkpoint(3), path)
    assert deepspeed.load_checkpoint(path) == {"epoch": 1}


def _checkpoint(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "state_dict": {"weight": torch.ones(1)}, "optimizer_states": []}


def _train(*arguments: str, cwd: Path) -> None:
    _run(TRAIN, *command_line(*arguments), cwd=cwd)


def _run(script: Path, *arguments: str, cwd: Path) -> None:
    alike = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, script, *arguments]
    finished = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=alike)
    assert finished.returncode == 0, finished.stderr
