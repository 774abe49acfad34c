"""The terminal, or the file that takes its place."""

import sys

from rich.console import Console


def screen() -> Console:
    """A console that leaves text as it is; where it writes to a file, which has no width, wide enough for tables."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)
