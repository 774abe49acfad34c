"""The data module of a run's own images or of another data set; the images prepared as the run's were."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pulmo import config as configuration
from pulmo import earlier_runs
from pulmo.composition import composed
from pulmo.data.datamodule import ChestDataModule
from pulmo.errors import ConfigError, PulmoError, RunError
from pulmo.experiment import make
from pulmo.finished import FinishedRun
from pulmo.run_data.past import earlier_pasts, past_of
from pulmo.run_data.selection import Selection, Wanted
from pulmo.tasks import trust
from pulmo.tasks.classification import ClassificationTask

ON_WHAT = ("data", "preprocess.mask", "preprocess.missing")
"""Overrides that say which images; everything else is the run's."""

WHERE = ("strategy", "trainer.precision", "trainer.accelerator")
"""Overrides that say on which machine."""

OF_TRAINING = ("callbacks", "logger", "find", "sweep", "finetune", "augment", "model", "threshold", "optimizer")
"""Parts of a configuration that nothing is built from here; some refer to the folder of a run."""


OF_THE_RUN = (
    *("data.split.", "data.split_seed.", "data.folds.", "data.fold.", "data.val_fraction.", "data.test_fraction."),
    *("data.preprocess.", "data.augment.", "data.sampling.", "data.seed."),
)
"""Beginnings of keys, a dot behind them, that say what the run's own split and preparation say already."""


@dataclass(frozen=True)
class RunData:
    """Images to show a run again: the data set's name, its module, who chooses its images, the whole configuration.

    notes  what a reader must know of them
    """

    name: str
    config: DictConfig
    datamodule: ChestDataModule
    selection: Selection
    notes: list[str]


def data_of(
    run: FinishedRun,
    overrides: Sequence[str],
    wanted: Wanted | None,
    taken: Sequence[str] = ON_WHAT,
    **values: Any,
) -> RunData:
    """Compose and build what `overrides` ask for; no image is read. After `setup("test")` the images are its test rows.

    Without data=NAME it is the run's own data set, with all the values that the run had, at the place where it lies
    now. `values` of the data module stand above both. Raises `ConfigError` for other overrides than `taken`, or where
    the data set's classes are not the run's; `DataError` where there is no such folder; `RunError` where the run's
    folder lacks what says which images are its own.
    """
    overrides = [override.lstrip("+") for override in overrides]
    _check(overrides, taken)
    own = not any(override.startswith("data=") for override in overrides)
    origin = _origin(run)
    config = composed(_of_the_machine(overrides, own))
    for part in OF_TRAINING:
        config.pop(part, None)
    node = _own_data(run, overrides) if own else config.data
    _as_the_run_had_it(run, origin, config, node, overrides, own)
    config.data.update(values)
    if own:  # the folder may be somebody else's
        trust.check(OmegaConf.to_container(config.data, resolve=True), run.folder / "config.yaml")
    configuration.check(config)
    datamodule: ChestDataModule = make(config.data)
    task = origin["task"]
    kind = trust.class_of(task, run.folder)
    datamodule.needs = kind.needs(task)
    datamodule.check()
    if datamodule.preprocess.needs_mask and datamodule.preprocess.mask_run is not None:
        datamodule.mask_source = earlier_runs.automatic_masks(config, datamodule.preprocess.mask_run)
    told_apart = issubclass(kind, ClassificationTask) and "class_names" in origin
    notes = _class_notes(origin["class_names"], datamodule) if told_apart else []
    selection = Selection(past_of(run), own, str(node["_target_"]), wanted, earlier_pasts(run))
    if own and selection.past.split is None:
        raise RunError(
            f"{run.folder} has no split.csv, so its own test images are not known: give data=NAME for others"
        )
    datamodule.tested = selection
    return RunData(data_name(run) if own else str(config.choices.data), config, datamodule, selection, notes)


def data_name(run: FinishedRun) -> str:
    """The data set that the run was trained on, as folders are named by it."""
    return run.data_name or "own"


def _origin(run: FinishedRun) -> dict[str, Any]:
    """What the checkpoint says of itself; where it is none, what the configuration says."""
    if run.checkpoint is not None or not run.has("config.yaml"):
        return run.origin
    try:
        return run.origin
    except PulmoError:  # taken away, or damaged: who needs the network says so
        pass
    known = {"task": OmegaConf.select(run.config, "model.task"), "preprocess": run.config.get("preprocess")}
    return {name: OmegaConf.to_container(part, resolve=True) for name, part in known.items()}


