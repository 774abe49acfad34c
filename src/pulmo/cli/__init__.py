"""The `pulmo` command, a file for each kind of question; what a command needs is imported when it is called."""

from pulmo.cli import (  # noqa: F401  # they register their commands
    compare,
    evaluate,
    explain,
    inspect,
    predict,
    report,
    training,
)
from pulmo.cli.app import app

__all__ = ["app"]
