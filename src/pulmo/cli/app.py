"""The `pulmo` command: its one Typer app, and how mistakes are told."""

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from io import StringIO
from typing import Annotated

import typer

from pulmo import interruption
from pulmo.errors import PulmoError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Experiments on pneumonia in chest radiographs.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        with told():
            print(f"pulmo {version('pulmo')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and end.")] = False,
) -> None:
    pass


FULL = (errno.ENOSPC, errno.EDQUOT)
PANELS = DATA, TRAINING, AFTER = ("Data", "Training", "After a run")
"""Headings of the commands in `pulmo --help`, in their order."""

Run = Annotated[
    str, typer.Argument(metavar="RUN", help="The folder of a run, its checkpoint, or last: the newest under outputs/.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="OVERRIDES", help="Values such as data.root=FOLDER, as train.py takes them.", show_default=False
    ),
]


@contextmanager
def told() -> Iterator[None]:
    """Turn what the user can mend into one line and status 1, and Ctrl-C into one line and status 130."""
    try:
        with interruption.ended_at_once():
            yield
            sys.stdout.flush()  # what cannot be written is told here, and not when Python ends
    except PulmoError as error:
        # `launch` sets Hydra's own variable, and keeps what the user has set in ours.
        if os.environ.get("PULMO_TRACE", os.environ.get("HYDRA_FULL_ERROR")) == "1":
            raise
        print(f"pulmo: {error}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:
            _write_no_more()
        raise typer.Exit(1) from error
    except OSError as error:
        if error.errno not in FULL:
            raise
        print(f"pulmo: cannot write to {error.filename or 'where the output goes'}: {error.strerror}", file=sys.stderr)
        _write_no_more()
        raise typer.Exit(1) from error


def _write_no_more() -> None:
    """Forget what is left in the output's buffer, which Python would try to write again at its end."""
    sys.stdout = StringIO()


@contextmanager
def said() -> Iterator[None]:
    """Have what pulmo logs stand on the screen, inside the block alone."""
    logger, handler = logging.getLogger("pulmo"), logging.StreamHandler(sys.stdout)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
