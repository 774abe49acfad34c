"""How near whole epochs of `train.py` come to the network's own speed, and what the usual way reaches."""

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from pytorch_lightning import Callback, LightningModule, Trainer

from pulmo import run
from pulmo.callbacks.finetune import freeze_others
from pulmo.data.datamodule import ChestDataModule
from pulmo.execution import Execution
from pulmo.launch import CONF
from pulmo.tasks.base import Task
from pulmo.types import Batch

STEPS = 6


class EpochClock(Callback):
    """Seconds of each whole epoch: from its first step, over validation and checkpoints, to the next one's."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark."""
        self._mark(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark the last epoch's end."""
        self._mark(pl_module)

    def _mark(self, module: LightningModule) -> None:
        _wait(module.device)
        self.marks.append(time.perf_counter())


class StopAtFirstStep(Callback):
    """Ends the process behind its first training step."""

    def on_train_batch_end(self, *_: Any) -> None:
        """End, without what Python does at exit."""
        os._exit(0)


@dataclass(frozen=True)
class Epochs:
    """Images/s of whole epochs after the first, and of the network alone on the same numbers of images."""

    rate: float
    ceiling: float
    train_ceiling: float  # training steps alone, no validation

    @property
    def share(self) -> float:
        """What of the network's own speed is reached."""
        return self.rate / self.ceiling


def compose(overrides: list[str], folder: Path) -> DictConfig:
    """The configuration of a run in `folder`."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", [*overrides, f"run_dir={folder}"], return_hydra_config=True)
    with open_dict(config):
        config.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(config.copy())
        del config["hydra"]
    return config


def task_of(config: DictConfig) -> Task:
    """The task alone, with two classes."""
    node = OmegaConf.to_container(config.model.task, resolve=True)
    task: Task = instantiate(node, class_names=["normal", "pneumonia"])
    return task


def data_of(config: DictConfig) -> ChestDataModule:
    """The data module alone."""
    data: ChestDataModule = instantiate(OmegaConf.to_container(config.data, resolve=True))
    return data


def execution_of(config: DictConfig) -> Execution:
    """Layout and allocator, as `strategy` has them."""
    execution: Execution = instantiate(OmegaConf.to_container(config.strategy, resolve=True))
    return execution


def random_batch(task: Task, size: int, batch_size: int) -> Batch:
    """Noise, of which no network's speed depends."""
    image = torch.randint(0, 256, (batch_size, 1, size, size), dtype=torch.uint8)
    return Batch(image=image, row=torch.arange(batch_size))


def epochs(overrides: list[str], steps: int = STEPS) -> Epochs:
    """Fit by `overrides` (at least two epochs) between two measurements of the ceiling."""
    with tempfile.TemporaryDirectory() as folder:
        experiment = run.build(compose(overrides, Path(folder)), Path(folder))
        clock = EpochClock()
        experiment.trainer.callbacks.append(clock)  # type: ignore[attr-defined]
        run.fit(experiment)
        trainer, data = experiment.trainer, experiment.datamodule
        batch_size = experiment.config.data.batch_size
        taken = min(trainer.num_training_batches * batch_size, len(data.rows_of("train")))
        evaluated = min(int(sum(trainer.num_val_batches)) * batch_size, len(data.rows_of("val")))
        seconds = min(later - earlier for earlier, later in zip(clock.marks[1:], clock.marks[2:], strict=False))
        train, forward = ceilings(experiment.task, experiment.config, data.samples("train", range(batch_size)), steps)
    return Epochs(taken / seconds, taken / (taken / train + evaluated / forward), train)


def ceilings(task: Task, config: DictConfig, batch: Batch, steps: int) -> tuple[float, float]:
    """Images/s of training steps, and of evaluating forwards, of the network alone on a batch that lies ready."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task.to(device)
    images = batch["image"].to(device)
    precision = config.trainer.precision
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float16
    autocast = torch.autocast(device.type, dtype, enabled=precision != "32-true")
    optimizer = task.optimizer([{"params": list(task.net.parameters())}])
    freeze_others(task)

    def step() -> None:
        with autocast:
            answer = task.net(task.image(images))
        loss = answer.float().square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def look() -> None:
        with torch.inference_mode(), autocast:
            task.net(task.image(images))

    task.train()
    freeze_others(task)
    train = len(images) / seconds_of(step, steps, device)
    task.eval()
    return train, len(images) / seconds_of(look, steps, device)


def seconds_of(work: Any, times: int, device: torch.device) -> float:
    """Median seconds of one of some repetitions, the first two aside."""
    marks = []
    for _ in range(times + 2):
        _wait(device)
        began = time.perf_counter()
        work()
        _wait(device)
        marks.append(time.perf_counter() - began)
    return sorted(marks[2:])[times // 2]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
