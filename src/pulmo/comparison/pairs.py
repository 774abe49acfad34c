"""Every two runs on the same images, tested against each other."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from pulmo.comparison.tested import Tested
from pulmo.metrics.bootstrap import Interval
from pulmo.metrics.paired import delong, holm, mcnemar, paired_differences

MOST_FOR_ALL = 5
"""Of more runs, each is tested against the first alone: 10 pairs can be read, 66 cannot."""
FIRST, SECOND, DIFFERENCE, P, HOLM = "first", "second", "first − second (95 % by patient)", "p", "p, Holm"
AREAS = "AUROC, and DeLong's test"
DECISIONS = "Decisions: accuracy at each run's own threshold, and McNemar's test"
UNDEFINED = "undefined"
BOOTSTRAPPED = {
    "auroc": "AUROC, mean over classes",
    "dice": "Dice, mean over images",
    "rsna_score": "RSNA score, mean over images",
}
SHORT = (FIRST, SECOND, DIFFERENCE, P, HOLM)
"""Columns for a screen."""


def pairs_of(runs: Sequence[Tested]) -> list[tuple[Tested, Tested]]:
    """All pairs of up to `MOST_FOR_ALL` runs; of more, the first with each other one."""
    return list(combinations(runs, 2)) if len(runs) <= MOST_FOR_ALL else [(runs[0], other) for other in runs[1:]]


def test_tables(pairs: Sequence[tuple[Tested, Tested]]) -> dict[str, pd.DataFrame]:
    """Title → table of text: AUROC by DeLong's test, decisions by McNemar's, each further figure by the bootstrap.

    p-values are two-sided; those called Holm are adjusted for the number of pairs in the table.
    """
    differences = [apart_of(first, other) for first, other in pairs]
    tables = {
        AREAS: _areas(pairs, differences),
        DECISIONS: _decisions(pairs, differences),
    }
    for name, title in BOOTSTRAPPED.items():
        rows = [
            {**_names(pair), **_sides(pair, name), DIFFERENCE: signed(apart[name])}
            for pair, apart in zip(pairs, differences, strict=True)
            if name in apart and not (name == "auroc" and pair[0].is_binary)  # DeLong's test has it
        ]
        tables[title] = pd.DataFrame(rows)
    return {title: table for title, table in tables.items() if len(table)}


def apart_of(first: Tested, other: Tested) -> dict[str, Interval]:
    """First minus second of each figure that both have, with its 95 % interval by patient."""
    return paired_differences(first.resampled, other.resampled, same=first.run.folder == other.run.folder)


def _areas(pairs: Sequence[tuple[Tested, Tested]], differences: Sequence[dict[str, Interval]]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    values = []
    for pair, apart in zip(pairs, differences, strict=True):
        first, other = pair
        counts = first.table["label"].value_counts()
        if not (first.is_binary and other.is_binary) or counts.min() < 2:
            continue
        test = delong(first.scores, other.scores, first.labels)
        values.append(test.p)
        row = {**_names(pair), DIFFERENCE: signed(apart["auroc"])}
        rows.append(
            row
            | {
                "DeLong 95 %": _range(test.difference),
                "z": "–" if math.isnan(test.z) else f"{test.z:.2f}".replace("-", "−"),
                P: p_text(test.p),
            }
        )
    for row, adjusted in zip(rows, holm(values), strict=True):
        row[HOLM] = p_text(adjusted)
    return pd.DataFrame(rows)


def _decisions(pairs: Sequence[tuple[Tested, Tested]], differences: Sequence[dict[str, Interval]]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    values = []
    for pair, apart in zip(pairs, differences, strict=True):
        first, other = pair
        if "accuracy" not in apart:  # images of one label alone: nothing was decided
            continue
        test = mcnemar(first.right, other.right)
        values.append(test.p)
        row = {**_names(pair), DIFFERENCE: signed(apart["accuracy"])}
        row |= {"only first right": str(test.only_first), "only second right": str(test.only_second)}
        rows.append(row | {P: p_text(test.p), "p, χ² corrected": p_text(test.corrected)})
    for row, adjusted in zip(rows, holm(values), strict=True):
        row[HOLM] = p_text(adjusted)
    return pd.DataFrame(rows)


def _names(pair: tuple[Tested, Tested]) -> dict[str, str]:
    return {FIRST: pair[0].label, SECOND: pair[1].label}


def _sides(pair: tuple[Tested, Tested], name: str) -> dict[str, str]:
    return {"of first": f"{pair[0].values[name]:.3f}", "of second": f"{pair[1].values[name]:.3f}"}


def signed(apart: Interval) -> str:
    """A difference with its sign: `+0.012 (−0.003 to +0.027)`."""
    if math.isnan(apart.value):
        return "undefined"
    return _sign(apart.value) + ("" if math.isnan(apart.low) else f" ({_range(apart)})")


def _range(apart: Interval) -> str:
    return "undefined" if math.isnan(apart.low) else f"{_sign(apart.low)} to {_sign(apart.high)}"


def _sign(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def p_text(p: float) -> str:
    """A p-value as papers give it."""
    if math.isnan(p):
        return UNDEFINED
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def remarks(runs: Sequence[Tested], tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """What a reader must know of the tables of `test_tables`: what they take for independent, how many tests."""
    images, patients = len(runs[0].table), len({*runs[0].patients})
    told = []
    if patients < images and {AREAS, DECISIONS} & {*tables}:
        told.append(
            f"{images:,} images are of {patients:,} patients. DeLong's and McNemar's tests take images for "
            "independent: their p-values may be too small; the bootstrap draws whole patients: trust its intervals."
        )
    if len(runs) > MOST_FOR_ALL:
        told.append(f"Of {len(runs)} runs, the best on validation is tested against each other one.")
    tests = {title: int((table[HOLM] != UNDEFINED).sum()) for title, table in tables.items() if HOLM in table}
    if len({*tests.values()}) == 1 and max(tests.values()) > 1:
        told.append(f"Holm: adjusted for the {max(tests.values())} pairs of a table.")
    elif any(count > 1 for count in tests.values()):
        counted = ", ".join(f"{count} of {title.partition(',')[0].partition(':')[0]}" for title, count in tests.items())
        told.append(f"Holm: adjusted for the pairs that have a p-value: {counted}.")
    return told
