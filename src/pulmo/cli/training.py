"""Before and during the training: train, rerun, sweep; and where data comes from."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pulmo import interruption
from pulmo.cli.app import DATA, TRAINING, Overrides, Run, app, told


@app.command(
    rich_help_panel=TRAINING,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},  # Hydra's own options are among them
    options_metavar="[OPTIONS] [OVERRIDES]...",
    epilog="Examples: pulmo train model=resnet50 data=rsna data.root=/data/rsna · pulmo train resume=last · "
    "pulmo train -m model=resnet18,vgg16 seed=0,1,2 · pulmo train --cfg job (shows the whole configuration)",
)
def train(context: typer.Context) -> None:
    """Train and test one experiment; takes the same OVERRIDES as train.py."""
    with interruption.ended_at_once():
        from pulmo.launch import launch

    # Hydra reads the command line; torchrun and srun would start this file in each process.
    sys.argv = [str(Path(__file__).parents[1] / "entry" / "train.py"), *context.args]
    launch()


@app.command(
    rich_help_panel=TRAINING,
    epilog="Examples: pulmo rerun outputs/rsna_resnet18/2026-03-05_10-42-07_123456 "
    "· pulmo rerun RUN data.root=/data/rsna",
)
def rerun(run: Run, overrides: Overrides = None) -> None:
    """Train and test again as RUN did, from its folder alone, and compare; overrides are values to change."""
    with told():
        from pulmo.finished import opened
        from pulmo.rerun import main, new_folder

        earlier = opened(run).folder
    given = [argument for argument in overrides or [] if argument.startswith("run_dir=")]
    folder = Path(given[-1].partition("=")[2]) if given else new_folder(earlier)
    main(earlier, folder, [argument for argument in overrides or [] if argument not in given])


@app.command(rich_help_panel=TRAINING)
def sweep(
    folder: Annotated[Path | None, typer.Argument(help="Of a multirun; the newest under outputs/multirun.")] = None,
    watch: Annotated[bool, typer.Option(help="Go on until all jobs have come to an end.")] = False,
) -> None:
    """Tell how far the jobs of a sweep have come, and what they have found."""
    with told():
        from pulmo.multirun import table

        place = folder or table.newest_sweep()
        if watch:
            table.watch(place)
        else:
            table.tell_progress(place)
        table.tell_result(place)


@app.command(rich_help_panel=DATA)
def sample(
    folder: Annotated[Path, typer.Argument(help="Where to write rsna, kermany and padchest.")] = Path("data"),
) -> None:
    """Draw phantom radiographs in the layouts of RSNA, Kermany and PadChest, where FOLDER has none yet."""
    with told():
        from pulmo.phantom.sample import write_all

        written = write_all(folder)
        for path in written:
            print(f"drawn: {path}")
        if not written:
            print(f"{folder} has all three data sets already")


@app.command(rich_help_panel=DATA)
def download(name: Annotated[str, typer.Argument(help="kermany or rsna")]) -> None:
    """Fetch a data set from Kaggle; prints the data.root to train with."""
    with told():
        from pulmo.data.download import download as fetch

        print(f"data.root={fetch(name)}")
