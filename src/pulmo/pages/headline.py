"""The first lines of a report: what a reader should take away, and what should make him wary."""

from collections.abc import Sequence

from pulmo import run_state
from pulmo.errors import PulmoError
from pulmo.finished import FinishedRun
from pulmo.metrics.bootstrap import Interval
from pulmo.pages.data_facts import across, data_name, identical, nameless
from pulmo.pages.measured import Measured
from pulmo.report.html import Block, Text, Tile, Tiles
from pulmo.report.titles import title_of
from pulmo.run_parts import table_of
from pulmo.run_state import State

FEW = 30
"""Positives, or negatives, of a test set below which an interval of a rate spans a quarter of all that it could be."""


def subtitle(run: FinishedRun) -> str:
    """Run, model, data."""
    try:
        parts = [run.name, run.choices.get("model", ""), data_name(run)]
    except PulmoError:  # each section says what it lacks
        parts = [run.name]
    return " · ".join(part for part in parts if part)


def in_words(measured: Measured, class_names: Sequence[str]) -> list[Block]:
    """The test figures in a sentence or two, and the foremost of them as tiles."""
    of = f"On {len(measured.table):,} test images{_whose(measured)}"
    sheet, means = measured.sheets.images, measured.drawn
    told, tiles = [], []
    for name, what in (("dice", "drawn and true mask"), ("rsna_score", "drawn and true boxes")):
        if name in means:
            told.append(f"{of}, {what} agree with a {title_of(name)} of {means[name]}, where 1 is perfect.")
    if "box_sensitivity" in means:
        share, false = _of_100(means["box_sensitivity"]), means["false_positives_per_image"]
        told.append(f"Of 100 true boxes it finds {share}, with {false} false ones an image.")
    shown = ("dice", "iou", "rsna_score", "box_sensitivity", "false_positives_per_image")
    tiles += [_tile(name, means[name]) for name in shown if name in means]
    if sheet is not None and not 0 < sheet.positives < sheet.images:
        told.append(f"{of}, all are of one class: nothing can be said of how well it tells them apart.")
    elif sheet is not None and not sheet.class_names:
        positive = class_names[1] if len(class_names) == 2 else "the finding"
        finds, spares = _of_100(sheet.figures["sensitivity"]), _of_100(sheet.figures["specificity"])
        told.append(
            f"{f'{of}:' if not told else 'As a classifier of images:'} of 100 images with {positive} it finds {finds}, "
            f"and of 100 without it clears {spares}, calling positive what scores {sheet.cut_off:.3f} or more"
            f"{_how(measured.run)}. An image with {positive} scores above one without in "
            f"{_of_100(sheet.figures['auroc'])} of 100 pairs (AUROC). In parentheses: 95 % intervals by patient."
        )
        tiles += [_tile(name, sheet.figures[name]) for name in ("auroc", "sensitivity", "specificity", "precision")]
    elif sheet is not None:
        right = _of_100(sheet.figures["accuracy"])
        told.append(f"{of}, it names the right one of {len(sheet.class_names)} classes in {right} of 100.")
        tiles += [_tile(name, sheet.figures[name]) for name in ("auroc", "accuracy", "balanced_accuracy")]
    return [*(Text(text, "lead") for text in told), Tiles(tiles)]


def _whose(measured: Measured) -> str:
    """Of how many patients the test images are, and whether they are apart from training, as far as anyone knows."""
    run, of = measured.run, f" of {measured.patients:,} patients"
    if not run.has("split.csv"):
        return of
    unknown, same = nameless(run.split), identical(run)
    if unknown[run.split["split"] == "test"].all():
        return " whose patients are unknown, each taken for one of its own"
    leaks = len(across(run.split)) > 0 or (same is not None and len(same) > 0)
    return of if leaks or unknown.any() else f"{of}, none of whom is in the training data"


def _tile(name: str, value: Interval) -> Tile:
    whole, _, spread = str(value).partition(" ")
    return Tile(
        title_of(name),
        whole,
        spread.strip("()") and f"95 %: {spread.strip('()')}",
    )


def _of_100(value: Interval) -> str:
    bounds = f" ({100 * value.low:.0f}–{100 * value.high:.0f})" if value.low == value.low else ""
    return f"{100 * value.value:.0f}{bounds}"


def _how(run: FinishedRun) -> str:
    return ", a cut-off fitted on validation" if run.metrics.get("threshold_is_fitted", 1) else ""


def warnings(run: FinishedRun) -> list[Block]:
    """What should make a reader of any part of the report wary; nothing where nothing should."""
    told: list[str] = []
    if run.environment.get("phantom"):
        told.append("The images are drawn phantoms, not patients: these figures say nothing about medicine.")
    known = run_state.read(run.folder)
    state = known.get("state")
    if state in (State.FAILED, State.INTERRUPTED, State.CUT_OFF, State.PRUNED):
        cause = f": {known['cause']}" if known.get("cause") else ""
        told.append(f"The run was {state}{cause}. `pulmo train resume={run.folder}` goes on with it.")
    for name, what in (
        ("metrics.json", "it was not tested, or ended before its figures were written"),
        ("checkpoints/best.ckpt", "there are no weights to draw heat maps with"),
    ):
        if not run.has(name):
            told.append(f"No {name}: {what}.")
    return [Text(text, "warning") for text in told]


def training(run: FinishedRun) -> list[Block]:
    """Whether it may have been ended too early."""
    if not (run.has("history.csv") and run.has("metrics.json")):
        return []
    best, epochs = run.metrics.get("best_epoch"), len(table_of(run.folder / "history.csv"))
    if best is None or epochs < 2 or int(best) != epochs - 1:
        return []
    return [Text(f"The last of {epochs} epochs was the best on validation: longer training might help.", "warning")]


def evidence(measured: Measured) -> list[Block]:
    """What its test figures cannot say."""
    images, positives = len(measured.table), measured.positives
    _, lacking = measured.run.validation()
    told = [f"{lacking[0].upper()}{lacking[1:]}."] if lacking else []
    least = min(positives, images - positives)
    if 0 < least < FEW:
        which = "positive" if least == positives else "negative"
        told.append(f"Only {least} {which} test images: differences of some percent are chance, see the intervals.")
    earlier = measured.run.config.get("trained_in") if measured.run.has("config.yaml") else None
    if earlier:
        told.append(f"Its weights are those of {earlier}: another threshold was tried on the same test set.")
    return [Text(text, "warning") for text in told]
