"""The `pulmo` command, a file for each kind of question; what a command needs is imported when it is called."""

from pulmo.cli import compare, report, training  # noqa: F401  # registers its commands
from pulmo.cli.app import app

__all__ = ["app"]
