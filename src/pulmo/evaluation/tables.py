"""The tables of an evaluation, each cell text already: the same on the screen and on the page."""

import math

import pandas as pd

from pulmo.evaluation.evaluation import Evaluation
from pulmo.metrics.bootstrap import Interval
from pulmo.report.titles import title_of
from pulmo.sheets.images import ImageSheet
from pulmo.sheets.masks import MaskSheet

COCO = ("map", "map_50", "map_75")
RANKING = ("auroc", "average_precision", "brier", "ece")


def figure_tables(of: Evaluation) -> dict[str, pd.DataFrame]:
    """Title → figures with intervals, one row each; of images, masks and boxes as far as there are."""
    tables = {}
    if of.masks is not None:
        tables["Masks"] = _listed(of.masks.figures)
    if of.boxes is not None:
        precision = {name: of.predicted.metrics[name] for name in COCO if name in of.predicted.metrics}
        tables["Boxes"] = _listed(of.boxes.figures | {name: _plain(value) for name, value in precision.items()})
        tables["FROC: box sensitivity by false positives an image"] = pd.DataFrame(
            {"false positives an image": list(of.boxes.froc), "sensitivity": [str(v) for v in of.boxes.froc.values()]}
        )
    if of.images is not None:
        whole = of.images.figures
        if tables:  # the score of a mask or a box is no probability that the image is positive
            whole = {name: value for name, value in whole.items() if name not in ("brier", "ece")}
        first = {name: whole[name] for name in RANKING if name in whole}
        tables["Images" if tables else "Figures"] = _listed(first | whole)
    return tables


def _plain(value: float) -> Interval:
    """A figure that is too slow to be computed thousands of times."""
    return Interval(value, math.nan, math.nan)


def _listed(figures: dict[str, Interval]) -> pd.DataFrame:
    rows = [(title_of(name), str(value)) for name, value in figures.items()]
    return pd.DataFrame(rows, columns=["", "figure (95 % interval)"])


def points_table(sheet: ImageSheet) -> pd.DataFrame:
    """Operating points side by side, a column each; empty for several classes."""
    names = {"sensitivity": "sensitivity", "specificity": "specificity", "precision": "PPV", "npv": "NPV"}
    if sheet.asked_prevalence is not None:
        at = f"{100 * sheet.asked_prevalence:.3g} %"
        names |= {"precision_at": f"PPV at {at}", "npv_at": f"NPV at {at}"}
    columns = {}
    for point in sheet.operating_points:
        counts = (point.true_positives, point.false_positives, point.true_negatives, point.false_negatives)
        columns[point.name] = (
            ["absent", *("–" for _ in (*names, *counts))]
            if point.absent
            else [f"{point.cut_off:.4g}", *(str(point.figures[name]) for name in names), *(f"{n:,}" for n in counts)]
        )
    rows = ["cut-off", *names.values(), "TP", "FP", "TN", "FN"]
    return pd.DataFrame({"": rows} | columns)


def absent_points(sheet: ImageSheet) -> str:
    """Why some operating points are absent; "" where none is."""
    reasons: dict[str, list[str]] = {point.absent: [] for point in sheet.operating_points if point.absent}
    for point in sheet.operating_points:
        if point.absent:
            reasons[point.absent].append(point.name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())


def calibration_table(sheet: ImageSheet) -> pd.DataFrame:
    """Figures of calibration as the scores are, and once the temperature is fitted."""
    before, after = sheet.calibration.figures, sheet.calibration.scaled
    rows = [
        {"": title_of(name), "as it is": str(value), "temperature": str(after.get(name, "–"))}
        for name, value in before.items()
    ]
    table = pd.DataFrame(rows)
    fitted = sheet.calibration.temperature
    if fitted is None:
        return table.drop(columns="temperature")
    return table.rename(columns={"temperature": f"at temperature {fitted:.3g}"})


def subgroup_table(sheet: ImageSheet) -> pd.DataFrame:
    """A row a subgroup; what there are too few of is said instead of a figure."""
    names = ("auroc", "accuracy") if sheet.class_names else ("auroc", "sensitivity", "specificity")
    rows = []
    for group in sheet.subgroups:
        row = {"by": group.by, "subgroup": group.name, "images": f"{group.images:,}", "patients": f"{group.patients:,}"}
        row["positives"] = f"{group.positives:,}"
        row |= {title_of(name): str(group.figures.get(name, "–")) for name in names}
        rows.append(row | {"note": group.few})
    return _without_repeats(pd.DataFrame(rows))


def mask_group_table(sheet: MaskSheet) -> pd.DataFrame:
    """A row a group of masks."""
    rows = [
        {"by": group.by, "subgroup": group.name, "images": f"{group.images:,}", "with a true mask": f"{group.drawn:,}"}
        | {title_of(name): str(group.figures.get(name, "–")) for name in ("dice", "iou")}
        | {"note": group.few}
        for group in sheet.groups
    ]
    return _without_repeats(pd.DataFrame(rows))


def _without_repeats(table: pd.DataFrame) -> pd.DataFrame:
    """What subgroups are by, once; no column of notes where there is none."""
    if table.empty:
        return table
    repeated = table["by"] == table["by"].shift()
    few = table.pop("note").str.removeprefix("too few: ")
    table = table.assign(by=table["by"].mask(repeated, ""))
    return table if (few == "").all() else table.assign(**{"too few": few})
