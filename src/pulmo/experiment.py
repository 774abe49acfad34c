"""From a composed configuration to the objects of an experiment."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from pulmo import config as configuration
from pulmo import earlier_runs
from pulmo.agreement import is_first_process
from pulmo.batches import settle_update
from pulmo.callbacks.earlier_split import EarlierSplit
from pulmo.callbacks.finetune import StagedFinetuning
from pulmo.callbacks.stopping import Stopping
from pulmo.callbacks.time_profile import TimeProfile
from pulmo.checkpoint import origin, run_of_weights
from pulmo.data.datamodule import ChestDataModule
from pulmo.errors import ConfigError, DataError, PulmoError
from pulmo.execution import settle
from pulmo.search.job import trial_callbacks
from pulmo.tasks.base import Task
from pulmo.tasks.detection import DetectionTask


@dataclass(frozen=True)
class Experiment:
    """All that a run is made of."""

    config: DictConfig
    folder: Path
    datamodule: ChestDataModule
    task: Task
    trainer: Trainer


def build(config: DictConfig, folder: Path) -> Experiment:
    """Make data module, task and trainer; no image is read.

    Raises `ConfigError` or `DataError` for all that can be known to be wrong by now.
    """
    accelerator = settle(config.trainer)
    configuration.check(config)
    if config.trainer.max_epochs is None or config.trainer.max_epochs < 1:
        raise ConfigError(f"trainer.max_epochs={config.trainer.max_epochs}: at least 1")
    trained_in = None if config.trained_in is None else Path(config.trained_in).expanduser()
    seed_everything(config.seed, workers=True, verbose=False)
    # A resumed run keeps its split, whatever has come into the data set's folder since.
    split = (trained_in or folder) / "split.csv"
    pinned = (config.resume or trained_in) and split.exists()
    same_split = {"split": str(split), "folds": None, "fold": None} if pinned else {}
    datamodule: ChestDataModule = make(config.data, **same_split)
    update = settle_update(config, accelerator)
    OmegaConf.set_readonly(config, True)
    if trained_in is not None:
        earlier_runs.check_training(config, trained_in, folder)
    datamodule.needs = get_class(config.model.task["_target_"]).needs(config.model.task)
    datamodule.check()
    earlier: list[Callback] = []
    if datamodule.preprocess.needs_mask and datamodule.preprocess.mask_run is not None:
        datamodule.mask_source = earlier_runs.automatic_masks(config, datamodule.preprocess.mask_run)
        earlier.append(EarlierSplit(datamodule.preprocess.mask_run, "preprocess.mask", refuse=False))
    weights_of = run_of_weights(str(config.model.weights))
    if weights_of is not None:
        earlier.append(EarlierSplit(weights_of, "model.weights", refuse=False))
    if config.predict and not datamodule.unlabelled():
        raise DataError(f"{config.data.root} has no unlabelled images to predict: leave out predict=true")
    if config.model.get("loss") is not None and "loss" not in config.model.task:
        raise ConfigError(f"{config.model.task['_target_']} learns by its network's own losses: leave out loss=")
    gate = earlier_runs.gate(config)
    class_names = list(datamodule.class_names)
    task: Task = make(config.model.task, class_names=class_names, **(gate.arguments if gate else {}))
    task.rate_factor = update.rate_factor
    task.figures["train/images_per_update"] = update.effective
    task.check_input(config.model.input.channels, config.preprocess.size)
    task.origin = origin(config, class_names, gate.plain if gate else {})
    callbacks = [make(part) for part in config.callbacks.values() if part is not None]
    if config.finetune.stages is not None:
        staged = StagedFinetuning(OmegaConf.to_container(config.finetune.stages, resolve=True))  # type: ignore[arg-type]
        callbacks.insert(0, staged)  # the others find the stage's blocks named
    if config.strategy.profile:
        callbacks.append(TimeProfile(folder))
    callbacks += earlier if gate is None else [*earlier, gate.check]
    callbacks += trial_callbacks(config)
    callbacks.append(Stopping(folder / "checkpoints"))  # behind those that it calls where an epoch goes on
    _check_callbacks(callbacks, task, config.trainer.max_epochs)
    if config.trainer.sync_batchnorm:
        _check_norms(task)
    _check_sharding(config)
    make(config.strategy).apply(task, accelerator, str(config.trainer.precision))
    chosen = [part for part in config.logger.values() if part is not None and is_first_process()]
    loggers: list[Logger] = [make(part) for part in chosen]
    trainer: Trainer = make(config.trainer, callbacks=callbacks, logger=loggers or False)
    if config.finetune.stages is not None and isinstance(trainer.strategy, DDPStrategy):
        # Frozen parameters give no gradient, for which DDP would wait; whichever way the strategy was chosen.
        trainer.strategy._ddp_kwargs.setdefault("find_unused_parameters", True)
    return Experiment(config, folder, datamodule, task, trainer)


def make(node: DictConfig, **arguments: Any) -> Any:
    """Instantiate a resolved copy: Hydra would resolve interpolations inside the read-only original.

    What a constructor says against its arguments comes out as it was said, without Hydra's wrapping.
    """
    try:
        return instantiate(OmegaConf.to_container(node, resolve=True), **arguments)
    except InstantiationException as error:
        if isinstance(error.__cause__, PulmoError):
            raise error.__cause__ from None
        if isinstance(error.__cause__, (MisconfigurationException, TypeError, ValueError)):
            raise ConfigError(f"{node.get('_target_')}: {error.__cause__}") from error
        raise


def _check_norms(task: Task) -> None:
    """Raise `ConfigError` where SyncBatchNorm would drop what a network has built into its norms (timm's SiLU)."""
    plain = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    for module in task.net.modules():
        if isinstance(module, plain) and type(module) not in plain:
            raise ConfigError(
                f"trainer.sync_batchnorm=true would take the activation out of {type(module).__name__}: give false"
            )


def _check_sharding(config: DictConfig) -> None:
    """Raise `ConfigError` for what cannot be done by processes that have a share of the network or its optimizer."""
    strategy = config.trainer.strategy if isinstance(config.trainer.strategy, DictConfig) else {}
    target = str(strategy.get("_target_", ""))
    if not target.startswith("pulmo.sharded."):
        return
    refused = {
        "finetune=full": config.finetune.stages is not None,
        "callbacks=default": "ema" in config.callbacks,
        "predict=false": bool(config.predict),
    }
    for choice, wrong in refused.items():
        if wrong:
            raise ConfigError(f"strategy=fsdp and strategy=deepspeed take {choice} alone: choose strategy=ddp, or that")
    detects = issubclass(get_class(config.model.task["_target_"]), DetectionTask)
    lowered = str(config.trainer.precision).startswith(("16", "bf16"))
    if target.endswith(".OneFileDeepSpeed") and detects and lowered:  # boxes to learn from stay as they are
        raise ConfigError(
            f"strategy=deepspeed trains no detector in trainer.precision={config.trainer.precision}: choose "
            "strategy=ddp, or trainer.precision=32-true"
        )


def _check_callbacks(callbacks: list[Callback], task: Task, max_epochs: int | None) -> None:
    """Raise `ConfigError` for a figure to watch, or a block to train, that there will not be."""
    for part in [*callbacks, task]:
        watched = getattr(part, "monitor", None)
        if watched is not None and watched not in task.monitorable:
            near = get_close_matches(watched, task.monitorable, 1)
            raise ConfigError(
                f"{type(part).__name__} watches {watched!r}, which nothing logs; "
                + (f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(task.monitorable))}")
            )
        if isinstance(part, StagedFinetuning):
            part.check(task, max_epochs)
