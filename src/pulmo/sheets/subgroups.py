"""The same figures among women and men, young and old, by view and source: where a mean hides a failure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from pulmo.metrics.bootstrap import Interval, Weighted
from pulmo.metrics.weighted import BinaryFigures, MulticlassFigures, Ratios, Values, Weights
from pulmo.sheets.ages import NAMES, age_bands
from pulmo.sheets.predictions import Labels, Scored, named

FEWEST = 10
"""Images of a class, at least, for a figure of it: below, an interval spans nearly everything."""

MOST = 12
"""Different values, at most, of a column that makes subgroups."""

NOT_GIVEN = "not given"
NO_SUBGROUP = frozenset(
    {"image_id", "patient_id", "path", "label", "score", "prediction", "dice", "iou", "pixel_accuracy", "true_area"}
    | {"predicted_area", "true_boxes", "predicted_boxes", "rsna_score", "age", "error"}
)


@dataclass(frozen=True)
class Subgroup:
    """Images that share a value.

    figures  `auroc`, `sensitivity`, `specificity` at the run's cut-off (of several classes `auroc`, `accuracy`), as far
             as there are `FEWEST` images of each class that they are about
    few      what there are too few of; "" where there are enough
    """

    by: str
    name: str
    images: int
    patients: int
    positives: int
    figures: dict[str, Interval]
    few: str


def groupings(table: pd.DataFrame) -> Iterator[tuple[str, "pd.Series[str]"]]:
    """Each column that makes subgroups, and the subgroup of each image; ages in bands, of what is empty `NOT_GIVEN`.

    A column with a single value, or more than `MOST`, makes none.
    """
    if "age" in table:
        yield from _worth("age", age_bands(table["age"], NOT_GIVEN))
    for column in table.columns:
        if column not in NO_SUBGROUP and not column.startswith("score_"):
            values = table[column].astype(object).where(table[column].notna(), "").astype(str).str.strip()
            yield from _worth(column, values.mask(values == "", NOT_GIVEN))


def _worth(name: str, values: "pd.Series[str]") -> Iterator[tuple[str, "pd.Series[str]"]]:
    if 2 <= values.nunique() <= MOST:
        yield name, values


def measured(test: Scored, cut_off: float) -> list[Weighted]:
    """Figures `group/BY/NAME/FIGURE` of every subgroup."""
    parts: list[Weighted] = []
    pairs: dict[str, tuple[Values, Values]] = {}
    positive, called = test.labels == 1, test.scores >= cut_off
    right = test.probabilities.argmax(1) == test.labels
    for by, values in groupings(test.table):
        for name in values.unique():
            inside, prefix = (values == name).to_numpy(), f"group/{by}/{name}/"
            places = np.flatnonzero(inside)
            parts.append(_Ranked(_ranking(test, places), places, prefix))
            if test.class_names:
                pairs[f"{prefix}accuracy"] = _share(right & inside, inside)
                continue
            pairs[f"{prefix}sensitivity"] = _share(called & positive & inside, positive & inside)
            pairs[f"{prefix}specificity"] = _share(~called & ~positive & inside, ~positive & inside)
    return [*parts, Ratios(pairs)]


@dataclass(frozen=True)
class _Ranked:
    """`auroc` of the images at `places` alone."""

    figures: Weighted
    places: npt.NDArray[np.intp]
    prefix: str

    def __call__(self, weights: Weights) -> dict[str, npt.NDArray[np.floating]]:
        return {f"{self.prefix}auroc": self.figures(weights[:, self.places])["auroc"]}


def _ranking(test: Scored, places: npt.NDArray[np.intp]) -> Weighted:
    labels = test.labels[places]
    if test.class_names:
        return MulticlassFigures(test.probabilities[places], labels, test.class_names)
    return BinaryFigures(test.scores[places], labels)


def _share(part: npt.NDArray[np.bool_], whole: npt.NDArray[np.bool_]) -> tuple[Values, Values]:
    return part.astype(np.float64), whole.astype(np.float64)


def subgroups(test: Scored, figures: Mapping[str, Interval]) -> list[Subgroup]:
    """Put the figures of `measured` where they belong, without those of too few images."""
    found = []
    for by, values in groupings(test.table):
        for name in _ordered(values):
            inside = (values == name).to_numpy()
            labels, prefix = test.labels[inside], f"group/{by}/{name}/"
            own = named(figures, prefix)
            enough, few = _enough(labels, test.class_names)
            kept = {figure: own[figure] for figure in enough}
            patients = len(np.unique(test.patients[inside].astype(str)))
            found.append(Subgroup(by, name, len(labels), patients, int((labels > 0).sum()), kept, few))
    return found


def _enough(labels: Labels, class_names: tuple[str, ...]) -> tuple[list[str], str]:
    if class_names:
        scarce = [name for k, name in enumerate(class_names) if (labels == k).sum() < FEWEST]
        few = f"fewer than {FEWEST} of {', '.join(scarce)}" if scarce else ""
        return (["auroc"] if not scarce else []) + (["accuracy"] if len(labels) >= FEWEST else []), few
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    enough = [name for name, count in (("sensitivity", positives), ("specificity", negatives)) if count >= FEWEST]
    counts = ((positives, "positive"), (negatives, "negative"))
    few = ", ".join(f"{count or 'no'} {what}{'s' * (count != 1)}" for count, what in counts if count < FEWEST)
    return ([] if few else ["auroc"]) + enough, few


def _ordered(values: "pd.Series[str]") -> list[str]:
    """By name, bands of ages by age, "not given" last."""
    return sorted(
        values.unique(), key=lambda name: (name == NOT_GIVEN, NAMES.index(name) if name in NAMES else 0, name)
    )
