"""One experiment: from a composed configuration to objects, to a tested checkpoint in a run folder."""

import logging
import math
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from lightning_fabric.utilities.exceptions import MisconfigurationException
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from pulmo import config as configuration
from pulmo import earlier_runs, environment, finders, interruption, run_state
from pulmo.agreement import is_first_process
from pulmo.batches import settle_update
from pulmo.callbacks.earlier_split import EarlierSplit
from pulmo.callbacks.finetune import StagedFinetuning
from pulmo.callbacks.pruning import Pruning
from pulmo.callbacks.stopping import Stopping
from pulmo.callbacks.time_profile import TimeProfile
from pulmo.checkpoint import origin
from pulmo.data.datamodule import ChestDataModule
from pulmo.errors import ConfigError, DataError, PulmoError
from pulmo.execution import settle
from pulmo.interrupted_run import leave, write_metrics
from pulmo.interruption import Interrupted
from pulmo.loggers.logged import logged
from pulmo.predicted_masks import write_masks
from pulmo.processes import together
from pulmo.run_state import State
from pulmo.search.job import trial_callbacks
from pulmo.sharded import ShardedStrategy
from pulmo.tasks.base import Task
from pulmo.tasks.segmentation import SegmentationTask

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiment:
    """All that a run is made of."""

    config: DictConfig
    folder: Path
    datamodule: ChestDataModule
    task: Task
    trainer: Trainer


def train(config: DictConfig, folder: Path, overrides: list[str]) -> float | None:
    """Run one experiment in `folder`; give the monitored figure, for sweeps."""
    config, found = finders.settled(config, _make(config.find), folder, build)
    experiment = build(config, folder)
    experiment.task.figures |= found
    if experiment.trainer.is_global_zero:
        claim = _claimed(folder)  # held until this process ends, however it ends
        run_state.write(folder, State.RUNNING)
    try:
        if experiment.trainer.is_global_zero:
            environment.write(config, folder, overrides)
            if config.resume:
                log.info("going on from %s", config.resume)
        settings = environment.settings(config)
        with together(experiment.trainer, config, folder), logged(experiment.trainer.loggers, settings):
            monitored = _carried_out(experiment)
    except Exception as error:
        if experiment.trainer.is_global_zero:
            run_state.write(folder, State.FAILED, str(error) or type(error).__name__)
        raise
    if experiment.trainer.is_global_zero:
        from pulmo.report.summary import print_summary

        if not environment.in_sweep():  # a sweep tells of all its jobs in one table
            print_summary(experiment.task.figures, folder)
        claim.release()
    return monitored


def _carried_out(experiment: Experiment) -> float | None:
    """Fit, test, finish; raises `Interrupted` where a signal ended it, what is known by then put down."""
    config = experiment.config
    try:
        if config.trained_in is None:
            fit(experiment)
        pruned, monitored = _pruned(experiment), None
        if pruned is None:
            test(experiment)
            monitored = finish(experiment)
            if config.predict:
                predict(experiment)
    except (Interrupted, Exception) as error:
        stop = _interruption(error)
        if stop is None:
            raise
        if experiment.trainer.is_global_zero:
            leave(experiment.folder, stop, experiment.trainer.state.fn, experiment.task.figures)
        raise stop from None
    if experiment.trainer.is_global_zero:
        run_state.write(experiment.folder, State.PRUNED if pruned else State.FINISHED, pruned)
    return monitored


def _pruned(experiment: Experiment) -> str | None:
    """Why a search ended the training, if it did."""
    callbacks: list[Callback] = experiment.trainer.callbacks  # type: ignore[attr-defined]
    return next((part.cause for part in callbacks if isinstance(part, Pruning)), None)


