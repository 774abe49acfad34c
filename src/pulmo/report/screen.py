"""The terminal, or the file that takes its place, and tables on it."""

import sys

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pulmo.report.cells import are_numbers

NAMES, COLUMN = 16, 14
"""Characters of the first column, and of each further one, of a table that is turned on its side."""


def screen() -> Console:
    """A console that leaves text as it is; where it writes to a file, which has no width, wide enough for tables."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def grid(cells: pd.DataFrame, title: str = "") -> Table:
    """A table of text with its title above it; columns of numbers stand right."""
    shown = Table(title=escape(title) or None, title_justify="left", title_style="bold", header_style="")
    for place, name in enumerate(cells.columns):
        column = [str(cell) for cell in cells.iloc[:, place]]
        numbers = place > 0 and are_numbers(column)
        shown.add_column(escape(str(name)), overflow="fold", justify="right" if numbers else "left")
    for row in cells.itertuples(index=False):
        shown.add_row(*(escape(str(cell)) for cell in row))  # a class may be called [a]
    return shown


def beside(cells: pd.DataFrame, width: int) -> list[pd.DataFrame]:
    """The table turned on its side, its rows beside each other, in parts as wide as the screen.

    Intervals stand below their figures.
    """
    first = str(cells.columns[0])
    turned = cells.set_index(first).T.rename_axis("").reset_index().astype(str)
    turned.iloc[:, 1:] = turned.iloc[:, 1:].apply(
        lambda column: column.str.replace(" (", "\n", regex=False).str.removesuffix(")")
    )
    names = list(turned.columns[1:])
    room = max(1, (width - NAMES) // COLUMN)
    return [turned[[turned.columns[0], *names[start : start + room]]] for start in range(0, len(names), room)]
