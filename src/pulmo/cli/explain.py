"""Where a trained network looks, and whether it needs the lungs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pulmo.cli.app import AFTER, Run, app, told

METHODS = (
    "gradcam, gradcam++, xgradcam, hirescam, layercam, elementwise, eigencam, eigengradcam; "
    "slow: ablationcam, scorecam, which take minutes an image on a CPU."
)


@app.command(
    rich_help_panel=AFTER,
    epilog="Examples: pulmo explain last · pulmo explain RUN --split val --errors --method gradcam++ · "
    "pulmo explain RUN film.dcm folder/ · pulmo explain RUN --image ID --layer features.14 --feature-maps · "
    "pulmo explain RUN --probe · pulmo explain RUN data=rsna data.root=/data/rsna --lungs outputs/lungs/RUN",
)
def explain(
    run: Run,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATHS | OVERRIDES",
            help="Files and folders; or values such as data=rsna data.root=FOLDER.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        Literal["train", "val", "test", "all"] | None,
        typer.Option(help="Which images: by default the run's test split, of another data=… all it has not seen."),
    ] = None,
    worst: Annotated[int | None, typer.Option(help="Draw the N images with the least probable truth.", min=1)] = None,
    best: Annotated[int | None, typer.Option(help="Draw the N images with the most probable truth.", min=1)] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Draw all that are called wrongly.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Draw all images.")] = False,
    image: Annotated[list[str] | None, typer.Option(help="Draw the image of this id; more than once.")] = None,
    method: Annotated[str, typer.Option(help=METHODS)] = "gradcam",
    layer: Annotated[str | None, typer.Option(help="Module that the heat is taken from; else the last map.")] = None,
    predicted: Annotated[
        bool, typer.Option("--predicted", help="Explain the class that was called, not always the positive one.")
    ] = False,
    feature_maps: Annotated[bool, typer.Option("--feature-maps", help="Draw the maps of that layer too.")] = False,
    lungs: Annotated[str | None, typer.Option(help="Folder of lung masks, or a run that draws lungs.")] = None,
    probe: Annotated[
        bool,
        typer.Option("--probe", help="The shortcut probe instead: score the images without their lungs, and so on."),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; else RUN/explanations/….")] = None,
) -> None:
    """Show where RUN's network looks, on images chosen from a split of its data, or on PATHS.

    Heat maps, and how much of the heat of all images lies inside the lungs and the true boxes.
    """
    with told():
        from pulmo.errors import ConfigError
        from pulmo.finished import opened

        finished = opened(run)  # a mistyped name is told before torch is loaded
        choices = {"worst": worst, "best": best, "errors": errors, "all": every, "image": image}
        given = [name for name, value in choices.items() if value]
        if len(given) > 1:
            raise ConfigError(f"--{given[0]} and --{given[1]}: give one of them")
        paths = [Path(argument) for argument in (images or []) if Path(argument).exists() or "=" not in argument]
        overrides = [argument for argument in (images or []) if Path(argument) not in paths]
        if paths and overrides:
            raise ConfigError(f"{overrides[0]} is of a split's data, {paths[0]} is a file: give one of them")
        from pulmo.explanation.asked import Asked
        from pulmo.explanation.heat import explain_run
        from pulmo.explanation.shortcuts import probe_run

        asked = Asked(
            paths=paths,
            split=split,
            overrides=overrides,
            choice=given[0] if given else "all" if paths else "worst",  # type: ignore[arg-type]
            count=worst or best or 16,
            image_ids=image or (),
            method=method,
            layer=layer,
            predicted=predicted,
            feature_maps=feature_maps,
            lungs=lungs,
            out=out,
        )
        page = (probe_run if probe else explain_run)(finished, asked)
        print(f"page: {page}")
