"""What `pulmo evaluate` says on the screen: first which run on which images, then the tables."""

from rich.markup import escape

from pulmo.evaluation.evaluation import Evaluation
from pulmo.report import sheet_tables as tables
from pulmo.report.screen import beside, grid, screen


def headline(of: Evaluation) -> list[str]:
    """Which run, on which data, how many images, patients and positives; then what must be known."""
    facts = of.facts
    found = "with a true mask" if of.sheets.images is None and of.sheets.masks is not None else "positive"
    counts = f"{facts['images']:,} images of {facts['patients']:,} patients, {facts['positives']:,} {found}"
    trained = "" if facts["own"] else f", external: the run was trained on {facts['trained_on']}"
    checkpoint = "" if facts["checkpoint"] == "best" else f", checkpoint {facts['checkpoint']}"
    drawn = of.sheets.masks is not None
    what = "a pixel is drawn where its probability" if drawn else "positive where the score"
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
    console.print(f"[bold]{escape(first)}[/bold]")
    for line in rest:
        console.print(escape(line))
    for line in warnings(of):
        console.print(f"[yellow]! {escape(line)}[/yellow]")
    for title, figures in tables.figures_of(of.sheets, of.predicted.metrics).items():
        console.print(grid(tables.listed(figures), title))
    if len(froc := tables.froc_table(of.sheets)):
        console.print(grid(froc, tables.FROC))
    for by, table in ({} if of.sheets.masks is None else tables.mask_group_tables(of.sheets.masks)).items():
        console.print(grid(table, f"Masks by {by}"))
    images = of.sheets.images
    if images is None:
        return
    if images.operating_points:
        for part in beside(tables.points_table(images), console.width):
            console.print(grid(part, "Operating points; fitted cut-offs are of validation"))
        if absent := tables.absent_points(images):
            console.print(escape(absent))
    if of.sheets.probabilities is not None:
        console.print(grid(tables.calibration_table(images), "Calibration"))
        console.print(escape(tables.calibration_note(images)))
    for by, table in tables.subgroup_tables(images).items():
        console.print(grid(table, f"By {by}" if images.class_names else f"By {by}, at the cut-off"))
    if images.subgroups:
        console.print(tables.DASH)
