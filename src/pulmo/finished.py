"""A finished run, opened from its folder alone: what every later command needs, and what to say where a part lacks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pulmo import run_state
from pulmo.checkpoint import best_checkpoint
from pulmo.errors import DataError, RunError
from pulmo.run_folders import newest, newest_of, runs_below
from pulmo.run_parts import configuration_of, plain_of, table_of, values_of, with_whole_labels
from pulmo.run_state import State

if TYPE_CHECKING:  # torch and pandas are loaded when a part is read: a mistyped name is told at once
    import pandas as pd

    from pulmo.tasks.base import Task
    from pulmo.transforms.preprocess import Preprocess
    from pulmo.types import Split

PLACES = ("data.root", "data.masks")
_ABSENT = object()


@dataclass(frozen=True)
class FinishedRun:
    """A run's folder. Each part is read when asked for; `RunError` says which one the folder lacks, and why.

    Paths in its configuration may be those of another machine; nothing here but `task` depends on them.
    """

    folder: Path
    checkpoint: Path | None = None

    @property
    def name(self) -> str:
        """The folder's last two parts: what was run, and when."""
        return "/".join(self.folder.resolve().parts[-2:])

    @property
    def said(self) -> str:
        """The name, the checkpoint where it is not the best, and that it learnt from phantoms where it did."""
        name = f"{self.name}, checkpoint {self.other_checkpoint}" if self.other_checkpoint else self.name
        return f"{name} (trained on drawn phantoms, not patients)" if self.phantom else name

    @cached_property
    def choices(self) -> dict[str, str]:
        """Group → option, such as `model` → `resnet18`; of a run that did not note it, what its overrides say."""
        noted = self.config.get("choices") if self.has("config.yaml") else None
        given = dict(item.split("=", 1) for item in self.overrides if "=" in item)
        return {str(group): str(option) for group, option in (noted or given).items() if option is not None}

    @property
    def data_name(self) -> str:
        """The option of data= that it was trained on, or the class of its data; "" where the folder does not know."""
        target = OmegaConf.select(self.config, "data._target_") if self.has("config.yaml") else None
        return self.choices.get("data") or str(target or "").rpartition(".")[2].lower()

    @cached_property
    def config(self) -> DictConfig:
        """The resolved configuration."""
        return configuration_of(self._part("config.yaml"))

    @cached_property
    def metrics(self) -> dict[str, float | None]:
        """The figures of metrics.json; null is None."""
        path = self._part("metrics.json")
        found = values_of(path)
        for name, value in found.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise RunError(f"{path} cannot be read: {name} is {value!r}, which is no number")
        return found

    @property
    def phantom(self) -> bool:
        """Whether it was trained on drawn phantoms."""
        return bool(self.environment.get("phantom"))

    @cached_property
    def precision(self) -> str:
        """Its `trainer.precision`; "32-true" where the folder does not know."""
        config = self.config if self.has("config.yaml") else DictConfig({})
        return str(OmegaConf.select(config, "trainer.precision") or "32-true")

    @cached_property
    def overrides(self) -> list[str]:
        """The overrides that the run was begun with; empty where the folder does not know."""
        path = self.folder / "overrides.yaml"
        if not path.is_file():
            return []
        found = plain_of(path)
        if found is not None and not isinstance(found, list):
            raise RunError(f"{path} cannot be read: it is no list")
        return [str(item) for item in found or []]

    @cached_property
    def environment(self) -> dict[str, Any]:
        """The machine and packages that it ran on; empty where the folder does not know."""
        path = self.folder / "environment.json"
        return values_of(path) if path.is_file() else {}

    @cached_property
    def split(self) -> "pd.DataFrame":
        """Who was in which split: `image_id, patient_id, split, label, path`, ids as text."""
        return self._table("split.csv", "image_id", "patient_id", "split")

    def predictions(self, split: "Split") -> "pd.DataFrame":
        """One row an image: `image_id, patient_id, label, score, prediction`, further columns; ids as text.

        The label is a whole number, -1 where it is not known.
        """
        name = f"predictions_{split}.csv"
        return with_whole_labels(self._table(name, "label"), self.folder / name)

    def boxes(self, split: "Split") -> "pd.DataFrame | None":
        """One row a predicted box, of a run that draws such; None of others."""
        name = f"boxes_{split}.csv"
        return self._table(name, "image_id") if self.has(name) else None

    def true_boxes(self, split: "Split") -> "pd.DataFrame | None":
        """One row a true box that those of `boxes` were measured against; None where the run has not written them."""
        name = f"true_boxes_{split}.csv"
        return self._table(name, "image_id") if self.has(name) else None

    def validation(self) -> "tuple[pd.DataFrame | None, str]":
        """The validation predictions of the checkpoint, checked; or None and why nothing can be fitted on them."""
        from pulmo.sheets.predictions import scored

        lacking = "nothing can be fitted on validation"
        if self.other_checkpoint:
            return None, f"{lacking}: {self.folder} has predictions of best.ckpt alone"
        try:
            table = self.predictions("val")
            scored(table, "predictions_val.csv")
        except (RunError, DataError) as error:
            return None, f"{lacking}: {error}"
        return table, ""

    @cached_property
    def state(self) -> State | None:
        """What has become of it; None for a folder older than state.json."""
        return run_state.read(self.folder).get("state")

    @cached_property
    def origin(self) -> dict[str, Any]:
        """What the checkpoint says of itself: `task`, `preprocess` and `class_names` as plain values."""
        from pulmo.tasks.stored import content_of

        return dict(content_of(self.best, mapped=True)["pulmo"]["origin"])

    @cached_property
    def task(self) -> "Task":
        """The best checkpoint's task, on the CPU, ready to predict; no pickled code is run."""
        from pulmo.tasks.base import Task

        return Task.load_from_checkpoint(self.best)

    @property
    def data_classes(self) -> list[str]:
        """Names of the classes of its data, by their label; the normal one first."""
        return list(self.origin["class_names"])

    @property
    def class_names(self) -> list[str]:
        """Names of what its scores tell apart, by the labels of its predictions; of masks and boxes not the data's."""
        from pulmo.tasks.trust import class_of

        task = self.origin["task"]
        return list(class_of(task, self.best).classes(task, self.data_classes))

    def preprocess(self, **changes: Any) -> "Preprocess":
        """How its images were prepared; `changes` are fields of `Preprocess`, such as another source of masks."""
        from pulmo.tasks.trust import built

        made: Preprocess = built({**self.origin["preprocess"], **changes}, self.best)
        return made

    def recorded(self, folder: Path, overrides: Sequence[str]) -> DictConfig:
        """The configuration with its references, in the new `folder`, and its split by the table that it wrote.

        `overrides` change plain values, such as `data.root` on another machine; groups were chosen by the run. Raises
        `RunError` where there is no configuration, or an override names no key of it.
        """
        from pulmo.environment import COMPOSED

        path, split = self._part(COMPOSED), self._part("split.csv")
        config: Any = configuration_of(path)
        config.run_dir, config.resume, config.trained_in = str(folder), None, None
        config.data.split, config.data.folds, config.data.fold = str(split), None, None
        config.find.lr = config.find.batch_size = False  # what was found is in the configuration
        config.sweep.trial = None  # its search is over
        for override in overrides:
            key, given, value = override.partition("=")
            if not given or OmegaConf.select(config, key, default=_ABSENT) is _ABSENT:
                raise RunError(f"{override}: {path} has no such key; give values, such as data.root=FOLDER")
            try:
                OmegaConf.update(config, key, yaml.safe_load(value))
            except (yaml.YAMLError, OmegaConfBaseException) as error:
                raise RunError(f"{override}: {error}") from error
        self.place(config, overrides)
        return DictConfig(config)

    def place(self, config: DictConfig, given: Sequence[str]) -> None:
        """Put folders of the data that were named from where the run was started, and are not here, to where they lie.

        `given` are overrides, which name folders from here.
        """
        named = {override.partition("=")[0] for override in given}
        for key in PLACES:
            value, started = OmegaConf.select(config, key), self.environment.get("folder")
            if key in named or not isinstance(value, str) or started is None or Path(value).expanduser().exists():
                continue
            if (Path(started) / value).exists():
                OmegaConf.update(config, key, str(Path(started) / value))

    def has(self, name: str) -> bool:
        """Whether the folder has a file or folder of this name."""
        return (self.folder / name).exists()

    @property
    def best(self) -> Path:
        """Its best checkpoint, or the one that was given; raises `RunError` where there is none."""
        path = self.checkpoint or best_checkpoint(self.folder)
        if path is None:
            raise RunError(f"{self.folder} has no checkpoints/best.ckpt: {self._why()}")
        return path

    @property
    def other_checkpoint(self) -> str:
        """Name of the checkpoint that was given where it is not the best: the folder's figures and predictions are of
        that one. "" otherwise."""
        best = best_checkpoint(self.folder)
        if self.checkpoint is None or (best is not None and self.checkpoint.resolve() == best.resolve()):
            return ""
        return "" if best is None and self.checkpoint.name == "best.ckpt" else self.checkpoint.stem

    def _table(self, name: str, *columns: str) -> "pd.DataFrame":
        return table_of(self._part(name), *columns)

    def _part(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise RunError(f"{self.folder} has no {name}: {self._why()}")
        return path

    def _why(self) -> str:
        """Why a part may be missing, and what mends it."""
        state = self.state
        if state is State.RUNNING:
            return "the run is still going on"
        if state in (State.FAILED, State.INTERRUPTED, State.CUT_OFF):
            return f"the run is {state}; `pulmo train resume={self.folder}` goes on with it"
        return "give the folder of a run that was trained and tested"


def opened(given: str | Path) -> FinishedRun:
    """The run that `given` names: a run's folder, a checkpoint, or "last", the newest under outputs/.

    Raises `RunError` where there is none.
    """
    if str(given) == "last":
        return FinishedRun(newest())
    path = Path(given).expanduser()
    if path.suffix == ".ckpt" and path.is_file():
        inside = path.parent.name == "checkpoints"
        return FinishedRun(path.parents[1] if inside else path.parent, path)
    if not path.is_dir():
        raise RunError(f"no run {given}: give the folder of a run, a checkpoint, or last")
    if not any((path / name).exists() for name in ("config.yaml", "checkpoints", "metrics.json")):
        below = newest_of(runs_below(path))
        hint = f"; the newest of the runs in it is {below}" if below else ""
        raise RunError(f"{given} is no run's folder: it has no config.yaml, checkpoints or metrics.json{hint}")
    return FinishedRun(path)
