"""Which run did how well on which test set: its own, and those of `pulmo evaluate`."""

import json
import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from pulmo.comparison.tested import Images, Tested, images_of
from pulmo.metrics.bootstrap import Interval
from pulmo.report.titles import title_of

RUN, OWN, FIGURE = "run", "trained on", "figure"
NUMBER = re.compile(r", set \d+$")
"""What `told_apart` puts behind a title."""
WITHOUT_CUT_OFF = ("auroc",)
"""Figures of `tested.PRIMARY` that are the same at every cut-off."""


@dataclass(frozen=True)
class Evaluated:
    """A run's figure on further images: which, what they are called, where they lay, and what makes it another's."""

    images: Images
    title: str
    root: str
    figure: Interval
    marks: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join((str(self.figure), *self.marks))


@dataclass(frozen=True)
class Measured:
    """Test sets, each with its title, and of each run the figures on them as text, by the test set.

    A test set is its images, or the partition of which each run has a fold; of an evaluation its images and the folder
    that they were read from, since ids of two hospitals may be the same.
    """

    titles: dict[Hashable, str]
    cells: list[dict[Hashable, str]]

    def number_of(self, run: Tested) -> str:
        """`, set 2` of the run's own test set, where there are several of its title; else ""."""
        own = next((title for test, title in self.titles.items() if test in (run.partition, run.images)), "")
        return found.group() if (found := NUMBER.search(own)) else ""


def measured(runs: Sequence[Tested]) -> Measured:
    """On which test sets the runs were measured: their own, and those of `pulmo evaluate`.

    Evaluations on validation images are left out; those at a cut-off that was given, or of another checkpoint, say so,
    and never stand for the run's own test.
    """
    folds: dict[object, set[Images]] = {}
    roots: dict[Images, set[str]] = {}
    for run in runs:
        folds.setdefault(run.partition, set()).add(run.images)
        roots.setdefault(run.images, set()).add(_root(run))
    titles: dict[Hashable, str] = {}
    cells: list[dict[Hashable, str]] = []
    for run in runs:
        partition = run.partition
        own_fold = partition is not None and len(folds[partition]) > 1
        test: Hashable = partition if own_fold else run.images
        titles.setdefault(test, f"{run.data_name} test ({'its own fold' if own_fold else f'{len(run.table):,}'})")
        cells.append({test: str(run.intervals[run.primary])})
    for run, own in zip(runs, cells, strict=True):
        for found in sorted(_evaluations(run), key=lambda one: len(one.marks)):
            known = found.root in roots.get(found.images, ())
            if known and found.images == run.images:
                continue  # its own test set, measured again
            other: Hashable = found.images if known else (found.images, found.root)
            titles.setdefault(other, found.title)
            own.setdefault(other, str(found))
    return Measured(dict(zip(titles, told_apart(list(titles.values())), strict=True)), cells)


def matrix(runs: Sequence[Tested], found: Measured) -> pd.DataFrame:
    """One row a run, with what it was trained on; one column a test set; cells are the runs' first figure as text.

    Empty where all were tested on one test set alone.
    """
    if len(found.titles) < 2:
        return pd.DataFrame()
    rows = [
        {RUN: run.label, OWN: run.data_name, FIGURE: title_of(run.primary)}
        | {name: own.get(test, "") for test, name in found.titles.items()}
        for run, own in zip(runs, found.cells, strict=True)
    ]
    return pd.DataFrame(rows)


def told_apart(titles: list[str]) -> list[str]:
    """Test sets of one title, which are different all the same, are numbered."""
    return [
        f"{title}, set {titles[: place + 1].count(title)}" if titles.count(title) > 1 else title
        for place, title in enumerate(titles)
    ]


def one_by_one(cells: pd.DataFrame) -> pd.DataFrame:
    """The matrix with one row a figure, for a screen: as many columns as test sets fit on none."""
    rows = cells.melt([RUN, OWN, FIGURE], var_name="tested on", value_name="test").query("test != ''")
    rows = rows.rename(columns={"test": "with 95 % interval"})
    return rows.sort_values(RUN, key=lambda names: names.map(list(cells[RUN]).index), kind="stable")


def _root(run: Tested) -> str:
    """The folder of the run's own data."""
    return str(OmegaConf.select(run.run.config, "data.root")) if run.run.has("config.yaml") else ""


def _evaluations(run: Tested) -> Iterator[Evaluated]:
    """What lies in the run's folder `evaluations`; what cannot be read is left out."""
    for folder in sorted((run.run.folder / "evaluations").glob("*/")):
        try:
            told = json.loads((folder / "evaluation.json").read_text())
            value = json.loads((folder / "metrics.json").read_text()).get(run.primary)
            table = pd.read_csv(folder / "predictions.csv", dtype={"image_id": str})
            images, title = images_of(table[table["label"] >= 0]), f"{told['data']} {told['split']}"
        except (OSError, ValueError, KeyError):
            continue
        if value is None or told["split"] == "val":
            continue
        marks = []
        if told.get("threshold_given") and run.primary not in WITHOUT_CUT_OFF:
            marks.append(f"cut-off {told.get('threshold')}")
        if told.get("checkpoint", "best") != "best":
            marks.append(f"checkpoint {told['checkpoint']}")
        figure = _interval(folder / "intervals.csv", run.primary, float(value))
        yield Evaluated(images, f"{title} ({len(images):,})", str(told.get("root")), figure, tuple(marks))


def _interval(path: Path, name: str, value: float) -> Interval:
    try:
        table = pd.read_csv(path)
        found = table.loc[table["figure"] == name, ["value", "low", "high"]].to_numpy(float)
        return Interval(*map(float, found[0]))
    except (OSError, ValueError, KeyError, IndexError):
        return Interval(value, float("nan"), float("nan"))
