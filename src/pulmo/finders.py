"""What a run can find out before it trains: a learning rate, and a batch size.

The search is made in experiments of their own, which are thrown away. What it found is put into the configuration, and
the run is built from that anew, from its own seed: so it is the run that has these values by hand, to the last bit.
"""

import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hydra.core.hydra_config import HydraConfig
from matplotlib.figure import Figure
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from pytorch_lightning import Callback, Trainer

from pulmo.agreement import is_first_process
from pulmo.batches import settle_update
from pulmo.callbacks.balance import BalanceClasses
from pulmo.callbacks.finetune import StagedFinetuning
from pulmo.callbacks.searches import BatchTrial, RangeTest, SearchEndedError, Trial, largest_that_fits, steepest
from pulmo.callbacks.seeding import StepSeed
from pulmo.data.datamodule import ChestDataModule
from pulmo.environment import in_sweep
from pulmo.errors import ConfigError, TrainingError
from pulmo.execution import settle
from pulmo.tasks.base import Task

log = logging.getLogger(__name__)

FILE = "found.json"
KEYS = {"batch_size": "data.batch_size", "lr": "model.optimizer.lr"}
LEARNING = (StagedFinetuning, StepSeed, BalanceClasses)  # callbacks that have a say in how the network learns
PATIENCE = 3600.0  # seconds that the other processes wait for the one that searches


@dataclass(frozen=True, kw_only=True)
class Find:
    """What is to be found, and between which bounds.

    lr             a learning rate, by a range test (Smith, arXiv 1506.01186)
    batch_size     on a GPU the largest that fits, on a CPU the fastest within the memory that is free
    min_lr         `max_lr`, `lr_steps`: the rate grows evenly on a logarithmic scale
    largest_batch  where the doubling of `data.batch_size` ends
    steps          measured of each batch size, behind one that is not
    memory_share   of the free memory that a CPU's batches may take
    """

    lr: bool = False
    batch_size: bool = False
    min_lr: float = 1e-7
    max_lr: float = 1.0
    lr_steps: int = 100
    largest_batch: int = 1024
    steps: int = 5
    memory_share: float = 0.8

    def __post_init__(self) -> None:
        if not 0 < self.min_lr < self.max_lr:
            raise ConfigError(f"find.min_lr={self.min_lr}, find.max_lr={self.max_lr}: 0 < min_lr < max_lr")
        if self.lr_steps < 20:
            raise ConfigError(f"find.lr_steps={self.lr_steps}: at least 20, else there is no curve")
        if self.steps < 1:
            raise ConfigError(f"find.steps={self.steps}: at least 1")
        if not 0 < self.memory_share <= 1:
            raise ConfigError(f"find.memory_share={self.memory_share}: a share above 0, at most 1")


class Built(Protocol):
    """The parts of an experiment that a search needs."""

    @property
    def datamodule(self) -> ChestDataModule:
        """Images."""

    @property
    def task(self) -> Task:
        """Network."""

    @property
    def trainer(self) -> Trainer:
        """Steps."""


Build = Callable[[DictConfig, Path], Built]


def settled(config: DictConfig, find: Find, folder: Path, build: Build) -> tuple[DictConfig, dict[str, float]]:
    """Give the configuration with what was found put in, and the same as figures, `found/lr` and `found/batch_size`.

    One process searches, alone on its device, and leaves `found.json` in the run folder: the others, and a run that is
    resumed, take it from there; a run that takes over a training takes what was found for that. Raises `ConfigError`
    where these have none, and where what is found would be changed again, or would change what a sweep gives.
    """
    wanted = [name for name in KEYS if getattr(find, name)]
    if not wanted:
        return config, {}
    _check(config, wanted)
    place = Path(config.trained_in).expanduser() if config.trained_in else folder
    known = _known(place)
    if not known.keys() >= {*wanted}:
        if config.trained_in:
            raise ConfigError(f"trained_in={place} found no {' and no '.join(wanted)}: leave out {_named(wanted)}")
        if config.resume:
            raise ConfigError(f"{_named(wanted)}: of a run's beginning, leave them out with resume")
        if is_first_process():
            _search(config, find, folder, build)
        else:
            _wait_for(folder, wanted)
        known = _known(folder)
    found = {name: known[name] for name in wanted}
    config = deepcopy(config)
    with open_dict(config):
        for name, value in found.items():
            OmegaConf.update(config, KEYS[name], value)
    return config, {f"found/{name}": float(value) for name, value in found.items()}


def _check(config: DictConfig, wanted: list[str]) -> None:
    if "lr" in wanted and config.strategy.lr_scaling != "none":
        raise ConfigError("find.lr finds the rate for the run's own batches: leave out strategy.lr_scaling")
    if "batch_size" in wanted and config.strategy.effective_batch is not None:
        raise ConfigError(
            f"find.batch_size=true and strategy.effective_batch={config.strategy.effective_batch}: a size that is "
            "found need not go into it a whole number of times; give one of the two"
        )
    if not in_sweep():
        return
    given = {override.partition("=")[0].lstrip("+"): override for override in HydraConfig.get().overrides.task}
    for name in wanted:
        if KEYS[name] in given:
            raise ConfigError(f"find.{name}=true would overwrite {given[KEYS[name]]}: give a multirun one of the two")


