"""Which cells of a table are numbers: those stand right, on pages and on the screen."""

import re

NUMBER = re.compile(r"^([<>≈≤≥]? ?[-+−]?[\d,]*\.?\d+( ?[%±(].*)?|[-+−]?[\d.]+ to [-+−]?[\d.]+|undefined|–|)$")


def is_number(cell: str) -> bool:
    """Whether a cell holds a figure, with its interval or sign of percent, or says that there is none."""
    return NUMBER.match(cell) is not None


def are_numbers(cells: list[str]) -> bool:
    """Whether a column holds figures, and not nothing alone."""
    return any(cells) and all(map(is_number, cells))
