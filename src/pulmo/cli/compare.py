"""Finished runs beside each other: compare."""

from pathlib import Path
from typing import Annotated

import typer

from pulmo.cli.app import AFTER, app, told


@app.command(
    rich_help_panel=AFTER,
    epilog="Examples: pulmo compare outputs/rsna_resnet18/A outputs/rsna_vgg16/B · pulmo compare 'outputs/**' · "
    "pulmo compare outputs/multirun/2026-03-05_10-42-07 --out seeds.html",
)
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUNS", help="Folders of runs or of sweeps, patterns such as 'outputs/**', or last."),
    ],
    out: Annotated[Path, typer.Option(help="The page, one file that works offline.")] = Path("outputs/compare.html"),
    any_: Annotated[
        bool,
        typer.Option("--any", help="Rank by test set, and leave out what cannot be read, though runs were named."),
    ] = False,
    resamples: Annotated[int, typer.Option(min=100, help="Of the patients, for 95 % intervals.")] = 10_000,
) -> None:
    """Rank finished RUNS, test their differences on the same images, and write a page."""
    with told():
        from pulmo.comparison.chosen import chosen
        from pulmo.comparison.compare import compared
        from pulmo.comparison.telling import tell, written
        from pulmo.report.screen import screen

        comparison = compared(chosen(runs), anyway=any_, resamples=resamples)
        tell(comparison, screen())
        print(written(comparison, out))
