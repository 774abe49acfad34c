"""The runs that answer together: opened, of one kind, and with one cut-off."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from pulmo.errors import ConfigError, RunError
from pulmo.finished import FinishedRun, opened
from pulmo.prediction.asked import CutOff
from pulmo.sheets.operating_points import POLICY_NAMES, asked_cut_off
from pulmo.sheets.predictions import Scored, scored
from pulmo.tasks.base import Task
from pulmo.tasks.classification import ClassificationTask
from pulmo.tasks.detection import DetectionTask
from pulmo.tasks.segmentation import SegmentationTask
from pulmo.thresholds import binary_points
from pulmo.transforms.preprocess import Preprocess

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """A run, its network, and how its images are prepared, wherever their lung masks come from."""

    run: FinishedRun
    task: Task
    preprocess: Preprocess

    @property
    def lungs_by(self) -> str | None:
        """The run that drew the lung masks that it was trained with; None where it was none."""
        mask = str(self.run.origin["preprocess"].get("mask", "dataset"))
        return None if mask in ("dataset", "none") else mask

    @property
    def place(self) -> str:
        """The run's folder as it was given, and the checkpoint where it is not the best."""
        other = self.run.other_checkpoint
        return f"{self.run.folder}, checkpoint {other}" if other else str(self.run.folder)

    @cached_property
    def digest(self) -> str:
        """What the checkpoint is told from others by."""
        return hashlib.sha256(self.run.best.read_bytes()).hexdigest()[:16]


def members_of(runs: Sequence[str]) -> list[Member]:
    """Open each of `runs`.

    Raises `RunError` where one is none, or they answer different questions.
    """
    found = []
    for run in map(opened, runs):
        mask = {"mask": "dataset"} if run.origin["preprocess"].get("mask") != "none" else {}
        found.append(Member(run, run.task, run.preprocess(**mask)))
    questions = {_question(member.task) for member in found}
    if len(questions) > 1:
        raise RunError(f"runs that answer different questions make no ensemble: {' · '.join(sorted(questions))}")
    checkpoints = [member.run.best.resolve() for member in found]
    if len(set(checkpoints)) < len(checkpoints):
        raise RunError("a run is given twice: name each once")
    return found


def names_of(members: Sequence[Member]) -> list[str]:
    """What each member is called beside the others: the last parts of its folder's path, as many as tell them apart.

    Behind them another checkpoint than the best.
    """
    folders = [member.run.folder.resolve().parts for member in members]
    others = [member.run.other_checkpoint for member in members]
    for depth in range(2, max(map(len, folders)) + 1):
        names = ["/".join(parts[-depth:]) for parts in folders]
        names = [f"{name}:{other}" if other else name for name, other in zip(names, others, strict=True)]
        if len(set(names)) == len(names):
            return names
    return [str(member.run.best.resolve()) for member in members]


def _question(task: Task) -> str:
    if isinstance(task, SegmentationTask):
        return f"where are the {task.target}?" if task.target == "lungs" else "which pixels are opacity?"
    if isinstance(task, DetectionTask):
        return "where are opacities (boxes)?"
    return f"which of {', '.join(task.class_names)}?"


def cut_off_of(members: Sequence[Member], given: str | None) -> CutOff:
    """The cut-off `given`, a single run's own, or an ensemble's.

    A policy that is given, such as "youden", is fitted on validation; so is that of an ensemble of classifiers, by the
    first run's policy: on the mean of the scores that the runs have written for their validation images, where these
    are the same. Else an ensemble has the mean of the runs' cut-offs. Raises `ConfigError` for a cut-off that is no
    score, that cannot be fitted, or where a score decides nothing.
    """
    first = members[0].task
    if isinstance(first, ClassificationTask) and not first.is_binary:
        if given is not None:
            raise ConfigError(f"--threshold: of {len(first.class_names)} classes the likeliest is taken")
        return CutOff(None, "the likeliest class")
    if given is not None:
        if given in POLICY_NAMES and not isinstance(first, ClassificationTask):
            raise ConfigError(f"--threshold {given}: masks and boxes are fitted in training; give a number")
        val = _validation(members) if given in POLICY_NAMES else None
        if isinstance(val, str):
            raise ConfigError(f"--threshold {given}: {val}; give a number")
        fitted = f", fitted on validation ({given})" if given in POLICY_NAMES else ""
        return CutOff(asked_cut_off(given, val), f"given{fitted}")
    if len(members) == 1:
        own = "fitted by the run" if first.policy.figure is not None else "given to the run"
        return CutOff(first.cut_off, own if first.threshold is not None else "the run has none: 0.5")
    mean = float(np.mean([member.task.cut_off for member in members]))
    if not isinstance(first, ClassificationTask):
        return CutOff(mean, f"mean of the {len(members)} runs' cut-offs")
    val = _validation(members)
    if isinstance(val, str):
        return CutOff(mean, f"mean of the {len(members)} runs' cut-offs, since {val}")
    points = binary_points(val.scores, val.labels)
    cut_off = float(first.policy.fit(points).cut_off)
    return CutOff(cut_off, f"fitted on the validation images that the {len(members)} runs share")


def _validation(members: Sequence[Member]) -> Scored | str:
    """The validation images with the mean of the members' scores; or why there are none."""
    tables = []
    for member in members:
        table, lacking = member.run.validation()
        if table is None:
            return lacking
        if not {"image_id", "label", "score"} <= {*table.columns}:
            return f"{member.run.name}'s predictions_val.csv lacks columns"
        tables.append(table.set_index("image_id")[["label", "score"]])
    first = tables[0]
    if not all(set(table.index) == set(first.index) and table.index.is_unique for table in tables):
        return "their validation images differ"
    if not all((table["label"].loc[first.index] == first["label"]).all() for table in tables):
        return "their validation labels differ"
    scores = np.mean([table["score"].loc[first.index].to_numpy(float) for table in tables], axis=0)
    return scored(first.reset_index().assign(score=scores), "the validation predictions")


def lung_run(members: Sequence[Member], given: str | None) -> str | None:
    """The run that draws the lungs: the one `given`, or the one that the members were trained with; None if none.

    Raises `ConfigError` where they were trained with several, or the one that they name is not here.
    """
    if given is not None:
        return given
    named = sorted({member.lungs_by for member in members if member.preprocess.needs_mask and member.lungs_by})
    if len(named) > 1:
        raise ConfigError(f"the runs had their lungs drawn by {' and '.join(named)}: give --lungs RUN")
    if named and not (Path(named[0]).expanduser() / "checkpoints" / "best.ckpt").is_file():
        raise ConfigError(
            f"the lungs were drawn by {named[0]}, which is not here: give --lungs RUN or --masks-from FOLDER"
        )
    return named[0] if named else None
