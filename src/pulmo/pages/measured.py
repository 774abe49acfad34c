"""What came out: figures with intervals, operating points, calibration and subgroups, from a run's tables alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from pulmo.errors import RunError
from pulmo.finished import FinishedRun
from pulmo.metrics.bootstrap import Interval
from pulmo.report.html import Block, Grid, Picture, Pictures, Text
from pulmo.report.reliability import Reliability, reliability_diagram
from pulmo.report.titles import title_of
from pulmo.sheets.boxes import box_sheet
from pulmo.sheets.images import ImageSheet, image_sheet
from pulmo.sheets.masks import mask_sheet
from pulmo.sheets.operating_points import OWN
from pulmo.sheets.predictions import patients_of

COMMON = (
    "auroc",
    "average_precision",
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "precision",
    "npv",
    "f1",
)
FIGURES = (*COMMON, "brier", "ece")


@dataclass(frozen=True)
class Measured:
    """The test split of a run, measured; each part is computed when asked for, and once."""

    run: FinishedRun
    resamples: int = 10_000

    @cached_property
    def table(self) -> pd.DataFrame:
        """The labelled test images."""
        try:
            table = self.run.predictions("test")
        except (ValueError, pd.errors.ParserError) as error:
            raise RunError(f"predictions_test.csv cannot be read: {error}") from error
        return table[table["label"] >= 0].reset_index(drop=True)

    @property
    def positives(self) -> int:
        """Images of a class other than the first."""
        return int((self.table["label"] > 0).sum())

    @property
    def patients(self) -> int:
        """Patients of these images."""
        return len(np.unique(patients_of(self.table).astype(str)))

    @cached_property
    def sheet(self) -> ImageSheet | None:
        """Figures of images called positive or negative; None where the images have one label alone."""
        if self.table["label"].nunique() < 2:
            return None
        return image_sheet(self.table, self.run.validation()[0], self.cut_off, resamples=self.resamples)

    @cached_property
    def means(self) -> dict[str, Interval]:
        """Figures of masks and of boxes, where the run draws such; empty for a classifier."""
        found: dict[str, Interval] = {}
        if "dice" in self.table:
            found |= mask_sheet(self.table, resamples=self.resamples).figures
        boxes = self.run.boxes("test") if "true_boxes" in self.table else None
        if boxes is not None:
            found |= box_sheet(self.table, boxes, self.cut_off, resamples=self.resamples).figures
        return found

    @property
    def cut_off(self) -> float:
        """The run's own; 0.5 where it has none."""
        value = self.run.metrics.get("threshold")
        return 0.5 if value is None else float(value)


def figures(measured: Measured, metrics: Mapping[str, float | None]) -> list[Block]:
    """A table of all figures with their intervals; those that have none stand without."""
    rows = [{"figure": title_of(name), "test": str(value)} for name, value in measured.means.items()]
    sheet = measured.sheet
    if sheet is not None:
        names = COMMON if measured.means else FIGURES  # what scores an image by its boxes or pixels is no probability
        known = {name: sheet.figures[name] for name in names if name in sheet.figures}
        rows += [{"figure": title_of(name), "test": str(value)} for name, value in known.items()]
        rows += [{"figure": title_of(name), "test": str(v)} for name, v in sheet.figures.items() if "/" in name]
    told = {row["figure"] for row in rows}
    for name in ("dice_pooled", "map", "map_50", "loss"):
        value = metrics.get(f"test/{name}")
        if value is not None and title_of(name) not in told:
            rows.append({"figure": title_of(name), "test": f"{value:.3f}"})
    table = pd.DataFrame(rows)
    keys = {title_of(name.removeprefix("val/")): value for name, value in metrics.items() if name.startswith("val/")}
    table["validation"] = [_number(keys.get(name)) for name in table["figure"]]
    return [
        Text(
            f"95 % intervals: patients, not images, drawn again {measured.resamples:,} times. An AUROC of 1, "
            "which comes out the same each time, has none, nor has any of a single patient."
        ),
        Grid(table.rename(columns={"figure": "Figure", "test": "Test (95 % interval)", "validation": "Validation"})),
    ]


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.3f}"


