"""The figures of an evaluation, each with what it shows."""

from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from pulmo.evaluation.evaluation import Evaluation
from pulmo.metrics.bootstrap import Interval
from pulmo.report.figures import (
    confusion_matrices,
    confusion_matrix,
    dice_by_area,
    dice_histogram,
    froc_curve,
    one_vs_rest_roc,
    precision_recall_curve,
    roc_curve,
    score_histogram,
)
from pulmo.report.forest import Row, forest_plot
from pulmo.report.reliability import Reliability, reliability_diagram
from pulmo.report.titles import title_of
from pulmo.sheets.images import ImageSheet
from pulmo.sheets.predictions import scored

Drawn = dict[str, tuple[Figure, str]]
Drawings = dict[str, tuple[Callable[[], Figure], str]]


def draw(of: Evaluation) -> Drawn:
    """File name → figure and its caption."""
    title = f"{of.facts['data']}, {of.facts['images_of']}"
    drawings: Drawings = _of_masks(of, title) | _of_boxes(of, title)
    if of.images is not None:
        several = bool(of.images.class_names)
        drawings |= _of_classes(of, title) if several else _of_two_classes(of, title)
        if of.masks is None and of.boxes is None:
            drawings["reliability"] = (partial(_reliability, of.images, title), RELIABILITY)
        drawings |= _of_subgroups(of.images, title)
    return {name: (make(), caption) for name, (make, caption) in drawings.items()}


RELIABILITY = (
    "Share of positive images against their mean score, in 15 bins of equal width, with 95 % intervals. Below the "
    "diagonal scores are too high. Dashed: after temperature scaling, fitted on validation. Pale: fewer than 5 images."
)


def _of_two_classes(of: Evaluation, title: str) -> Drawings:
    images = scored(of.predicted.images)
    points = [point for point in (of.images.operating_points if of.images else []) if not point.absent]
    cuts: dict[str, float] = {}
    for point in points:
        if not any(np.isclose(point.cut_off, cut) for cut in cuts.values()):  # equal ones would lie on each other
            cuts[point.name] = point.cut_off
    few = {name: cut for name, cut in cuts.items() if name in (points[0].name, "0.5", "0.25")}
    both = (images.scores, images.labels)
    return {
        "roc": (partial(roc_curve, *both, cuts, title), "Sensitivity against false alarms, with the operating points."),
        "precision_recall": (
            partial(precision_recall_curve, *both, cuts, title),
            "Positive predictive value against sensitivity, at the prevalence of these images.",
        ),
        "confusion": (
            partial(confusion_matrices, *both, few, of.class_names, title),
            "Decisions at the cut-off and beside it.",
        ),
        "scores": (
            partial(score_histogram, *both, few, of.class_names, title),
            "Scores of either class, with the cut-offs.",
        ),
    }


def _of_classes(of: Evaluation, title: str) -> Drawings:
    images = scored(of.predicted.images)
    called = images.probabilities.argmax(1)
    return {
        "roc": (
            partial(one_vs_rest_roc, images.probabilities, images.labels, images.class_names, title),
            "Each class against all others.",
        ),
        "confusion": (
            partial(confusion_matrix, images.labels, called, images.class_names, title),
            "True class and the likeliest one.",
        ),
    }


def _of_masks(of: Evaluation, title: str) -> Drawings:
    if of.masks is None:
        return {}
    table = of.predicted.images[of.predicted.images["label"] >= 0]
    dice, area = table["dice"].to_numpy(), table["true_area"].to_numpy()
    return {
        "dice": (partial(dice_histogram, dice, title), "Images by the Dice coefficient of their masks."),
        "dice_by_area": (partial(dice_by_area, dice, area, title), "Dice by the size of what is to be found."),
    }


def _of_boxes(of: Evaluation, title: str) -> Drawings:
    if of.boxes is None:
        return {}
    at = (of.boxes.figures["false_positives_per_image"].value, of.boxes.figures["box_sensitivity"].value)
    points = {title: at} if not np.isnan(at).any() else {}
    caption = "Share of true boxes found against false alarms an image; marked: the cut-off."
    return {"froc": (partial(froc_curve, {title: of.boxes.curve}, points), caption)}


def _of_subgroups(sheet: ImageSheet, title: str) -> Drawings:
    names = ("auroc",) if sheet.class_names else ("auroc", "sensitivity", "specificity")
    drawings: Drawings = {}
    for name in names:
        if not any(name in group.figures for group in sheet.subgroups):
            continue
        rows = [
            _row(
                group.by, group.name, f"{group.images:,}", group.figures.get(name), group.few.removeprefix("too few: ")
            )
            for group in sheet.subgroups
        ]
        whole = _row("", "all images", f"{sheet.images:,}", sheet.figures[name], "undefined")
        caption = (
            f"{title_of(name)} by subgroup; dotted: all images. Of fewer than 10 of a class the number stands alone."
        )
        drawings[f"subgroups_{name}"] = (partial(forest_plot, rows, whole, title_of(name), title), caption)
    return drawings


def _row(by: str, name: str, images: str, value: Interval | None, note: str) -> Row:
    found = value or Interval(np.nan, np.nan, np.nan)
    return Row(by, name, images, *found, note=note)


def _reliability(sheet: ImageSheet, title: str) -> Figure:
    calibration = sheet.calibration
    curves = {f"as it is, ECE {calibration.figures['ece'].value:.3f}": Reliability.of(calibration.bins)}
    if calibration.temperature is not None:
        after = f"at temperature {calibration.temperature:.2f}, ECE {calibration.scaled['ece'].value:.3f}"
        curves[after] = Reliability.of(calibration.scaled_bins)
    if sheet.class_names:
        return reliability_diagram(curves, title, "Mean score of the likeliest class", "Share that is right")
    return reliability_diagram(curves, title)
