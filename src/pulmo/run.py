"""One run: an experiment built, fitted and tested, and what it leaves in its folder."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from matplotlib.figure import Figure
from omegaconf import DictConfig
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import WeightAveraging

from pulmo import earlier_runs, environment, finders, interruption, run_state
from pulmo.agreement import is_first_process
from pulmo.callbacks.finetune import StagedFinetuning
from pulmo.callbacks.pruning import Pruning
from pulmo.errors import ConfigError
from pulmo.experiment import Experiment, build, make
from pulmo.interrupted_run import leave, write_metrics
from pulmo.interruption import Interrupted
from pulmo.loggers.logged import logged
from pulmo.predicted_masks import write_masks
from pulmo.processes import together
from pulmo.run_state import State
from pulmo.sharded import ShardedStrategy
from pulmo.tasks.segmentation import SegmentationTask

log = logging.getLogger(__name__)


def train(config: DictConfig, folder: Path, overrides: list[str]) -> float | None:
    """Run one experiment in `folder`; give the monitored figure, for sweeps."""
    first = is_first_process()
    with _claimed(folder, bool(config.resume)) if first else nullcontext():
        try:
            config, found = finders.settled(config, make(config.find), folder, build)
            experiment = build(config, folder)
            experiment.task.figures |= found
            if first:
                environment.write(config, folder, overrides)
                if config.resume:
                    log.info("going on from %s", config.resume)
            settings = environment.settings(config)
            with together(experiment.trainer, config, folder), logged(experiment.trainer.loggers, settings):
                monitored = _carried_out(experiment)
        except (Interrupted, Exception) as error:
            stop = _interruption(error)
            if stop is None:
                if first:
                    run_state.write(folder, State.FAILED, str(error) or type(error).__name__)
                raise
            if first and not stop.told:
                leave(folder, stop, None, {})
            raise stop from None
    if first and not environment.in_sweep():  # a sweep tells of all its jobs in one table
        from pulmo.report.summary import print_summary

        print_summary(experiment.task.figures, folder)
    return monitored


def _carried_out(experiment: Experiment) -> float | None:
    """Fit, test, finish; raises `Interrupted` where a signal ended it, what is known by then put down."""
    config = experiment.config
    try:
        if config.trained_in is None:
            fit(experiment)
        else:
            log.info("weights of %s", config.trained_in)
        pruned, monitored = _pruned(experiment), None
        if pruned is None:
            test(experiment)
            monitored = finish(experiment)
            if config.predict:
                predict(experiment)
            if config.report and experiment.trainer.is_global_zero:
                from pulmo.pages.report import finished as write_report  # here, for training begins sooner without

                write_report(experiment)
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


@contextmanager
def _claimed(folder: Path, resumed: bool) -> Iterator[None]:
    """Hold the run folder's lock, and note that a run is in it.

    Raises `ConfigError` where another process trains there, or where a run is there that this one does not resume.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / run_state.LOCK)
    try:
        lock.acquire(timeout=2)  # who asks whether it is held takes it for a moment
    except Timeout:
        raise ConfigError(f"another process is training in {folder}: wait for it, or end it") from None
    try:
        if not resumed and run_state.holds_a_run(folder):
            raise ConfigError(f"{folder} holds a run already: give another run_dir, or resume={folder}")
        run_state.write(folder, State.RUNNING)
        yield
    finally:
        lock.release()


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


def _interruption(error: BaseException) -> Interrupted | None:
    """Give what ended the run if it was a signal.

    One that other processes obey first breaks something in this one; one that is raised within a library may come out
    as an error of the library's.
    """
    asked = interruption.asked()
    return error if isinstance(error, Interrupted) else Interrupted(asked) if asked else None
