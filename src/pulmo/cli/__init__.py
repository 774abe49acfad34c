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
from pulmo.cli.app import PANELS, app

__all__ = ["app"]

app.registered_commands.sort(key=lambda command: PANELS.index(str(command.rich_help_panel)))
