"""Before the training: what is in a data set."""

from pathlib import Path
from typing import Annotated

import typer

from pulmo.cli.app import DATA, Overrides, app, told


@app.command(
    rich_help_panel=DATA,
    epilog="Examples: pulmo inspect data=rsna data.root=/data/rsna · pulmo inspect data=kermany --quick "
    "· pulmo inspect data=folder data.root=mine data.csv=list.csv --out report",
)
def inspect(
    overrides: Overrides = None,
    quick: Annotated[bool, typer.Option("--quick", help="Read the lists alone, no image file.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the page, figures and csv files; else outputs/inspect/DATA.")
    ] = None,
) -> None:
    """Tell what is in a data set, by the OVERRIDES of train.py: counts, files, duplicates; status 1 on a leak."""
    with told():
        from pulmo.composition import composed
        from pulmo.inspection import findings
        from pulmo.inspection.contents import contents
        from pulmo.inspection.writing import tell, write

        given = overrides or []
        config = composed(given)
        found = contents(config, quick=quick)
        tell(found)
        path = write(found, out or Path("outputs") / "inspect" / found.name, given)
        print(f"\n{path}\n{findings.verdict(found)}")
        if findings.leaks(found):
            raise typer.Exit(1)