def _known(folder: Path) -> dict[str, Any]:
    path = folder / FILE
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def _named(wanted: list[str]) -> str:
    return " and ".join(f"find.{name}" for name in wanted)


def _search(config: DictConfig, find: Find, folder: Path, build: Build) -> None:
    """Search for what the folder does not know yet; for a rate also where it is one for batches of another size."""
    found = _known(folder) if find.batch_size else {}
    loggers = [logging.getLogger(name) for name in ("pulmo.execution", "pulmo.batches")]
    for logger in loggers:
        logger.disabled = True  # how the network runs is told once, of the run itself
    try:
        if find.batch_size and "batch_size" not in found:
            found = {"batch_size": _batch_size(_alone(config), find, folder, build)}
        if find.lr:
            config = deepcopy(config)
            config.data.batch_size = found.get("batch_size", config.data.batch_size)
            found["lr"] = _learning_rate(_alone(config), find, folder, build)
    finally:
        for logger in loggers:
            logger.disabled = False
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{FILE}.part"
    part.write_text(json.dumps(found, indent=2) + "\n")
    part.replace(folder / FILE)


def _learning_rate(config: DictConfig, find: Find, folder: Path, build: Build) -> float:
    from pulmo.report.figures import learning_rate_range, save

    test = RangeTest(find.min_lr, find.max_lr, find.lr_steps)
    _fit(build(deepcopy(config), folder), test)
    rates, losses = test.curve
    suggestion, smooth = steepest(rates, losses)
    picture = save(
        learning_rate_range(rates, losses, smooth, suggestion), folder / "figures" / "learning_rate_finder.png"
    )
    if suggestion is None:
        raise TrainingError(
            f"find.lr: the loss does not fall clearly anywhere from {find.min_lr:g} to {find.max_lr:g}; see {picture}: "
            "give model.optimizer.lr by hand, or find.min_lr, find.max_lr, find.lr_steps"
        )
    rate = float(f"{suggestion:.3g}")
    log.info("learning rate found: %g, where the loss falls fastest; see %s", rate, picture)
    return rate


def _batch_size(config: DictConfig, find: Find, folder: Path, build: Build) -> int:
    from pulmo.report.figures import save

    data: list[ChestDataModule] = []

    def attempt(size: int) -> Trial:
        """Train a few steps; the images are prepared at the first attempt and kept for the others."""
        sized = deepcopy(config)
        sized.data.batch_size = size
        sized.trainer.accumulate_grad_batches, sized.strategy.effective_batch = 1, None
        built = build(sized, folder)
        data[:] = data or [built.datamodule]
        data[0].batch_size = size
        measured = BatchTrial(size, find.steps)
        _fit(built, measured, data[0])
        return measured.result

    def images() -> int:
        return len(data[0].rows_of("train"))

    first = int(config.data.batch_size)
    trials, chosen = largest_that_fits(attempt, first, find.largest_batch, images, find.memory_share)
    if chosen is None:
        raise ConfigError(
            "find.batch_size: not even one image fits: give a smaller model.input.size, or another model="
        )
    picture = save(_drawn(trials, chosen), folder / "figures" / "batch_size_finder.png")
    log.info("batch size found: %d; see %s", chosen.size, picture)
    return chosen.size


def _drawn(trials: list[Trial], chosen: Trial) -> Figure:
    from pulmo.report.figures import batch_sizes

    fitting = sorted((trial for trial in trials if trial.fits), key=lambda trial: trial.size)
    refused = [trial.size for trial in trials if not trial.fits]
    return batch_sizes(
        [trial.size for trial in fitting],
        [trial.images_per_second for trial in fitting],
        [trial.memory for trial in fitting],
        chosen.size,
        refused,
        "GPU memory" if chosen.on_gpu else "Memory of the process",
    )


def _fit(built: Built, watcher: Callback, data: ChestDataModule | None = None) -> None:
    """Train until the watcher has seen enough; nothing is validated, logged or written."""
    trainer: Any = built.trainer
    kept = [callback for callback in trainer.callbacks if isinstance(callback, LEARNING)]
    for callback in kept:
        if isinstance(callback, StagedFinetuning):
            callback.stages = callback.stages[:1]
    built.task.scheduler = None
    trainer.callbacks, trainer.loggers = [*kept, watcher], []
    trainer.fit_loop.max_epochs = -1
    with suppress(SearchEndedError):
        trainer.fit(built.task, datamodule=data or built.datamodule)


def _alone(config: DictConfig) -> DictConfig:
    """The configuration for one process on one device, without validation; its updates have as many images."""
    alone = deepcopy(config)
    trainer = alone.trainer
    settle_update(alone, settle(trainer))
    trainer.accumulate_grad_batches = 1  # settled anew, from the images of an update
    devices = trainer.devices
    trainer.devices = [devices[0]] if isinstance(devices, ListConfig) else 1
    trainer.num_nodes, trainer.strategy, trainer.sync_batchnorm, trainer.limit_val_batches = 1, "auto", False, 0
    return alone


def _wait_for(folder: Path, wanted: list[str]) -> None:
    """Return when the process that searches has written what it found."""
    until = time.monotonic() + PATIENCE
    while not _known(folder).keys() >= {*wanted}:
        if time.monotonic() > until:
            raise TrainingError(f"no {folder / FILE} after {PATIENCE:.0f} s: has the process that searches ended?")
        time.sleep(0.5)
