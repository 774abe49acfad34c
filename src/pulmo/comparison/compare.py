"""The comparison as a whole: gathered once, then told on the screen and on a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from pulmo.comparison.chosen import Chosen
from pulmo.comparison.matrix import matrix, measured, told_apart
from pulmo.comparison.pairs import pairs_of, remarks, test_tables
from pulmo.comparison.settings import differing, labels_of, leaves_of, telling
from pulmo.comparison.tested import Tested, difference, grouped, tested
from pulmo.errors import RunError
from pulmo.report.comparison import Intervals, leaderboard, spread, tabulated, watched_by


@dataclass(frozen=True)
class Board:
    """Runs that may be ranked beside each other: tested on the same images, or folds of one data set."""

    title: str
    runs: list[Tested]
    settings: list[dict[str, str]]

    @cached_property
    def is_folds(self) -> bool:
        """Whether the runs are folds, each with a test set of its own."""
        return len({run.images for run in self.runs}) > 1

    @property
    def ranking(self) -> str:
        """What to know of how the runs are ranked; "" for nothing."""
        sets = {run.validation_images for run in self.runs if run.validation_images}
        if self.is_folds or len(sets) < 2:
            return ""
        counts = " and ".join(f"{len(images):,}" for images in sorted(sets, key=len, reverse=True))
        return (
            f"The runs were validated on different images ({counts} of them): the order, which follows validation, may "
            "be that of the images."
        )

    @cached_property
    def table(self) -> pd.DataFrame:
        """As `report.comparison.tabulated` gives it; the runs' labels are its `run`."""
        runs = [run.run for run in self.runs]
        watched = [watched_by(run.config) if run.has("config.yaml") else None for run in runs]
        return tabulated([run.label for run in self.runs], self.settings, [run.metrics for run in runs], watched)

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
                found.append((tables, remarks(group, tables)))
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
    if left_out and chosen.by_name and not anyway:
        folder, why = next(iter(left_out.items()))
        raise RunError(f"{folder}: {why}; --any leaves it out")
    if not runs:
        raise RunError("no run has a table of its test images: " + "; ".join(left_out.values()))
    together = _ranked_together(grouped(runs))
    if len(together) > 1 and chosen.by_name and not anyway:
        first, other = together[0][0], together[1][0]
        raise RunError(
            f"{first.run.folder} and {other.run.folder} were tested on different images or patients, and their figures "
            f"are no comparison: {_seeds(first, other)}{difference(first, other)}. Train on one split, data.split="
            f"{first.run.folder}/split.csv, or measure one on the other's data, `pulmo evaluate RUN data=…`; --any "
            "ranks them by test set"
        )
    runs = [run for board in together for run in board]
    own_of = dict(zip(labels, settings, strict=True))
    found = measured(runs)
    titles = told_apart([_title(board) + found.number_of(board[0]) for board in together])
    boards = [
        Board(title, board, [own_of[run.label] for run in board]) for title, board in zip(titles, together, strict=True)
    ]
    leaves = differing([leaves_of(run.run) for run in runs])
    table = pd.DataFrame(leaves, index=[run.label for run in runs]).T
    return Comparison(boards, table, matrix(runs, found), left_out)


def _ranked_together(groups: list[list[Tested]]) -> list[list[Tested]]:
    """Groups of equal test sets; folds of one partition come together, for their mean is what they are for.

    Folds do not overlap: test sets that do are of no one partition, whatever their configurations say.
    """
    boards: dict[object, list[Tested]] = {}
    tested_on: dict[object, set[str]] = {}
    for number, group in enumerate(groups):
        partitions = {run.partition for run in group}
        one = partitions.pop() if len(partitions) == 1 else None
        images = {name for name, _ in group[0].images}
        key = number if one is None or images & tested_on.get(one, set()) else one
        boards.setdefault(key, []).extend(group)
        tested_on.setdefault(key, set()).update(images)
    return list(boards.values())


def _seeds(first: Tested, other: Tested) -> str:
    """What to say of folds that are not of one partition."""
    one, two = first.partition, other.partition
    return f"folds cut with seeds {one.seed} and {two.seed}; " if one and two and one.seed != two.seed else ""


def _title(group: Sequence[Tested]) -> str:
    run, partition = group[0], group[0].partition
    tests = {test.images for test in group}
    if len(tests) > 1 and partition:
        images = len({name for test in tests for name, _ in test})
        return f"{partition}: {len(tests)} of {partition.folds} folds, {images:,} test images together"
    images, patients = len(run.table), len({*run.patients})
    positive = f", {int((run.table['label'] == 1).sum()):,} positive" if run.is_binary else ""
    drawn = "; drawn phantoms, not patients" if run.run.phantom else ""
    return f"{run.data_name}, test set: {images:,} images of {patients:,} patients{positive}{drawn}"
