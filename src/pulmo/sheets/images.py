"""What a predictions table says of images: figures, operating points, calibration, subgroups, with intervals."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pulmo.metrics.bootstrap import Interval, Weighted, resampled, together
from pulmo.metrics.weighted import BinaryFigures, MulticlassFigures
from pulmo.sheets import calibration as calibrations
from pulmo.sheets import operating_points as points
from pulmo.sheets import subgroups as groups
from pulmo.sheets.calibration import Calibration
from pulmo.sheets.operating_points import OperatingPoint
from pulmo.sheets.predictions import Scored, scored
from pulmo.sheets.subgroups import Subgroup

PARTS = ("point/", "calibration/", "scaled/", "group/")


@dataclass(frozen=True)
class ImageSheet:
    """Figures of classified images; every interval is of 95 %, over resampled patients.

    class_names       of more than two classes; empty for two
    cut_off           the run's own; NaN for more than two classes, of which the likeliest is taken
    prevalence        share of positives among the images; `asked_prevalence` is the one that the user gave
    figures           at the run's cut-off, named as in metrics.json; `brier` and `ece` too
    operating_points  the run's own first; empty for more than two classes
    """

    images: int
    patients: int
    positives: int
    class_names: tuple[str, ...]
    cut_off: float
    asked_prevalence: float | None
    resamples: int
    figures: dict[str, Interval]
    operating_points: list[OperatingPoint]
    calibration: Calibration
    subgroups: list[Subgroup]

    @property
    def prevalence(self) -> float:
        """Share of positive images."""
        return self.positives / self.images


def image_sheet(
    test: pd.DataFrame,
    val: pd.DataFrame | None,
    cut_off: float,
    *,
    prevalence: float | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    given: Mapping[str, float] | None = None,
) -> ImageSheet:
    """Measure the labelled images of `test`; what is fitted is fitted on `val`, never on them.

    Both are predictions tables, as a run writes them. `cut_off` is the run's own; else `given` names it, and
    others to be shown beside it. Raises `DataError` where a column is missing, a score is no
    number between 0 and 1, or nothing is labelled. Without `val` fitted cut-offs and temperature are absent.
    """
    images = scored(test, "the predictions")
    validation = None if val is None or not len(val) else scored(val, "the validation predictions")
    several = bool(images.class_names)
    if validation is not None and validation.class_names != images.class_names:
        validation = None
    cuts = {} if several else points.cut_offs(given or {points.OWN: cut_off}, validation)
    fitted, absent = _temperature(validation)
    scaled = None if fitted is None else calibrations.at_temperature(images, fitted)
    plain: Weighted = (
        MulticlassFigures(images.probabilities, images.labels, images.class_names)
        if several
        else BinaryFigures(images.scores, images.labels, {"": cut_off})
    )
    parts: list[Weighted] = [
        plain,
        *points.measured(images, cuts),
        *calibrations.measured(images, scaled),
        *groups.measured(images, cut_off),
    ]
    drawn = resampled(together(*parts), images.patients, resamples=resamples, seed=seed)
    if prevalence is not None:
        drawn = drawn.derived(lambda values: points.at_prevalence(values, cuts, prevalence))
    found = drawn.intervals()
    found |= calibrations.error_intervals(images, scaled, drawn, seed)
    calibrated = calibrations.calibration(images, fitted, scaled, absent, found, seed)
    figures = {name: value for name, value in found.items() if not name.startswith(PARTS)}
    figures |= {name: calibrated.figures[name] for name in ("brier", "ece")}
    return ImageSheet(
        images=len(images.labels),
        patients=len(np.unique(images.patients.astype(str))),
        positives=int((images.labels > 0).sum()),
        class_names=images.class_names,
        cut_off=math.nan if several else cut_off,
        asked_prevalence=prevalence,
        resamples=resamples,
        figures=figures,
        operating_points=points.operating_points(images, cuts, found, prevalence),
        calibration=calibrated,
        subgroups=groups.subgroups(images, found),
    )


def _temperature(val: Scored | None) -> tuple[float | None, str]:
    """The temperature, or why there is none."""
    if val is None:
        return None, "no validation predictions to fit a temperature on"
    if len(np.unique(val.labels)) < 2:
        return None, "validation holds one class alone"
    fitted = calibrations.temperature(val)
    if fitted is None:
        return None, "of validation none is best: its log loss falls to the end of what was tried"
    return fitted, ""
