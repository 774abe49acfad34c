"""The comparison as a whole: gathered once, then told on the screen and on a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from pulmo.comparison.chosen import Chosen
from pulmo.comparison.matrix import data_of, folds_of, matrix
from pulmo.comparison.pairs import pairs_of, remarks, test_tables
from pulmo.comparison.settings import differing, labels_of, leaves_of, telling
from pulmo.comparison.tested import Tested, difference, grouped, tested
from pulmo.errors import RunError
from pulmo.report.comparison import Intervals, leaderboard, spread, tabulated


@dataclass(frozen=True)
class Board:
    """Runs that may be ranked beside each other: tested on the same images, or folds of one data set."""

    title: str
    runs: list[Tested]
    settings: list[dict[str, str]]

    @cached_property
    def table(self) -> pd.DataFrame:
        """As `report.comparison.tabulated` gives it; the runs' labels are its `run`."""
        return tabulated([run.label for run in self.runs], self.settings, [run.run.metrics for run in self.runs])

    @property
    def intervals(self) -> Intervals:
        """Run → figure → interval."""
        return {run.label: run.intervals for run in self.runs}

    @property
    def leaderboard(self) -> pd.DataFrame:
        """The runs as text, the best on validation first."""
        return leaderboard(self.table, self.intervals)

    @property
    def spread(self) -> pd.DataFrame:
        """Mean ± SD over seeds and folds, as text."""
        return spread(self.table)

    @property
    def ranked(self) -> list[Tested]:
        """The runs, the best on validation first."""
        return [self.runs[place] for place in self.leaderboard.index]

    @cached_property
    def groups(self) -> list[list[Tested]]:
        """The runs that can be paired, in ranked order."""
        return grouped(self.ranked)

    @property
    def tests(self) -> list[tuple[dict[str, pd.DataFrame], list[str]]]:
        """Of each group of two runs or more: the tables of paired tests, and what to know of them."""
        found = []
        for group in self.groups:
            pairs = pairs_of(group)
            if pairs:
                tables = test_tables(pairs)
                found.append((tables, remarks(group, pairs, tables)))
        return found


@dataclass(frozen=True)
class Comparison:
    """All that `pulmo compare` tells."""

    boards: list[Board]
    differences: pd.DataFrame
    matrix: pd.DataFrame
    left_out: dict[str, str]

    @property
    def runs(self) -> list[Tested]:
        """All runs compared, board by board."""
        return [run for board in self.boards for run in board.ranked]


def compared(chosen: Chosen, *, anyway: bool = False, resamples: int = 10_000) -> Comparison:
    """The runs beside each other.

    Raises `RunError` where runs that were named one by one were tested on different images, unless `anyway`; those that
    a pattern or a sweep brought together are ranked by test set.
    """
    left_out = dict(chosen.left_out)
    settings = telling(chosen.runs)
    labels = labels_of(chosen.runs, settings)
    runs = []
    for run, label in zip(chosen.runs, labels, strict=True):
        try:
            runs.append(tested(run, label, resamples))
        except RunError as error:
            left_out[str(run.folder)] = str(error)
    if not runs:
        raise RunError("no run has a table of its test images: " + "; ".join(left_out.values()))
    groups = grouped(runs)
    folds = all(folds_of(run.run) for run in runs)
    if len(groups) > 1 and chosen.by_name and not anyway and not folds:
        first, other = groups[0][0], groups[1][0]
        raise RunError(
            f"{first.run.folder} and {other.run.folder} were tested on different images or patients, and their figures "
            f"are no comparison: {difference(first, other)}. Train on one split, data.split={first.run.folder}/split.csv"
            ", or measure one on the other's data, `pulmo evaluate RUN data=…`; --any ranks them by test set"
        )
    runs = [run for group in groups for run in group]
    own_of = dict(zip(labels, settings, strict=True))
    boards = [Board(_title(board), board, [own_of[run.label] for run in board]) for board in _ranked_together(groups)]
    leaves = differing([leaves_of(run.run) for run in runs])
    table = pd.DataFrame(leaves, index=[run.label for run in runs]).T
    return Comparison(boards, table, matrix(runs), left_out)


def _ranked_together(groups: list[list[Tested]]) -> list[list[Tested]]:
    """Groups of equal test sets; folds of one data set come together, for their mean is what they are for."""
    boards: dict[object, list[Tested]] = {}
    for number, group in enumerate(groups):
        for run in group:
            folds = folds_of(run.run)
            boards.setdefault((data_of(run.run), folds) if folds else number, []).append(run)
    return list(boards.values())


def _title(group: Sequence[Tested]) -> str:
    run, folds = group[0], folds_of(group[0].run)
    tests = {test.images for test in group}
    if len(tests) > 1:
        images = sum(map(len, tests))
        return f"{data_of(run.run)}: {len(tests)} of {folds} folds, {images:,} test images together"
    images, patients = len(run.table), len({*run.patients})
    positive = f", {int((run.table['label'] == 1).sum()):,} positive" if run.is_binary else ""
    return f"{data_of(run.run)}, test set: {images:,} images of {patients:,} patients{positive}"
