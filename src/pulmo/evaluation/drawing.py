"""The figures of an evaluation, each with what it shows."""

from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from pulmo.evaluation.evaluation import Evaluation
from pulmo.report import sheet_blocks
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
from pulmo.report.titles import title_of
from pulmo.sheets.images import ImageSheet
from pulmo.sheets.predictions import scored

Drawn = dict[str, tuple[Figure, str]]
Drawings = dict[str, tuple[Callable[[], Figure], str]]


def draw(of: Evaluation) -> Drawn:
    """File name → figure and its caption."""
    title = f"{of.facts['data']}, {of.facts['images_of']}"
    drawings: Drawings = _of_masks(of, title) | _of_boxes(of, title)
    images, scored_ones = of.sheets.images, of.sheets.probabilities
    if images is not None:
        drawings |= _of_classes(of, title) if images.class_names else _of_two_classes(of, images, title)
        drawings |= _of_subgroups(images, title)
    if scored_ones is not None:
        drawings["reliability"] = (
            partial(sheet_blocks.reliability, scored_ones, title),
            sheet_blocks.reliability_caption(scored_ones),
        )
    return {name: (make(), caption) for name, (make, caption) in drawings.items()}


def _of_two_classes(of: Evaluation, sheet: ImageSheet, title: str) -> Drawings:
    images = scored(of.predicted.images)
    points = [point for point in sheet.operating_points if not point.absent]
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
    if of.sheets.masks is None:
        return {}
    table = of.predicted.images[of.predicted.images["label"] >= 0]
    dice, area = table["dice"].to_numpy(), table["true_area"].to_numpy()
    return {
        "dice": (partial(dice_histogram, dice, title), "Images by the Dice coefficient of their masks."),
        "dice_by_area": (partial(dice_by_area, dice, area, title), "Dice by the size of what is to be found."),
    }


def _of_boxes(of: Evaluation, title: str) -> Drawings:
    sheet = of.sheets.boxes
    if sheet is None:
        return {}
    at = (sheet.figures["false_positives_per_image"].value, sheet.figures["box_sensitivity"].value)
    points = {title: at} if not np.isnan(at).any() else {}
    caption = "Share of true boxes found against false alarms an image; marked: the cut-off."
    return {"froc": (partial(froc_curve, {title: sheet.curve}, points), caption)}


def _of_subgroups(sheet: ImageSheet, title: str) -> Drawings:
    drawings: Drawings = {}
    for name, draw in sheet_blocks.forests(sheet, title).items():
        caption = f"{title_of(name)} by subgroup; dotted: all images. Where there are fewer than 10 of a class, which."
        drawings[f"subgroups_{name}"] = (draw, caption)
    return drawings