def build(config: DictConfig, folder: Path) -> Experiment:
    """Make data module, task and trainer; no image is read.

    Raises `ConfigError` or `DataError` for all that can be known to be wrong by now.
    """
    accelerator = settle(config.trainer)
    configuration.check(config)
    if config.trainer.max_epochs is None or config.trainer.max_epochs < 1:
        raise ConfigError(f"trainer.max_epochs={config.trainer.max_epochs}: at least 1")
    trained_in = None if config.trained_in is None else Path(config.trained_in).expanduser()
    begun = ((folder / "checkpoints").exists() and not trained_in) or (folder / "metrics.json").exists()
    if begun and is_first_process() and not config.resume:
        raise ConfigError(f"{folder} holds a run already: give another run_dir, or resume={folder}")
    seed_everything(config.seed, workers=True, verbose=False)
    # A resumed run keeps its split, whatever has come into the data set's folder since.
    split = (trained_in or folder) / "split.csv"
    pinned = (config.resume or trained_in) and split.exists()
    same_split = {"split": str(split), "folds": None, "fold": None} if pinned else {}
    datamodule: ChestDataModule = _make(config.data, **same_split)
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
    if config.predict and not datamodule.unlabelled():
        raise DataError(f"{config.data.root} has no unlabelled images to predict: leave out predict=true")
    if config.model.get("loss") is not None and "loss" not in config.model.task:
        raise ConfigError(f"{config.model.task['_target_']} learns by its network's own losses: leave out loss=")
    gate = earlier_runs.gate(config)
    class_names = list(datamodule.class_names)
    task: Task = _make(config.model.task, class_names=class_names, **(gate.arguments if gate else {}))
    task.rate_factor = update.rate_factor
    task.figures["train/images_per_update"] = update.effective
    task.check_input(config.model.input.channels, config.preprocess.size)
    task.origin = origin(config, class_names, gate.plain if gate else {})
    callbacks = [_make(part) for part in config.callbacks.values() if part is not None]
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
    _make(config.strategy).apply(task, accelerator, str(config.trainer.precision))
    chosen = [part for part in config.logger.values() if part is not None and is_first_process()]
    loggers: list[Logger] = [_make(part) for part in chosen]
    trainer: Trainer = _make(config.trainer, callbacks=callbacks, logger=loggers or False)
    if config.finetune.stages is not None and isinstance(trainer.strategy, DDPStrategy):
        # Frozen parameters give no gradient, for which DDP would wait; whichever way the strategy was chosen.
        trainer.strategy._ddp_kwargs.setdefault("find_unused_parameters", True)
    return Experiment(config, folder, datamodule, task, trainer)


def fit(experiment: Experiment) -> None:
    """Train to the end, from the checkpoint that `resume` names if it does."""
    config = experiment.config
    if environment.is_phantom(config):
        log.warning("%s holds drawn phantoms, not patients: figures say nothing about medicine", config.data.root)
    experiment.trainer.fit(
        experiment.task, datamodule=experiment.datamodule, ckpt_path=config.resume, weights_only=True
    )


def test(experiment: Experiment) -> None:
    """Measure the best checkpoint on validation, which fits the threshold, then on the test set."""
    trainer, task, data = experiment.trainer, experiment.task, experiment.datamodule
    epochs = trainer.current_epoch
    # A checkpoint holds the averaged weights as its own; the callback would put the raw ones in their place.
    trainer.callbacks = [part for part in trainer.callbacks if not isinstance(part, WeightAveraging)]  # type: ignore[attr-defined]
    checkpoint = _best(experiment)
    trainer.validate(task, datamodule=data, verbose=False, **checkpoint)
    if task.stale:
        trainer.validate(task, datamodule=data, verbose=False)
    trainer.test(task, datamodule=data, verbose=False)  # not from the checkpoint: it may hold another threshold
    task.figures |= {"epochs": epochs, "data/prepare_seconds": data.prepare_seconds}
    task.figures["data/identical_across_splits"] = math.nan if data.identical is None else len(data.identical)
    for split, images in task.predictions.items():
        task.figures[f"{split}/images"] = len(images["row"])
    task.figures["data/true_boxes_lost"] = data.boxes_lost
    if checkpoint:
        content = torch.load(checkpoint["ckpt_path"], weights_only=True, map_location="cpu", mmap=True)
        task.figures["best_epoch"] = content["epoch"]
    if experiment.config.trained_in and trainer.is_global_zero:
        earlier_runs.keep_training(task, Path(experiment.config.trained_in).expanduser(), experiment.folder)