def operating_points(measured: Measured) -> list[Block]:
    """The cut-offs at which the classifier could work, each with what comes of it on the test images."""
    sheet = measured.sheet
    if sheet is None or not sheet.operating_points:
        return [Text("One class alone, or several: there is no cut-off to choose.")]
    rows, lacking = [], []
    for point in sheet.operating_points:
        name = "the run's own" if point.name == OWN else point.name
        if point.absent:
            lacking.append(f"{name}: {point.absent}.")
            continue
        row = {"Cut-off": name, "Score ≥": f"{point.cut_off:.3f}"}
        names = ("sensitivity", "specificity", "precision", "npv")
        heads = ("Sensitivity", "Specificity", "Precision (PPV)", "NPV")
        row |= {head: str(point.figures[figure]) for head, figure in zip(heads, names, strict=True)}
        rows.append(row | {"Missed": f"{point.false_negatives:,}", "False alarms": f"{point.false_positives:,}"})
    text = (
        "Cut-offs other than 0.5 and 0.25 were fitted on validation; the test images had no say in them. Predictive "
        f"values hold where {100 * sheet.prevalence:.0f} % of images are positive, as here; `pulmo evaluate RUN "
        "--prevalence 0.05` gives those elsewhere."
    )
    return [Text(text), Grid(pd.DataFrame(rows)), *map(Text, lacking)]


def calibration(measured: Measured) -> list[Block]:
    """Whether a score of 0.8 means 80 of 100."""
    sheet = measured.sheet
    if sheet is None:
        return [Text("One class alone: nothing to calibrate.")]
    found = sheet.calibration
    rows = [
        {
            "Figure": name,
            "As the run scores": str(found.figures[key]),
            "After scaling": str(found.scaled.get(key, "–")),
        }
        for name, key in (
            ("expected calibration error", "ece"),
            ("Brier score", "brier"),
            ("log loss", "log_loss"),
            ("calibration slope (1 is right)", "slope"),
            ("calibration in the large (0 is right)", "in_the_large"),
        )
        if key in found.figures
    ]
    told = f"Chance alone would leave an expected calibration error of {found.perfect_ece:.3f} on so many images."
    if found.temperature is None:
        told += f" No temperature: {found.absent}."
    else:
        sure = (
            "too sure" if found.temperature > 1.05 else "not sure enough" if found.temperature < 0.95 else "about right"
        )
        better = found.scaled["ece"].value < found.figures["ece"].value
        told += (
            f" By validation the scores are {sure} (temperature {found.temperature:.2f}); dividing their logits by it "
            f"{'helps' if better else 'does not help'} on test."
        )
    curves = {"as the run scores": Reliability.of(found.bins)}
    if found.scaled_bins:
        curves["after temperature scaling"] = Reliability.of(found.scaled_bins)
    y = "Share that is right" if sheet.class_names else "Share of positive images"
    caption = (
        "Share of positives among images of like score, with 95 % intervals, and how many they are. On the diagonal"
    )
    picture = Picture.of(reliability_diagram(curves, y=y), f"{caption} a score is a probability.")
    return [Text(told), Grid(pd.DataFrame(rows)), Pictures([picture])]


def subgroups(measured: Measured) -> list[Block]:
    """The same figures by sex, age, view and whatever else the table tells."""
    sheet = measured.sheet
    if sheet is None or not sheet.subgroups:
        return []
    blocks: list[Block] = [Text("A mean hides who it fails. Figures of fewer than 10 images of a class are left out.")]
    for by in dict.fromkeys(group.by for group in sheet.subgroups):
        groups = [group for group in sheet.subgroups if group.by == by]
        names = list(dict.fromkeys(name for group in groups for name in group.figures))
        rows = [
            {by: group.name, "Images": f"{group.images:,}", "Positive": f"{group.positives:,}"}
            | {title_of(name): str(group.figures.get(name, "–")) for name in names}
            | {"": "" if group.few.endswith(": ") else group.few}
            for group in groups
        ]
        table = pd.DataFrame(rows)
        blocks.append(Grid(table if any(group.few for group in groups) else table.drop(columns="")))
    return blocks
