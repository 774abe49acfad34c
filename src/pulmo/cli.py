"""The `pulmo` command."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from pulmo.errors import PulmoError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Experiments on pneumonia in chest radiographs.",
)


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the user can mend into one line and status 1."""
    try:
        yield
    except PulmoError as error:
        print(f"pulmo: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Examples: pulmo train model=resnet50 data=rsna data.root=/data/rsna · pulmo train resume=last · "
    "pulmo train -m model=resnet18,vgg16 seed=0,1,2 · pulmo train --cfg job (shows the whole configuration)",
)
def train(context: typer.Context) -> None:
    """Train and test one experiment; takes the same OVERRIDES as train.py."""
    from pulmo.launch import launch

    # Hydra reads the command line; torchrun and srun would start this file in each process.
    sys.argv = [str(Path(__file__).parent / "entry" / "train.py"), *context.args]
    launch()


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Examples: pulmo rerun outputs/rsna_resnet18/2026-03-05_10-42-07_123456 "
    "· pulmo rerun RUN data.root=/data/rsna",
)
def rerun(context: typer.Context, run: Annotated[Path, typer.Argument(help="The folder of a run.")]) -> None:
    """Train and test again as RUN did, from its folder alone, and compare; further arguments are values to change."""
    from pulmo.rerun import main, new_folder

    given = [argument for argument in context.args if argument.startswith("run_dir=")]
    folder = Path(given[-1].partition("=")[2]) if given else new_folder(run)
    main(run, folder, [argument for argument in context.args if argument not in given])


@app.command()
def sweep(
    folder: Annotated[Path | None, typer.Argument(help="Of a multirun; the newest under outputs/multirun.")] = None,
    watch: Annotated[bool, typer.Option(help="Go on until all jobs have come to an end.")] = False,
) -> None:
    """Tell how far the jobs of a sweep have come, and what they have found."""
    from pulmo.multirun import table

    with _told():
        place = folder or table.newest_sweep()
        if watch:
            table.watch(place)
        else:
            table.tell_progress(place)
        table.tell_result(place)


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Where to write rsna, kermany and padchest.")] = Path("data"),
) -> None:
    """Draw phantom radiographs in the layouts of RSNA, Kermany and PadChest, where FOLDER has none yet."""
    from pulmo.phantom.sample import write_all

    with _told():
        written = write_all(folder)
    for path in written:
        print(f"drawn: {path}")
    if not written:
        print(f"{folder} has all three data sets already")


@app.command()
def download(name: Annotated[str, typer.Argument(help="kermany or rsna")]) -> None:
    """Fetch a data set from Kaggle; prints the data.root to train with."""
    from pulmo.data.download import download as fetch

    with _told():
        print(f"data.root={fetch(name)}")


if __name__ == "__main__":
    app()
