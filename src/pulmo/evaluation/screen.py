"""What `pulmo evaluate` says on the screen: first which run on which images, then the tables."""

import pandas as pd
from rich.markup import escape
from rich.table import Table

from pulmo.evaluation import tables
from pulmo.evaluation.evaluation import Evaluation
from pulmo.report.screen import screen


def headline(of: Evaluation) -> list[str]:
    """Which run, on which data, how many images, patients and positives; then what must be known."""
    facts = of.facts
    found = "with a true mask" if of.images is None and of.masks is not None else "positive"
    counts = f"{facts['images']:,} images of {facts['patients']:,} patients, {facts['positives']:,} {found}"
    trained = "" if facts["own"] else f", external: the run was trained on {facts['trained_on']}"
    checkpoint = "" if facts["checkpoint"] == "best" else f", checkpoint {facts['checkpoint']}"
    what = "a pixel is drawn where its probability" if of.masks is not None else "positive where the score"
    decided = of.cut.said if facts["threshold"] is None else f"{what} reaches {of.cut.said}"
    lines = [
        f"{facts['run']}{checkpoint} on {facts['data']} ({facts['images_of']}{trained})",
        counts + (f" ({100 * facts['positives'] / facts['images']:.1f} %)" if facts["images"] else ""),
        decided,
        f"scores: {facts['predicted_by']}; intervals: 95 %, {facts['resamples']:,} resamples of patients",
    ]
    return lines


def warnings(of: Evaluation) -> list[str]:
    """What must be known before a figure is believed."""
    drawn = ["drawn phantoms, not patients: these figures say nothing about medicine"] if of.facts["phantom"] else []
    return drawn + of.notes


def show(of: Evaluation) -> None:
    """Print the evaluation."""
    console = screen()
    first, *rest = headline(of)
    console.print(f"[bold]{_plain(first)}[/bold]")
    for line in rest:
        console.print(_plain(line))
    for line in warnings(of):
        console.print(f"[yellow]! {_plain(line)}[/yellow]")
    for title, table in tables.figure_tables(of).items():
        console.print(_rich(table, title))
    if of.masks is not None and of.masks.groups:
        console.print(_rich(tables.mask_group_table(of.masks), "Masks by size and subgroup"))
    if of.images is None:
        return
    if of.images.operating_points:
        for part in _side_by_side(tables.points_table(of.images), console.width):
            console.print(_rich(part, "Operating points; fitted cut-offs are of validation"))
        if absent := tables.absent_points(of.images):
            console.print(_plain(absent))
    if of.masks is None and of.boxes is None:
        console.print(_rich(tables.calibration_table(of.images), "Calibration"))
        console.print(_plain(calibration_note(of)))
    if of.images.subgroups:
        console.print(_rich(tables.subgroup_table(of.images), "Subgroups, at the cut-off"))


def calibration_note(of: Evaluation) -> str:
    """What the expected calibration error is, and how much of it is chance."""
    if of.images is None:
        return ""
    calibration = of.images.calibration
    absent = f"; no temperature: {calibration.absent}" if calibration.absent else ""
    return (
        "ECE: mean distance between score and share of positives over 15 bins (Guo 2017), of equal width or of as many "
        f"images each. Of {of.images.images:,} images a perfectly calibrated model would show "
        f"{calibration.perfect_ece:.3f}{absent}."
    )


def _side_by_side(points: pd.DataFrame, width: int) -> list[pd.DataFrame]:
    """The table in parts as wide as the screen; intervals stand below their figures."""
    first, *names = points.columns
    room = max(1, (width - 16) // 14)
    narrow = points.apply(lambda column: column.str.replace(" (", "\n", regex=False).str.removesuffix(")"))
    return [narrow[[first, *names[start : start + room]]] for start in range(0, len(names), room)]


def _rich(table: pd.DataFrame, title: str) -> Table:
    shown = Table(title=title, title_justify="left", header_style="bold")
    for name in table.columns:
        shown.add_column(_plain(name), overflow="fold")
    for row in table.itertuples(index=False):
        shown.add_row(*(_plain(cell) for cell in row))
    return shown


def _plain(text: object) -> str:
    return escape(str(text))  # a class may be called [a]
