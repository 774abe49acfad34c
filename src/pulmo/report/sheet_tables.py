"""Sheets as tables whose cells are text: the same on the screen, on an evaluation's page and in a run's report."""

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from pulmo.metrics.bootstrap import Interval
from pulmo.report.titles import title_of
from pulmo.sheets.images import ImageSheet
from pulmo.sheets.masks import MaskSheet
from pulmo.sheets.operating_points import OWN
from pulmo.sheets.subgroups import FEWEST
from pulmo.sheets.whole import Sheets

FIRST = ("auroc", "average_precision", "brier", "ece")
OF_PROBABILITIES = ("brier", "ece")
WITHOUT_INTERVAL = {
    "Masks": ("dice_pooled", "iou_pooled", "loss"),
    "Boxes": ("map", "map_50", "map_75"),
    "Figures": ("loss",),
}
"""Figures that cannot be had of the tables alone, and which table of figures they stand in."""

FROC = "FROC: box sensitivity by false positives an image"
RATES = {"sensitivity": "sensitivity", "specificity": "specificity", "precision": "PPV", "npv": "NPV"}
COUNTS = ("TP", "FP", "TN", "FN")
DASH = f"–: there is no such figure, or it would be of fewer than {FEWEST} images of a class."

Figures = dict[str, Interval]


def figures_of(sheets: Sheets, metrics: Mapping[str, float]) -> dict[str, Figures]:
    """Title → figure → interval: of masks, boxes and images, as far as there are.

    `metrics` are the split's, named as in metrics.json; those that no sheet has stand without an interval.
    """
    found: dict[str, Figures] = {}
    if sheets.masks is not None:
        found["Masks"] = dict(sheets.masks.figures)
    if sheets.boxes is not None:
        found["Boxes"] = dict(sheets.boxes.figures)
    if sheets.images is not None:
        whole = sheets.images.figures
        if sheets.probabilities is None:
            whole = {name: value for name, value in whole.items() if name not in OF_PROBABILITIES}
        first = {name: whole[name] for name in FIRST if name in whole}
        found["Images" if found else "Figures"] = first | whole
    for title, names in WITHOUT_INTERVAL.items():
        if title in found:
            lacking = [name for name in names if name in metrics and name not in found[title]]
            found[title] |= {name: Interval(metrics[name], math.nan, math.nan) for name in lacking}
    return found


def listed(figures: Figures, validation: Mapping[str, float] | None = None) -> pd.DataFrame:
    """One row a figure, beside it that of validation where it is given."""
    rows = {title_of(name): str(value) for name, value in figures.items()}
    table = pd.DataFrame({"": list(rows), "figure (95 % interval)": list(rows.values())})
    if validation is None:
        return table
    return table.assign(validation=[_plain(validation.get(name)) for name in figures])


def froc_table(sheets: Sheets) -> pd.DataFrame:
    """Box sensitivity at each rate of false positives; empty without boxes."""
    froc = {} if sheets.boxes is None else sheets.boxes.froc
    return pd.DataFrame({"false positives an image": list(froc), "sensitivity": [str(v) for v in froc.values()]})


def points_table(sheet: ImageSheet) -> pd.DataFrame:
    """One row an operating point: `RATES`, the same at the prevalence that was asked for, `COUNTS`.

    Empty for several classes; those that are absent are left out, see `absent_points`.
    """
    names = dict(RATES)
    if sheet.asked_prevalence is not None:
        at = f"{100 * sheet.asked_prevalence:.3g} %"
        names |= {"precision_at": f"PPV at {at}", "npv_at": f"NPV at {at}"}
    rows = []
    for point in sheet.operating_points:
        if point.absent:
            continue
        counts = (point.true_positives, point.false_positives, point.true_negatives, point.false_negatives)
        row = {"": "the run's own" if point.name == OWN else point.name, "cut-off": f"{point.cut_off:.4g}"}
        row |= {title: str(point.figures[name]) for name, title in names.items()}
        rows.append(row | dict(zip(COUNTS, (f"{count:,}" for count in counts), strict=True)))
    return pd.DataFrame(rows)


def absent_points(sheet: ImageSheet) -> str:
    """Why some operating points are absent; "" where none is."""
    reasons: dict[str, list[str]] = {}
    for point in sheet.operating_points:
        if point.absent:
            reasons.setdefault(point.absent, []).append(point.name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())


def calibration_table(sheet: ImageSheet) -> pd.DataFrame:
    """Figures of calibration as the scores are, and once the temperature is fitted."""
    calibration = sheet.calibration
    rows = {title_of(name): str(value) for name, value in calibration.figures.items()}
    table = pd.DataFrame({"": list(rows), "as it is": list(rows.values())})
    if calibration.temperature is None:
        return table
    scaled = [str(calibration.scaled.get(name, "–")) for name in calibration.figures]
    return table.assign(**{f"at temperature {calibration.temperature:.3g}": scaled})


def calibration_note(sheet: ImageSheet) -> str:
    """What the expected calibration error is, how much of it is chance, and why a figure lacks."""
    calibration = sheet.calibration
    share = "share that is called rightly" if sheet.class_names else "share of positives"
    told = (
        f"ECE: mean distance between score and {share} over 15 bins (Guo 2017), of equal width or of as many "
        f"images each. Of {sheet.images:,} images a perfectly calibrated model would show "
        f"{calibration.perfect_ece:.3f}."
    )
    slope = calibration.figures.get("slope")
    if slope is not None and math.isnan(slope.value):
        told += " The slope is undefined where scores part the two classes without an error, or one class lacks."
    if calibration.temperature is None:
        return f"{told} No temperature: {calibration.absent}."
    before, after = calibration.figures["log_loss"].value, calibration.scaled["log_loss"].value
    sure = "too sure" if calibration.temperature > 1.05 else "not sure enough" if calibration.temperature < 0.95 else ""
    same = f"{before:.3f}" == f"{after:.3f}"
    effect = f"leaves the log loss here at {before:.3f}"
    if not same:
        effect = f"{'lowers' if after < before else 'raises'} the log loss here, from {before:.3f} to {after:.3f}"
    return (
        f"{told} By validation the scores are {sure or 'about right'}; a temperature of {calibration.temperature:.3g} "
        f"on their logits {effect}."
    )


def subgroup_tables(sheet: ImageSheet) -> dict[str, pd.DataFrame]:
    """What subgroups are by → one row a subgroup; a dash where there are too few images, see `DASH`."""
    names = ("auroc", "accuracy") if sheet.class_names else ("auroc", "sensitivity", "specificity")
    return _by(
        (
            group.by,
            {"": group.name, "images": f"{group.images:,}", "patients": f"{group.patients:,}"}
            | {"positives": f"{group.positives:,}"}
            | {title_of(name): str(group.figures.get(name, "–")) for name in names},
        )
        for group in sheet.subgroups
    )


def mask_group_tables(sheet: MaskSheet) -> dict[str, pd.DataFrame]:
    """What groups of masks are by → one row a group."""
    return _by(
        (
            group.by,
            {"": group.name, "images": f"{group.images:,}", "with a true mask": f"{group.drawn:,}"}
            | {title_of(name): str(group.figures.get(name, "–")) for name in ("dice", "iou")},
        )
        for group in sheet.groups
    )


def _by(entries: Iterable[tuple[str, dict[str, str]]]) -> dict[str, pd.DataFrame]:
    rows: dict[str, list[dict[str, str]]] = {}
    for by, row in entries:
        rows.setdefault(by, []).append(row)
    return {by: pd.DataFrame(part) for by, part in rows.items()}


def _plain(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.3f}"
