"""`report.html`: put together from a run's folder; a part that lacks is named, and the rest is there."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pulmo.errors import PulmoError, RunError
from pulmo.experiment import Experiment
from pulmo.finished import FinishedRun
from pulmo.pages import cases, data_facts, further, headline, provenance
from pulmo.pages.measured import Measured
from pulmo.report import sheet_blocks
from pulmo.report.files import put
from pulmo.report.html import Block, Picture, Pictures, Section, Text, page
from pulmo.report.run_figures import write_figures
from pulmo.sharded import ShardedStrategy
from pulmo.sheets.predictions import class_names_of
from pulmo.tasks.base import Task

log = logging.getLogger(__name__)

NAME = "report.html"
MENDABLE = (PulmoError, ValueError, OSError, LookupError, ArithmeticError, RuntimeError)
"""What a folder that lacks a part, or holds half of one, or a device without room, can raise."""
AT_THE_END = 10_000_000
"""Weights of images drawn for the intervals of a report that a run waits for: about a second."""

CURVES = {
    "roc_test": "ROC curve, test, with the operating points.",
    "precision_recall_test": "Precision-recall curve, test.",
    "froc": "FROC: share of true boxes found against false boxes an image.",
    "scores_test": "Scores of test images by their true class.",
    "dice_test": "Dice of each test image.",
    "dice_by_area_test": "Dice against the size of the true mask.",
}
OF_CLASSES = {"roc_test": "ROC curves, test: each class against all others."}
CONFUSIONS = "Confusion matrices on test at each cut-off: counts, and shares of a row in percent."
CONFUSION_OF_CLASSES = "Confusion matrix on test, by the likeliest class: counts, and shares of a row in percent."
Make = Callable[[], Iterable[Block]]
OVERLAYS = "The best, median and worst test images, with truth and prediction drawn on them."


@dataclass(frozen=True)
class Sources:
    """What a report needs that is in no table of the run.

    class_names   what the scores tell apart; `data_classes`: the classes of the data, which labels in split.csv are of
    task          draws the heat maps of cases, where there is one
    """

    class_names: Sequence[str]
    data_classes: Sequence[str]
    images: cases.Images
    task: Callable[[], Task | None]
    resamples: int = 10_000


def rebuilt(run: FinishedRun, overrides: Sequence[str] = ()) -> Path:
    """Write the report of a run from its folder; images of cases are read from where they lie now.

    `overrides` say where, such as data.root=FOLDER. Raises `PulmoError` where one names nothing of the data set, or the
    page cannot be written, or of another checkpoint than the best, of which the folder has no figures.
    """
    if run.other_checkpoint:
        raise RunError(
            f"a report is of best.ckpt, whose figures lie in {run.folder}; `pulmo evaluate {run.checkpoint}` measures "
            f"{run.other_checkpoint}.ckpt"
        )
    images = cases.from_files(run, overrides)
    names = _names(lambda: run.class_names, run)
    if not run.has("figures"):
        write_figures(run.folder, names)
    return write(run, Sources(names, _names(lambda: run.data_classes, run), images, lambda: _task(run)))


def finished(experiment: Experiment) -> None:
    """Write the report at the end of a run, in one process; what goes wrong is a line in the log, not the run's end."""
    sharded = isinstance(experiment.trainer.strategy, ShardedStrategy)  # no process has the whole network
    task, run = experiment.task, FinishedRun(experiment.folder)
    try:
        images = cases.from_datamodule(experiment.datamodule)
        resamples = min(10_000, max(1_000, AT_THE_END // max(1, len(experiment.datamodule.rows_of("test")))))
        data_classes = experiment.datamodule.class_names
        write(run, Sources(task.class_names, data_classes, images, lambda: None if sharded else task, resamples))
    except MENDABLE as error:
        log.warning("no %s: %s", NAME, error)


def write(run: FinishedRun, sources: Sources) -> Path:
    """Write report.html into the run's folder, whole at once, and give its path."""
    path = run.folder / NAME
    text = page(f"Report of {run.folder.resolve().name}", *_content(run, sources))
    try:
        put(path, text)
    except OSError as error:
        raise PulmoError(f"{path} cannot be written: {error.strerror}; copy the run to where you may write") from error
    return path


def _content(run: FinishedRun, sources: Sources) -> tuple[str, list[Section]]:
    parts, several = Measured(run, sources.resamples), len(sources.class_names) > 2
    try:
        tested = bool(run.has("metrics.json") and len(parts.table))
    except MENDABLE:
        tested = False
    of_test: list[Make] = [lambda: headline.evidence(parts), lambda: headline.in_words(parts, sources.class_names)]
    sections = [
        _section("In short", lambda: headline.warnings(run), lambda: headline.training(run), *of_test[: 2 * tested]),
        _section("What was run", lambda: provenance.what(run)),
        _section(
            "Data, split and leak check",
            lambda: data_facts.facts(run),
            lambda: data_facts.splits(run, sources.data_classes),
            lambda: data_facts.leaks(run),
            lambda: data_facts.left_out(run),
        ),
        _section("Training", lambda: _pictures(run, {"learning_curves": "Learning curves."})),
    ]
    if tested:
        sections += [
            _section("Test figures", lambda: _figures(parts)),
            _section("Curves", lambda: _pictures(run, CURVES | (OF_CLASSES if several else {}))),
            _section("Masks and boxes", lambda: sheet_blocks.masks_and_boxes(parts.sheets)),
            _section("Decisions" if several else "Operating points", lambda: _decisions(run, parts)),
            _section("Subgroups", lambda: _subgroups(parts)),
            _section("Calibration: are scores probabilities?", lambda: _calibration(parts)),
            _section("Best and worst cases", lambda: _cases(run, parts, sources)),
        ]
    sections += [
        _section("Measured afterwards", lambda: further.further(run)),
        _section("Run it again", lambda: provenance.again(run)),
        _section("Where it ran", lambda: provenance.environment(run)),
        _section("The whole configuration", lambda: provenance.whole(run)),
    ]
    return headline.subtitle(run), [section for section in sections if section.blocks]


def _section(title: str, *makes: Make) -> Section:
    """The section; where a part of the run's folder lacks or is broken, a line that says so is in its place."""
    blocks: list[Block] = []
    for make in makes:
        try:
            blocks += make()
        except MENDABLE as error:
            left_out = Text(f"Left out: {error if str(error) else type(error).__name__}", "warning")
            if left_out not in blocks:
                log.warning("%s: %s", title, left_out.text[0].lower() + left_out.text[1:])
                blocks.append(left_out)
    return Section(title, blocks)


def _names(noted: Callable[[], list[str]], run: FinishedRun) -> list[str]:
    """What the checkpoint notes; without one by the columns of several classes' scores."""
    try:
        return noted()
    except MENDABLE:
        try:
            names = class_names_of(run.predictions("test"))
        except MENDABLE:
            names = ()
        return list(names) or ["negative", "positive"]


def _task(run: FinishedRun) -> Task | None:
    """The network that draws heat maps; without it the cases are shown as they are."""
    return run.task if run.has("checkpoints/best.ckpt") else None


def _pictures(run: FinishedRun, captions: dict[str, str]) -> list[Block]:
    """Those figures that the run's folder has; a line where it has none."""
    found = {name: run.folder / "figures" / f"{name}.png" for name in captions}
    shown = [Picture.read(path, captions[name]) for name, path in found.items() if path.is_file()]
    if not shown:
        return [Text(f"Left out: {run.folder}/figures has none of {', '.join(captions)}.", "warning")]
    return [shown[0] if len(shown) == 1 else Pictures(shown)]


def _figures(parts: Measured) -> list[Block]:
    return sheet_blocks.figures(parts.sheets, parts.metrics("test"), parts.resamples, parts.metrics("val"))


def _decisions(run: FinishedRun, parts: Measured) -> list[Block]:
    sheet, path = parts.sheets.images, run.folder / "figures" / "confusion_test.png"
    caption = CONFUSION_OF_CLASSES if sheet is not None and sheet.class_names else CONFUSIONS
    confusions = [Picture.read(path, caption)] if path.is_file() else []
    if sheet is None or not sheet.operating_points:
        return [*confusions]
    return [*sheet_blocks.operating_points(sheet), *confusions]


def _subgroups(parts: Measured) -> list[Block]:
    return [] if parts.sheets.images is None else sheet_blocks.subgroups(parts.sheets.images)


def _calibration(parts: Measured) -> list[Block]:
    sheet = parts.sheets.probabilities
    if sheet is None:
        return []
    picture = Picture.of(sheet_blocks.reliability(sheet), sheet_blocks.reliability_caption(sheet))
    return [*sheet_blocks.calibration(sheet), Pictures([picture])]


def _cases(run: FinishedRun, parts: Measured, sources: Sources) -> list[Block]:
    """Of masks and boxes what was drawn at the end of the run; of a classifier the cases that it is surest of."""
    if parts.drawn:
        path = run.folder / "figures" / "overlays_test.png"
        return [Picture.read(path, OVERLAYS, photo=True)] if path.is_file() else [_no_overlays(run)]
    return list(cases.shown(parts.table, parts.cut_off, sources.class_names, sources.images, sources.task()))


def _no_overlays(run: FinishedRun) -> Text:
    return Text(
        f"Left out: {run.folder}/figures has no overlays_test.png; they are drawn at the end of a run.", "warning"
    )
