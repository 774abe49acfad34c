"""After the training: evaluate a run on its own test split or on another data set."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pulmo.cli.app import AFTER, Overrides, Run, app, said, told

Wanted = Literal["test", "val", "all"]


@app.command(
    rich_help_panel=AFTER,
    epilog="Examples: pulmo evaluate last · pulmo evaluate last --threshold youden --prevalence 0.05 · "
    "pulmo evaluate RUN data=rsna data.root=/data/rsna (external) · pulmo evaluate RUN data.root=/moved --again",
)
def evaluate(
    run: Run,
    overrides: Overrides = None,
    split: Annotated[
        Wanted | None,
        typer.Option(help="Which images: by default the run's test split, of another data set all it has not seen."),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="A score, or youden, f1, sensitivity, half, quarter; fitted on the run's validation. "
            "By default the run's own."
        ),
    ] = None,
    prevalence: Annotated[float | None, typer.Option(help="Share of ill people to give PPV and NPV at.")] = None,
    resamples: Annotated[int, typer.Option(help="Of patients, for the intervals.")] = 10_000,
    again: Annotated[bool, typer.Option("--again", help="By the network, though the run has its predictions.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder; by default evaluations/DATA_SPLIT… in the run's.")] = None,
) -> None:
    """Measure RUN with 95 % intervals: figures, operating points, calibration, subgroups; tables, figures and a page.

    Overrides name another data set, such as data=rsna data.root=FOLDER, and the machine, such as strategy=cpu. Images
    are prepared as the run's were.
    """
    with told(), said():
        from pulmo.finished import opened

        finished = opened(run)  # a mistyped name is told before torch is loaded
        from pulmo.evaluation import folder, screen
        from pulmo.evaluation.evaluation import Wish, evaluated
        from pulmo.launch import quiet

        quiet()
        wish = Wish(overrides or [], split, threshold, prevalence, resamples, again, out)
        evaluation = evaluated(finished, wish)
        written = folder.write(evaluation, out)  # before the screen, which may be a pipe that was closed
        screen.show(evaluation)
        print(written / "evaluation.html")