def predict(experiment: Experiment) -> None:
    """Score the data set's unlabelled images by the best checkpoint, into `predictions_unlabelled.csv`.

    A segmentation draws their masks too, into `masks_unlabelled/`.
    """
    trainer, task, data = experiment.trainer, experiment.task, experiment.datamodule
    trainer.predict(task, datamodule=data, return_predictions=False)  # by the weights and threshold that were tested
    if isinstance(task, SegmentationTask) and trainer.is_global_zero:
        folder = experiment.folder / "masks_unlabelled"
        folder.mkdir(exist_ok=True)
        images = data.rows_of("predict")
        masks = [folder / f"{image_id}.png" for image_id in images["image_id"]]
        write_masks(task, data.preprocess, list(zip(images["path"], images["mask"], masks, strict=True)))


def _claimed(folder: Path) -> FileLock:
    """Lock the run folder; raise `ConfigError` where another process trains in it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / run_state.LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"another process is training in {folder}: wait for it, or end it") from None
    return lock


def _best(experiment: Experiment) -> dict[str, Any]:
    """Arguments that load the best checkpoint; none where no epoch was finished. The same on every rank."""
    run = Path(experiment.config.trained_in or experiment.folder).expanduser()
    best = run / "checkpoints" / "best.ckpt"
    path = experiment.trainer.strategy.broadcast(str(best) if best.exists() else "")
    return {"ckpt_path": path, "weights_only": True} if path else {}


def finish(experiment: Experiment) -> float | None:
    """Write metrics.json and the figures, fill the loggers; give the monitored figure."""
    from pulmo.report.results import log_results
    from pulmo.report.run_figures import write_figures  # here, for training begins sooner without

    config, folder, task = experiment.config, experiment.folder, experiment.task
    figures = task.figures
    if experiment.trainer.is_global_zero:
        write_metrics(folder, figures)
        callbacks: list[Callback] = experiment.trainer.callbacks  # type: ignore[attr-defined]
        stages = [callback.starts for callback in callbacks if isinstance(callback, StagedFinetuning)]
        drawn = write_figures(
            folder,
            class_names=task.class_names,
            best_epoch=None if "best_epoch" not in figures else int(figures["best_epoch"]),
            stages=stages[0] if stages else (),
        )
        if not isinstance(experiment.trainer.strategy, ShardedStrategy):  # no process has the whole network
            drawn |= _draw_cases(experiment)
        measured = [split for split in ("val", "test") if split in task.predictions]
        scores = {split: task.image_scores(task.predictions[split]) for split in measured}
        both = {split: pair for split, pair in scores.items() if pair is not None}
        trainer = experiment.trainer
        log_results(trainer.loggers, both, drawn, environment.settings(config), figures, trainer.global_step)
    checkpoint = config.callbacks.get("checkpoint")
    return figures.get(checkpoint.monitor) if checkpoint else None


def _draw_cases(experiment: Experiment) -> dict[str, Figure]:
    """Save `figures/overlays_val.png` and `figures/overlays_test.png`, of tasks that draw on images."""
    from pulmo.report.cases import draw_cases
    from pulmo.report.figures import save
    from pulmo.report.run_figures import SPLIT_TITLES

    task, figures = experiment.task.eval().cpu(), {}
    for split, title in SPLIT_TITLES.items():
        figure = draw_cases(task, experiment.datamodule, split, title)
        if figure is not None:
            figures[f"overlays_{split}"] = figure
            save(figure, experiment.folder / "figures" / f"overlays_{split}.png")
    return figures


def _make(node: DictConfig, **arguments: Any) -> Any:
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


def _interruption(error: BaseException) -> Interrupted | None:
    """Give what ended the run if it was a signal; one that other processes obey first breaks something in this one."""
    asked = interruption.asked()
    return error if isinstance(error, Interrupted) else Interrupted(asked) if asked else None


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
