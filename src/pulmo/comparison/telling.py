"""A comparison told: on the screen in short, on a page with its figures."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape

from pulmo.comparison.compare import Board, Comparison
from pulmo.comparison.matrix import NUMBER, one_by_one
from pulmo.comparison.pairs import SHORT, apart_of, signed
from pulmo.comparison.tested import Tested
from pulmo.errors import PulmoError
from pulmo.report.comparison import VALIDATION
from pulmo.report.files import put
from pulmo.report.html import Block, Fold, Grid, Picture, Pictures, Section, Text, page
from pulmo.report.overlaid import common_rate, forest, overlaid_learning, overlaid_precision_recall, overlaid_roc
from pulmo.report.screen import grid
from pulmo.report.titles import title_of

CURVES = 8
"""As many as one can tell apart in a figure."""
PAIRS = "Paired tests on the same images"


def tell(comparison: Comparison, console: Console) -> None:
    """Print the leaderboards, mean ± SD, paired tests and the matrix."""
    for board in comparison.boards:
        _show(console, board.leaderboard, f"{board.title}\nthe best on validation first", "validation")
        if board.ranking:
            console.print(board.ranking, markup=False)
        if len(board.spread):
            _show(console, board.spread, board.spread.attrs["title"], "runs")
        for tables, remarks in board.tests:
            for title, table in tables.items():
                console.print(grid(table[[name for name in SHORT if name in table]], title))
            for remark in remarks:
                console.print(escape(remark))
    if len(comparison.matrix):
        console.print(grid(one_by_one(comparison.matrix), "trained on × tested on"))
    for folder, why in comparison.left_out.items():
        console.print(f"left out: {folder}: {why}", markup=False, soft_wrap=True)


def _show(console: Console, cells: pd.DataFrame, title: str, figures_from: str) -> None:
    """Print the columns that fit beside each other, and name those that had to go.

    Settings stand behind the first column and before the one whose name begins with `figures_from`. The first two of
    them, which tell the runs apart, and the first two figures go last.
    """
    names = [str(name) for name in cells]
    first = next((place for place, name in enumerate(names) if name.startswith(figures_from)), 1)
    settings, figures = names[1:first], names[first:]
    going = [*settings[:2], *figures[2:], *settings[2:]]  # popped from the end
    widths = {name: max(len(name), *(len(str(cell)) for cell in cells[name])) + 3 for name in names}
    while going and sum(widths.values()) + 1 > console.width:
        del widths[going.pop()]
    console.print(grid(cells[list(widths)], title))
    hidden = [name for name in names if name not in widths]
    if hidden:
        console.print(f"no room for {', '.join(hidden)}: see the page", markup=False)


def written(comparison: Comparison, path: Path) -> Path:
    """Write the page; one file that needs no network. Raises `PulmoError` where it cannot be written."""
    many = len(comparison.boards) > 1
    sections = [Section("In short", _in_short(comparison))]
    for board in comparison.boards:
        first, *further = _of_board(board, f" · {_short(board)}" if many else "")
        sections += [first, *(replace(section, listed=not many) for section in further)]
    if len(comparison.matrix):
        text = (
            "Rows are runs, columns the test sets that they were measured on (`pulmo evaluate`), with 95 % intervals."
        )
        sections.append(Section("Trained on × tested on", [Text(text), Grid(comparison.matrix)]))
    sections.append(Section("What differs in their configurations", _differences(comparison)))
    if comparison.left_out:
        rows = [{"folder": folder, "why": why} for folder, why in comparison.left_out.items()]
        sections.append(Section("Left out", [Grid(pd.DataFrame(rows))]))
    places = {run.label: str(run.run.folder) for run in comparison.runs}
    rows = [{"run": label, "folder": folder} for label, folder in places.items()]
    sections.append(Section("Where the runs are", [Grid(pd.DataFrame(rows))]))
    count = len(comparison.runs)
    text = page(f"{count} run{'s' if count > 1 else ''} compared", _subtitle(comparison), sections)
    try:
        put(path, text)
    except OSError as error:
        raise PulmoError(f"{path} cannot be written: {error.strerror}; give another place, --out FILE.html") from error
    return path


def _short(board: Board) -> str:
    """The board's title without its patients; which of several test sets of that title it is stays."""
    numbered = NUMBER.search(board.title)
    short = board.title.partition("," if "folds" in board.title else " of ")[0]
    return short + (numbered.group() if numbered else "")


def _subtitle(comparison: Comparison) -> str:
    return " · ".join(dict.fromkeys(board.title for board in comparison.boards))


def _in_short(comparison: Comparison) -> list[Block]:
    """What came first on each board, and whether it differs from the next, in words."""
    blocks: list[Block] = []
    for board in comparison.boards:
        if board.is_folds:  # one of them stands for nothing: their mean is what they are for
            blocks.append(Text(_of_folds(board), "lead"))
            continue
        best, by = board.ranked[0], str(board.table.attrs[VALIDATION])
        figure = by if by in best.intervals else best.primary  # the one that ranks, where the test set has it too
        value = f"test {title_of(figure)} {best.intervals[figure]}"
        ranked = VALIDATION in board.table
        which = f"The best on validation, by {title_of(by)}, is" if ranked else "None has a validation figure; first is"
        told = f"{board.title}. {which} {best.label}: {value}."
        found = ((run, apart_of(best, run).get(figure)) for run in board.groups[0][1:])
        other, apart = next(((run, apart) for run, apart in found if apart and any(apart)), (None, None))
        if (
            other is not None and apart is not None
        ):  # a run with the same scores, such as at another threshold, is no other
            sure = "leaves 0 out" if apart.low > 0 or apart.high < 0 else "holds 0"
            sure = "" if math.isnan(apart.low) else f"; the interval {sure}"
            told += f" Less the next, {other.label}, on the same images: {signed(apart)}{sure}."
        blocks.append(Text(told, "lead"))
    if len(comparison.boards) > 1:
        blocks.append(
            Text("Runs tested on different images are ranked apart: figures of one table are no match for another's.")
        )
    return blocks


