"""`pulmo evaluate`: predictions from the run's folder or its network, measured, told and written down."""

import logging
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from pulmo.environment import is_phantom
from pulmo.errors import ConfigError, PulmoError, RunError
from pulmo.evaluation import operating
from pulmo.evaluation.predicting import Predicted, predict
from pulmo.finished import FinishedRun
from pulmo.metrics.classification import binary_metrics, multiclass_metrics
from pulmo.run_data.opening import ON_WHAT, WHERE, data_name, data_of
from pulmo.run_data.past import earlier_pasts, past_of
from pulmo.run_data.selection import COPIES, OF_SPLIT, Wanted, said_of_lost
from pulmo.sheets.images import ImageSheet
from pulmo.sheets.predictions import class_names_of, scored
from pulmo.sheets.whole import Sheets, sheets_of
from pulmo.types import Split

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wish:
    """What the user asks for; `out` is the folder to write to, None: one in the run's `evaluations`."""

    overrides: Sequence[str] = ()
    split: Wanted | None = None
    threshold: str | None = None
    prevalence: float | None = None
    resamples: int = 10_000
    again: bool = False
    out: Path | None = None

    def __post_init__(self) -> None:
        if self.prevalence is not None and not 0 < self.prevalence < 1:
            raise ConfigError(f"--prevalence {self.prevalence:g}: a share above 0, below 1")
        if self.resamples < 100:
            raise ConfigError(f"--resamples {self.resamples}: at least 100")


@dataclass(frozen=True)
class Evaluation:
    """A run, measured: what was measured, on what, and what came out.

    facts    content of evaluation.json
    notes    what a reader of the figures must know
    """

    run: FinishedRun
    facts: dict[str, Any]
    notes: list[str]
    predicted: Predicted
    cut: operating.Cut
    sheets: Sheets
    class_names: list[str] = field(default_factory=list)


SAID = {"test": "test split", "val": "validation split", "train": "training split"}


def evaluated(run: FinishedRun, wish: Wish) -> Evaluation:
    """Measure the run as wished; nothing is written.

    Where the run's own predictions answer the question they are taken: no network and no image is needed then. Raises
    `PulmoError` where something lacks, with the remedy.
    """
    val, lacking = run.validation()
    if wish.threshold is not None:
        _check_threshold(val, wish.threshold)
    cut = operating.cut_of(run, wish.threshold, val)
    notes = [lacking] if lacking else []
    stored = None if wish.again or wish.overrides or run.other_checkpoint else _stored(run, wish, cut)
    if stored is not None:
        predicted, facts = stored
        notes += _notes_of_stored(run, facts["split"], predicted.images)
    else:
        predicted, facts, said = _by_network(run, wish, cut)
        notes += said
    table = predicted.images
    if wish.threshold is not None:
        _check_threshold(table, wish.threshold)
    if class_names_of(table) and wish.prevalence is not None:
        raise ConfigError("--prevalence: PPV and NPV are of two classes, the run tells several apart")
    sheets = sheets_of(
        table,
        predicted.boxes,
        val,
        cut.value,
        prevalence=wish.prevalence,
        resamples=wish.resamples,
        given=cut.given,
        true_boxes=predicted.true_boxes,
    )
    facts |= _counts(table, sheets)
    facts |= {"threshold": _or_none(cut.value), "threshold_given": wish.threshold}
    facts |= {"prevalence": wish.prevalence, "resamples": wish.resamples, "overrides": list(wish.overrides)}
    facts |= {"notes": notes}
    return Evaluation(run, facts, notes, predicted, cut, sheets, _names(run, sheets.images))


def _stored(run: FinishedRun, wish: Wish, cut: operating.Cut) -> tuple[Predicted, dict[str, Any]] | None:
    """The run's own predictions; None where they are not there, or not at this cut-off."""
    split: Wanted = wish.split or "test"
    if split == "all" or not run.has(f"predictions_{split}.csv"):
        return None
    try:
        table, boxes, true_boxes = run.predictions(split), run.boxes(split), run.true_boxes(split)
    except RunError as error:
        raise RunError(f"{error}; --again computes it anew") from error
    masks_or_boxes = "dice" in table or "predicted_boxes" in table
    if cut.changed and masks_or_boxes:
        return None  # each image's figures are of one cut-off
    if cut.changed and "score" in table:
        table = table.assign(prediction=(table["score"] >= cut.value).astype(int))
    known = run.metrics if run.has("metrics.json") and not cut.changed else {}
    figures = {
        name.removeprefix(f"{split}/"): math.nan if value is None else value
        for name, value in known.items()
        if name.startswith(f"{split}/")
    }
    whole = figures.get("images") in (None, len(table))  # else rows were taken out: they are other images
    if not whole or not figures:
        figures = {} if masks_or_boxes else _measured(table, cut.value)
    root = run.config.data.root if run.has("config.yaml") else None
    phantom = bool(run.environment.get("phantom"))
    facts = _facts(run, data_name(run), root, split, own=True, phantom=phantom, by="the run's own predictions")
    return Predicted(table, figures, boxes, true_boxes), facts


