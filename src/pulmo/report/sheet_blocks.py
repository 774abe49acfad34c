"""Sheets as blocks of a page: an evaluation and a run's report say the same in the same words."""

import math
from collections.abc import Callable, Mapping
from functools import partial

from matplotlib.figure import Figure

from pulmo.metrics.bootstrap import Interval
from pulmo.report import sheet_tables as tables
from pulmo.report.forest import Row, forest_plot
from pulmo.report.html import Block, Grid, Text
from pulmo.report.reliability import Reliability, reliability_diagram
from pulmo.report.titles import title_of
from pulmo.sheets.images import ImageSheet
from pulmo.sheets.whole import Sheets

INTERVALS = (
    "In parentheses: the 95 % percentile interval over patients, each with all of their images, drawn again "
    "{resamples:,} times (cluster bootstrap). A share of 0 or 1 has the exact interval of Clopper and Pearson, ECE "
    "that of the basic bootstrap. An AUROC of 1, which no resample changes, has none, nor has any figure of a single "
    "patient."
)
POINTS = (
    "Cut-offs of policies are fitted on the run's validation{fitted}. PPV and NPV hold where {prevalence:.0f} % of "
    "images are positive, as here{elsewhere}."
)
FITTED = {
    False: ", never on these images",
    True: ": on these very images, so that they look better here than elsewhere",
}
SUBGROUPS = f"A mean hides whom it fails: the same figures by subgroup. {tables.DASH}"
BINNED = (
    "in 15 bins of equal width, with 95 % intervals, and how many they are. On the diagonal a score is a probability; "
    "below it scores are too high. Dashed: after temperature scaling, fitted on validation. Pale: fewer than 5 images."
)


def figures(
    sheets: Sheets, metrics: Mapping[str, float], resamples: int, validation: Mapping[str, float] | None = None
) -> list[Block]:
    """All figures with their intervals, a table each of masks, boxes and images."""
    named = tables.figures_of(sheets, metrics)
    grids = [Grid(tables.listed(found, validation), title if len(named) > 1 else "") for title, found in named.items()]
    return [*grids, Text(INTERVALS.format(resamples=resamples))]


def masks_and_boxes(sheets: Sheets) -> list[Block]:
    """Masks by size and subgroup, boxes by false alarms."""
    groups = {} if sheets.masks is None else tables.mask_group_tables(sheets.masks)
    blocks: list[Block] = [Grid(table, f"Masks by {by}") for by, table in groups.items()]
    froc = tables.froc_table(sheets)
    return [*blocks, Grid(froc, tables.FROC)] if len(froc) else blocks


def operating_points(sheet: ImageSheet, *, of_validation: bool = False) -> list[Block]:
    """The cut-offs at which the classifier could work, what comes of each, and which are absent.

    `of_validation`: the images are those that the cut-offs were fitted on.
    """
    absent = tables.absent_points(sheet)
    said: list[Block] = [Text(f"Absent are {absent}.", "warning")] if absent else []
    asked = sheet.asked_prevalence
    elsewhere = "; `pulmo evaluate RUN --prevalence 0.05` gives those elsewhere"
    text = POINTS.format(
        fitted=FITTED[of_validation],
        prevalence=100 * sheet.prevalence,
        elsewhere=elsewhere if asked is None else f", or {100 * asked:.3g} %, by Bayes' theorem",
    )
    table = tables.points_table(sheet)
    rates = ["", "cut-off", *tables.RATES.values()]
    further = ["", *(name for name in table.columns if name not in rates)]  # side by side they would be too wide
    return [Text(text), *said, Grid(table[rates]), Grid(table[further])]


def calibration(sheet: ImageSheet) -> list[Block]:
    """Whether a score of 0.8 means that 80 of 100 are positive; the diagram stands apart, see `reliability`."""
    return [Text(tables.calibration_note(sheet)), Grid(tables.calibration_table(sheet))]


def subgroups(sheet: ImageSheet) -> list[Block]:
    """A table for each thing that subgroups are by; empty where there are none."""
    found = tables.subgroup_tables(sheet)
    return [Text(SUBGROUPS), *(Grid(table, f"By {by}") for by, table in found.items())] if found else []


def reliability(sheet: ImageSheet, title: str = "") -> Figure:
    """The reliability diagram, as the scores are and at the fitted temperature."""
    found = sheet.calibration
    curves = {f"as it is, ECE {found.figures['ece'].value:.3f}": Reliability.of(found.bins)}
    if found.temperature is not None:
        after = f"at temperature {found.temperature:.2f}, ECE {found.scaled['ece'].value:.3f}"
        curves[after] = Reliability.of(found.scaled_bins)
    if sheet.class_names:
        return reliability_diagram(curves, title, "Mean score of the likeliest class", "Share that is right")
    return reliability_diagram(curves, title)


def reliability_caption(sheet: ImageSheet) -> str:
    """What `reliability` shows; of several classes the score is that of the class that is called."""
    what = "Share of images called rightly" if sheet.class_names else "Share of positive images"
    return f"{what} against their mean score, {BINNED}"


def forests(sheet: ImageSheet, title: str = "") -> dict[str, Callable[[], Figure]]:
    """Name of a figure → what draws it by subgroup, one below the other; of those figures that any subgroup has."""
    names = ("auroc", "accuracy") if sheet.class_names else ("auroc", "sensitivity", "specificity")
    found: dict[str, Callable[[], Figure]] = {}
    for name in names:
        if any(name in group.figures for group in sheet.subgroups):
            rows = [
                _row(group.by, group.name, group.images, group.figures.get(name), group.few)
                for group in sheet.subgroups
            ]
            whole = _row("", "all images", sheet.images, sheet.figures[name], "undefined")
            found[name] = partial(forest_plot, rows, whole, title_of(name), title)
    return found


def _row(by: str, name: str, images: int, value: Interval | None, note: str) -> Row:
    found = value or Interval(math.nan, math.nan, math.nan)
    return Row(by, name, f"{images:,}", *found, note=note)
