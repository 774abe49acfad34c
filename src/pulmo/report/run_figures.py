"""The figures of a finished run folder, from its tables alone: no network and no images are needed."""

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pulmo.report.figures import (
    confusion_matrices,
    confusion_matrix,
    dice_by_area,
    dice_histogram,
    froc_curve,
    learning_curves,
    one_vs_rest_roc,
    precision_recall_curve,
    roc_curve,
    save,
    score_histogram,
)
from pulmo.report.froc import Curve
from pulmo.types import Split

T = TypeVar("T")
log = logging.getLogger(__name__)

SPLIT_TITLES: dict[Split, str] = {"val": "Validation split", "test": "Test split"}
MASKS_AND_BOXES = ("dice", "true_area", "true_boxes")
BESIDE = re.compile(r"^(?:val|test)/[^@]+@(?P<threshold>[0-9.eE+-]+)$")


def write_figures(
    run_dir: Path, class_names: Sequence[str], best_epoch: int | None = None, stages: Sequence[int] = ()
) -> dict[str, Figure]:
    """Draw all that the run folder has numbers for into `figures/*.png`; file name → figure.

    Reads `history.csv`, `predictions_val.csv`, `predictions_test.csv` and `metrics.json`. What is missing or
    cannot be read, as in the folder of a run that was killed, is left out with one line in the log.
    `class_names` are in the order of the label indices; images with label -1 are left out. `best_epoch` and
    `stages` are those of `learning_curves`.
    """
    drawings: dict[str, Callable[[], Figure]] = {}
    froc: dict[str, Curve] = {}
    history = _read(run_dir / "history.csv", pd.read_csv)
    if history is not None:
        drawings["learning_curves"] = partial(learning_curves, history, best_epoch, stages)
    metrics = _read(run_dir / "metrics.json", lambda path: json.loads(path.read_text(encoding="utf-8")))
    thresholds = reported_thresholds(metrics or {})
    for split, title in SPLIT_TITLES.items():
        table = _read(run_dir / f"predictions_{split}.csv", partial(read_predictions, class_names=class_names))
        if table is None:
            continue
        if "dice" in table:
            drawings |= _of_masks(split, table, title)
        if "dice" not in table or table["label"].nunique() == 2:  # every image has lungs: nothing to tell apart
            drawings |= _of_images(split, table, thresholds, class_names, title)
        if "true_boxes" in table:
            boxes = _read(run_dir / f"boxes_{split}.csv", _read_boxes)
            if boxes is not None:
                froc[title] = _froc(boxes, table)
    if froc:
        points = {title: point for title, point in _operating_points(metrics or {}).items() if title in froc}
        drawings["froc"] = partial(froc_curve, froc, points)

    figures = {}
    for name, draw in drawings.items():
        try:
            figures[name] = draw()
        except ValueError as error:  # the figures say what in their numbers cannot be drawn
            log.warning("No figure %s: %s", name, error)
            continue
        save(figures[name], run_dir / "figures" / f"{name}.png")
    return figures


def reported_thresholds(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Name → threshold: the run's own, "fitted" or "chosen", then those of keys as "test/accuracy@0.5", ascending."""
    fitted = metrics.get("threshold")
    beside = {match["threshold"] for match in map(BESIDE.match, metrics) if match}
    name = "fitted" if metrics.get("threshold_is_fitted", 1) else "chosen"
    thresholds = {} if fitted is None else {name: float(fitted)}
    return thresholds | {name: float(name) for name in sorted(beside, key=float)}


def read_predictions(path: Path, class_names: Sequence[str]) -> pd.DataFrame:
    """The labelled rows of a predictions table: `label`, `score`, `prediction`, any `score_<class>`, `MASKS_AND_BOXES`.

    Raises ValueError where a column is missing or holds something other than numbers.
    """
    columns = ["label", "score", "prediction", *(f"score_{name}" for name in class_names), *MASKS_AND_BOXES]
    table = pd.read_csv(path, usecols=lambda column: column in columns)
    missing = [column for column in columns[:3] if column not in table.columns]
    if missing:
        raise ValueError(f"no column {', '.join(missing)}")
    whole = ("label", "prediction", "true_boxes")
    types = {column: np.int64 if column in whole else np.float64 for column in table.columns}
    return table[table["label"] != -1].astype(types)


def _of_masks(split: str, table: pd.DataFrame, title: str) -> dict[str, Callable[[], Figure]]:
    dice, area = table["dice"].to_numpy(), table["true_area"].to_numpy()
    return {
        f"dice_{split}": partial(dice_histogram, dice, title),
        f"dice_by_area_{split}": partial(dice_by_area, dice, area, title),
    }


def _read_boxes(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, usecols=["score", "true_positive"])


def _froc(boxes: pd.DataFrame, images: pd.DataFrame) -> Curve:
    """False positives an image and sensitivity at every score of the boxes."""
    falling = boxes.sort_values("score", ascending=False, kind="stable")
    last = ~falling["score"].duplicated(keep="last").to_numpy()
    right = falling["true_positive"].to_numpy()
    truths = images["true_boxes"].sum() or np.nan
    return np.append(0, (1 - right).cumsum()[last]) / len(images), np.append(0, right.cumsum()[last]) / truths


def _operating_points(metrics: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    pairs = {
        title: (metrics.get(f"{split}/false_positives_per_image"), metrics.get(f"{split}/box_sensitivity"))
        for split, title in SPLIT_TITLES.items()
    }
    return {title: (float(x), float(y)) for title, (x, y) in pairs.items() if x is not None and y is not None}


def _of_images(
    split: str, table: pd.DataFrame, thresholds: Mapping[str, float], class_names: Sequence[str], title: str
) -> dict[str, Callable[[], Figure]]:
    labels, scores = table["label"].to_numpy(), table["score"].to_numpy()
    columns = [f"score_{name}" for name in class_names]
    drawings: dict[str, Callable[[], Figure]] = {
        f"confusion_{split}": partial(confusion_matrix, labels, table["prediction"].to_numpy(), class_names, title)
    }
    if set(columns) <= set(table.columns):
        probabilities = table[columns].to_numpy()
        drawings[f"roc_{split}"] = partial(one_vs_rest_roc, probabilities, labels, class_names, title)
    elif len(class_names) == 2:
        drawings[f"roc_{split}"] = partial(roc_curve, scores, labels, thresholds, title)
        drawings[f"precision_recall_{split}"] = partial(precision_recall_curve, scores, labels, thresholds, title)
        drawings[f"scores_{split}"] = partial(score_histogram, scores, labels, thresholds, class_names, title)
        if thresholds:
            drawings[f"confusion_{split}"] = partial(confusion_matrices, scores, labels, thresholds, class_names, title)
    else:
        log.warning("No figure roc_%s: predictions_%s.csv has no columns score_<class>", split, split)
    return drawings


def _read(path: Path, read: Callable[[Path], T]) -> T | None:
    """What `read` makes of the file; None, and a line in the log, where it is missing or broken."""
    try:
        return read(path)
    except FileNotFoundError:
        log.warning("No %s in %s: its figures are left out", path.name, path.parent)
    except ValueError as error:  # also what json and pandas raise on a file that is empty or breaks off
        log.warning("%s cannot be read, its figures are left out: %s", path, error)
    return None