def _notes_of_stored(run: FinishedRun, split: Split, table: pd.DataFrame) -> list[str]:
    """What must be known of the run's own predictions: whom it has seen, and which images have none."""
    notes = [OF_SPLIT[split]] if split in OF_SPLIT else []
    past = past_of(run)
    if past.split is not None:
        there = {*table["image_id"]}
        gone = [str(name) for name in past.roles.index[past.roles == split] if name not in there]
        notes += [said_of_lost(gone, past, split)] if gone else []
    if split != "test" or not {"image_id", "patient_id"} <= {*table.columns}:
        return notes
    known = int(table["patient_id"].isin(past.seen_patients).sum())
    if known:
        notes.append(
            f"{known:,} of {len(table):,} test images are of patients that the run was trained or chosen on: the "
            "figures are too good; --again leaves them out"
        )
    for earlier in earlier_pasts(run):
        seen = earlier.learnt and earlier.kind == past.kind and earlier.seen_in(table)
        if np.any(seen):
            notes.append(
                f"{int(np.sum(seen)):,} of {len(table):,} test images are ones that {earlier.who}, was trained or "
                "chosen on: the figures are too good"
            )
    return notes


def _by_network(run: FinishedRun, wish: Wish, cut: operating.Cut) -> tuple[Predicted, dict[str, Any], list[str]]:
    """The run's network over the images; the first line on the screen says which and on what."""
    task = run.task  # first: it says what is wrong with a checkpoint
    measured = data_of(run, wish.overrides, wish.split, (*ON_WHAT, *WHERE))
    log.info("%s on %s at %s", run.name, measured.name, measured.config.data.root)
    of_best = run.has("metrics.json") and not run.other_checkpoint
    nms_iou = run.metrics.get("nms_iou") if of_best else None
    with tempfile.TemporaryDirectory() as folder:
        predicted = predict(task, measured, _or_none(cut.value), nms_iou, Path(folder))
    selection = measured.selection
    facts = _facts(
        run,
        measured.name,
        str(measured.config.data.root),
        selection.split,
        own=selection.shared,
        phantom=is_phantom(measured.config),
        by="its network, by Lightning's Trainer",
    )
    if not selection.shared and selection.past.split is not None:
        facts["told_apart"] = COPIES
    notes = [*measured.notes, *selection.notes]
    if run.environment.get("phantom") and not facts["phantom"]:
        notes.append("the run was trained on drawn phantoms, not on patients")
    left_out = measured.datamodule.skipped
    skipped, lost = selection.missed(left_out), selection.lost(left_out["image_id"])
    notes += [lost] if lost else []
    notes += [f"left out: {skipped} images that cannot be read, or have no lung mask"] if skipped else []
    return predicted, facts, notes


def _check_threshold(scores: pd.DataFrame | None, asked: str) -> None:
    """Raise `ConfigError` where scores, as far as there are any, have no such cut-off."""
    if scores is None:
        return
    if class_names_of(scores):
        raise ConfigError("--threshold: of several classes the likeliest is taken, without a cut-off")
    drawn = {"dice", "predicted_boxes"} & {*scores.columns}
    if drawn and asked not in ("half", "quarter") and not _is_number(asked):
        raise ConfigError("--threshold: masks and boxes are fitted in training; give a number, half or quarter")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _facts(
    run: FinishedRun, data: str, root: str | None, split: str, *, own: bool, phantom: bool, by: str
) -> dict[str, Any]:
    return {
        "run": run.name,
        "folder": str(run.folder),
        "checkpoint": run.other_checkpoint or "best",
        "trained_on": data_name(run),
        "data": data,
        "root": root,
        "split": split,
        "images_of": SAID.get(split, "all that it has not seen" if own else "all images"),
        "own": own,
        "phantom": phantom,
        "predicted_by": by,
    }


def _counts(table: pd.DataFrame, sheets: Sheets) -> dict[str, int]:
    if sheets.images is not None:
        found, positives = sheets.images, sheets.images.positives
        return {"images": found.images, "patients": found.patients, "positives": positives}
    if sheets.masks is not None:
        return {"images": sheets.masks.images, "patients": sheets.masks.patients, "positives": sheets.masks.drawn}
    return {"images": len(table), "patients": 0, "positives": 0}


def _measured(table: pd.DataFrame, cut_off: float) -> dict[str, float]:
    """Figures of a classifier's predictions table, as the task names them."""
    images = scored(table)
    labels = torch.tensor(images.labels)
    if images.class_names:
        return multiclass_metrics(torch.tensor(images.probabilities), labels, images.class_names)
    return binary_metrics(torch.tensor(images.scores), labels, {"": cut_off, "@0.5": 0.5, "@0.25": 0.25})


def _names(run: FinishedRun, sheet: ImageSheet | None) -> list[str]:
    """Names of the classes for tables and figures."""
    if sheet is not None and sheet.class_names:
        return list(sheet.class_names)
    try:
        return run.class_names
    except PulmoError:
        if run.checkpoint is not None:
            raise
        return ["negative", "positive"]


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