def _check(overrides: Sequence[str], taken: Sequence[str]) -> None:
    for override in overrides:
        key, given, _ = override.partition("=")
        if override.startswith(("-", "~")) or not given:
            raise ConfigError(f"{override} is no option, and no override such as data.root=FOLDER")
        if f"{key}.".startswith(OF_THE_RUN):
            raise ConfigError(f"{override}: --split says which images are measured; how they are prepared is the run's")
        if not any(key == known or key.startswith(f"{known}.") for known in taken):
            raise ConfigError(
                f"{override}: the run stays as it is; this command takes {', '.join(taken)}, such as data=rsna"
            )


def _of_the_machine(overrides: Sequence[str], own: bool) -> list[str]:
    """What is composed: everything but values that are put into the run's own data node, or its preprocess."""
    return [
        override
        for override in overrides
        if not override.startswith("preprocess.") and not (own and override.startswith("data."))
    ]


def _own_data(run: FinishedRun, overrides: Sequence[str]) -> DictConfig:
    node = DictConfig({"data": OmegaConf.to_container(run.config.data, resolve=True)})
    for override in overrides:
        if override.startswith("data."):
            _put(node, override)
    run.place(node, overrides)
    return DictConfig(node.data)


def _put(node: DictConfig, override: str) -> None:
    key, _, value = override.partition("=")
    try:
        OmegaConf.update(node, key, yaml.safe_load(value), merge=False)
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{override}: {str(error).splitlines()[0]}") from error


def _as_the_run_had_it(
    run: FinishedRun,
    origin: dict[str, Any],
    config: DictConfig,
    node: DictConfig,
    overrides: Sequence[str],
    own: bool,
) -> None:
    """Put into `config` the run's preprocess, batches and precision, and what measuring needs, none of training's."""
    given = {override.partition("=")[0] for override in overrides}
    plain: Any = OmegaConf.to_container(node, resolve=False)
    prepared = DictConfig({"preprocess": dict(origin["preprocess"])})
    for override in overrides:
        if override.startswith("preprocess."):
            _put(prepared, override)
    plain |= {"preprocess": OmegaConf.to_container(prepared.preprocess), "augment": None, "folds": None, "fold": None}
    if not own:
        plain["split"] = "official"
    if own and "data.cache_dir" not in given and not Path(str(plain["cache_dir"])).expanduser().is_dir():
        plain["cache_dir"] = config.data.cache_dir  # the run's may be of another machine
    if "data.resident" not in given:
        plain["resident"] = "auto"
    task = origin["task"]
    if "target" in task and "target" in plain and "data.target" not in given:
        plain["target"] = task["target"]
    recorded = run.config if run.has("config.yaml") else DictConfig({})
    batch = OmegaConf.select(recorded, "data.batch_size")
    if not own and batch and "data.batch_size" not in given:
        plain["batch_size"] = batch
    config.data = plain
    config.preprocess = plain["preprocess"]
    if "trainer.precision" not in given:
        config.trainer.precision = run.precision
    config.trainer.devices, config.trainer.num_nodes = 1, 1


def _class_notes(theirs: Sequence[str], datamodule: ChestDataModule) -> list[str]:
    """What is to be said of classes that are called otherwise; raises `ConfigError` where they are others."""
    ours = list(datamodule.class_names)
    lowered = [[name.lower() for name in names] for names in (theirs, ours)]
    if lowered[0] == lowered[1]:
        return []
    said = f"the run tells {_listed(theirs)} apart, the data set {_listed(ours)}"
    if len(theirs) != len(ours):
        fewer = "data.labels=binary" if len(theirs) == 2 else "data.labels=three_class"
        remedy = f"give {fewer}" if hasattr(datamodule, "labels") else "give data.classes=[…], the normal one first"
        raise ConfigError(f"{said}: {remedy}, or another data=")
    if set(lowered[0]) == set(lowered[1]):
        raise ConfigError(f"{said}: give data.classes in the run's order")
    if len(theirs) > 2:
        raise ConfigError(f"{said}: they must be called alike, for no order tells which is which")
    return [f"classes by their place, the normal one first: {ours[0]} counts as {theirs[0]}, {ours[1]} as {theirs[1]}"]


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
