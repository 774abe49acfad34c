"""The page of a finished run: report."""

from pulmo.cli.app import AFTER, Overrides, Run, app, told


@app.command(
    rich_help_panel=AFTER,
    epilog="Examples: pulmo report last · pulmo report outputs/rsna_resnet18/2026-03-05_10-42-07_123456 "
    "· pulmo report RUN data.root=/data/rsna (where the images lie elsewhere now)",
)
def report(run: Run, overrides: Overrides = None) -> None:
    """Write report.html into the folder of RUN: what was run, on what, how well, and its best and worst cases."""
    with told():
        from pulmo.finished import opened

        finished = opened(run)  # a mistyped name is told before torch is loaded
        from pulmo.pages.report import rebuilt

        print(rebuilt(finished, overrides or []))
