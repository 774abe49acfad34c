"""The `pulmo` command, a file for each kind of question; what a command needs is imported when it is called."""

from pulmo.cli import predict, training  # noqa: F401  # register their commands
from pulmo.cli.app import app

__all__ = ["app"]
