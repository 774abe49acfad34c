"""A run's answer to any files: predict."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pulmo.cli.app import AFTER, Run, app, told

if TYPE_CHECKING:
    from pulmo.prediction.asked import Outcome


@app.command(
    rich_help_panel=AFTER,
    epilog="Examples: pulmo predict last /data/new scan.dcm 'more/**/*.png' --out scores.csv "
    "· find /data -name '*.dcm' | pulmo predict RUN - · pulmo predict RUN1 /data --with RUN2 --with RUN3 --tta "
    "· pulmo predict RUN /data --out scores.csv --resume",
)
def predict(
    run: Run,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATHS",
            help="Images, folders (with all below), patterns in quotes; - reads paths from standard input.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The table, .csv or .parquet; other files lie beside it.")] = Path(
        "predictions.csv"
    ),
    list_: Annotated[str | None, typer.Option("--list", help="A file of paths, one a line.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with OUT: skip what has its row.")] = False,
    retry: Annotated[
        bool,
        typer.Option(
            "--retry", help="With --resume: try those again whose row is an error, or lacks its DICOM result."
        ),
    ] = False,
    with_: Annotated[list[str] | None, typer.Option("--with", help="A further run, for an ensemble.")] = None,
    tta: Annotated[
        bool, typer.Option("--tta", help="The mean of four views: as is, mirrored, enlarged by 6 %, both.")
    ] = False,
    threshold: Annotated[
        str | None,
        typer.Option(help="In place of the run's own: a score, or youden, f1, sensitivity, fitted on its validation."),
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder for drawn masks; beside OUT unless given.", show_default=False)
    ] = None,
    dicom: Annotated[Path | None, typer.Option(help="Folder for DICOM results: segmentations or reports.")] = None,
    dicom_ids: Annotated[bool, typer.Option("--dicom-ids", help="Patient, study and image ids as columns.")] = False,
    masks_from: Annotated[Path | None, typer.Option(help="Folder of lung masks, named like the images.")] = None,
    lungs: Annotated[str | None, typer.Option(help="Run that draws the lungs, for one trained on lungs.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images that the network sees at once.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that decode; as many as pay unless given.")] = None,
    seconds: Annotated[float, typer.Option(help="That a file may take to be decoded; then it is an error.")] = 120.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto (each run's own, 32 for boxes), 32 or bf16.")] = "auto",
) -> None:
    """Score images of any kind: a table of scores and decisions, masks, boxes. One bad file is a row with its error."""
    with told():
        from pulmo.finished import opened
        from pulmo.interruption import Interrupted

        for name in (run, *(with_ or [])):
            opened(name)  # a mistyped name, and what else is wrong, is told before torch is loaded
        from pulmo.prediction.asked import Asked

        asked = Asked(
            runs=[run, *(with_ or [])],
            paths=paths or [],
            listed=list_,
            out=out,
            resume=resume,
            retry=retry,
            threshold=threshold,
            tta=tta,
            masks=masks,
            dicom=dicom,
            dicom_ids=dicom_ids,
            masks_from=masks_from,
            lungs=lungs,
            batch_size=batch_size,
            workers=workers,
            seconds=seconds,
            device=device,
            precision=precision,
        )
        asked.check()
        from pulmo.prediction.job import predict

        try:
            outcome = predict(asked)
        except Interrupted as stop:
            print(f"pulmo: stopped by {stop.signal.name}; the same command with --resume goes on", file=sys.stderr)
            raise
        _tell(outcome, single_views=tta and threshold is None)


def _tell(outcome: "Outcome", *, single_views: bool) -> None:
    for run in outcome.runs:
        print(f"by {run}")
    rate = f"{outcome.images / outcome.seconds:.0f} images/s" if outcome.seconds else ""
    before = f" (and {outcome.before:,} before)" if outcome.before else ""
    print(f"{outcome.images:,} images{before} in {outcome.seconds:.1f} s, {rate}; {outcome.errors:,} with an error")
    for line in outcome.failed:
        print(f"  {line}")
    if outcome.errors > len(outcome.failed):
        print(f"  and {outcome.errors - len(outcome.failed):,} more, in the column error")
    if outcome.passed:
        print(f"passed by: {outcome.passed:,} files in the folders, no images by name or content")
    for why, count in outcome.lacking.items():
        print(f"no DICOM result for {count:,} that have their score: {why}")
    if outcome.phantoms:
        print("trained on drawn phantoms, not on patients: these scores say nothing about medicine")
    if outcome.cut_off.value is not None:
        views = ", on single views" if single_views else ""
        print(f"threshold {outcome.cut_off.value:.4g}: {outcome.cut_off.source}{views}")
    for path in outcome.files:
        print(path)