def _of_folds(board: Board) -> str:
    figure = title_of(board.ranked[0].primary)
    if board.spread.empty:
        return f"{board.title}: no two of the runs are of one experiment, and one fold alone says little."
    settings = [str(name) for name in board.spread][: list(board.spread).index("runs")]
    means = [
        f"{', '.join(row[settings]) + ': ' if settings else ''}{row[figure]} ({row['runs']} runs)"
        for _, row in board.spread.iterrows()
    ]
    alone = len(board.runs) - int(board.spread["runs"].astype(int).sum())
    rest = f" Runs without another of their experiment, and so without a mean: {alone}." if alone else ""
    return f"{board.title}: {figure}, {board.spread.attrs['title']}: {'; '.join(means)}.{rest}"


def _of_board(board: Board, suffix: str) -> list[Section]:
    ranked = board.ranked
    name = ranked[0].primary
    shown = {run.label: run.intervals[name] for run in ranked if name in run.intervals}
    blocks: list[Block] = [
        Text(
            "Ranked by validation: a choice by the test set would make its figures too good. Intervals: 95 %, patients"
            " resampled 10,000 times."
            if ranked[0].resamples == 10_000
            else "Intervals: 95 %, patients resampled."
        ),
        *([Text(board.ranking, "warning")] if board.ranking else []),
        Grid(_figures_first(board.leaderboard)),
    ]
    if len(shown) > 1:
        title = title_of(name)
        drawn = forest(shown, f"{title}, test, with its 95 % interval by patient")
        blocks.append(Picture.of(drawn, f"Test {title} of each run.", _spoken(shown)))
    sections = [Section(f"Leaderboard{suffix}", blocks)]
    if len(board.spread):
        title = board.spread.attrs["title"]
        sections.append(Section(f"{title[0].upper()}{title[1:]}{suffix}", [Grid(board.spread)]))
    blocks = []
    for tables, remarks in board.tests:
        blocks += [Text(remark, "warning" if "too small" in remark else "plain") for remark in remarks]
        blocks += [Grid(table, caption=title) for title, table in tables.items()]
    if blocks:
        sections.append(Section(f"{PAIRS}{suffix}", blocks))
    elif len(ranked) > 1:
        text = "No two of these runs were tested on the same images: nothing can be paired."
        sections.append(Section(f"{PAIRS}{suffix}", [Text(text)]))
    curves = _curves(ranked)
    return [*sections, Section(f"Curves{suffix}", curves)] if curves else sections


def _figures_first(cells: pd.DataFrame) -> pd.DataFrame:
    """Settings behind the figures: on a page there may be many, and figures are what one came for."""
    names = [str(name) for name in cells]
    first = next((place for place, name in enumerate(names) if name.startswith("validation ")), 1)
    return cells[[names[0], *names[first:], *names[1:first]]]


def _spoken(figures: Mapping[str, object]) -> str:
    return "; ".join(f"{name} {value}" for name, value in figures.items())


def _curves(ranked: list[Tested]) -> list[Block]:
    few = ranked[:CURVES]
    blocks: list[Block] = []
    if len(ranked) > CURVES:
        blocks.append(Text(f"The first {CURVES} of {len(ranked)} runs."))
    binary = {run.label: (run.scores, run.labels) for run in few if run.is_binary}
    drawings: list[tuple[str, Callable[[], Figure]]] = []
    if len({run.images for run in few}) == 1 and binary:
        drawings.append(("ROC curves, test.", lambda: overlaid_roc(binary)))
        drawings.append(("Precision-recall curves, test.", lambda: overlaid_precision_recall(binary)))
    histories = {}
    for run in few:
        try:
            histories[run.label] = pd.read_csv(run.run.folder / "history.csv")
        except (OSError, ValueError):
            continue
    if any("val/loss" in history for history in histories.values()):  # a detector has none
        drawings.append(("Loss on validation by epoch.", lambda: overlaid_learning(histories, "val/loss")))
    rate = common_rate(histories) if histories else None
    if rate is not None:
        drawings.append(("Validation by epoch.", lambda: overlaid_learning(histories, rate)))
    pictures = []
    for caption, draw in drawings:
        try:
            pictures.append(Picture.of(draw(), caption))
        except ValueError as error:  # the figures say what in their numbers cannot be drawn
            blocks.append(Text(f"{caption[:-1]}: {error}"))
    return [*blocks, Pictures(pictures)] if pictures else blocks


def _differences(comparison: Comparison) -> list[Block]:
    table = comparison.differences
    if table.empty:
        return [Text("Nothing but where they ran.")]
    cells = table.reset_index(names="key")
    text = (
        "Values that not all runs have alike; of paths the file's name; of copies of a value one. “–”: has no such key."
    )
    if len(cells) > 12:
        return [Text(text), Fold(f"{len(cells)} values", [Grid(cells)])]
    return [Text(text), Grid(cells)]
