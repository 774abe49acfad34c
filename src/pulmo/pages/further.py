"""What was measured of a run after its end: on other data or splits, and by the shortcut probe."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from pulmo.finished import FinishedRun
from pulmo.metrics.bootstrap import Interval
from pulmo.report.html import Block, Grid, Text
from pulmo.report.titles import title_of

FIGURES = ("auroc", "accuracy", "sensitivity", "specificity", "dice", "rsna_score", "map_50", "ece")
BROKEN = (OSError, ValueError, LookupError, TypeError, AttributeError)
MADE_AT = "As they stood when this page was made; `pulmo report` makes it again."


def further(run: FinishedRun) -> Iterator[Block]:
    """A table of the run's evaluations, and what its probes came to; nothing where there are none."""
    found = [*_evaluations(run.folder)]
    rows = [row for row in found if isinstance(row, dict)]
    if rows:
        columns = [name for name in rows[0] if any(row[name] != "–" for row in rows)]
        caption = "By `pulmo evaluate`, with 95 % intervals by patient; the page of each lies in its folder"
        yield Grid(pd.DataFrame(rows)[columns], caption)
    yield from (Text(f"Left out: {broken}", "warning") for broken in found if isinstance(broken, str))
    probes = [*_probes(run.folder)]
    yield from probes
    if rows or probes:
        yield Text(MADE_AT)


def _evaluations(folder: Path) -> Iterator[dict[str, str] | str]:
    for place in sorted((folder / "evaluations").glob("*/")):
        name = place.relative_to(folder).as_posix()
        try:
            told = json.loads((place / "evaluation.json").read_text())
            intervals = pd.read_csv(place / "intervals.csv").set_index("figure")[["value", "low", "high"]]
            known = {figure: str(Interval(*map(float, values))) for figure, *values in intervals.itertuples()}
            yield _row(name, told, known)
        except BROKEN as error:
            yield f"{name} cannot be read ({type(error).__name__})"


def _row(name: str, told: dict[str, Any], known: dict[str, str]) -> dict[str, str]:
    cut = told.get("threshold")
    row = {"images": f"{told['data']}, {told['images_of']}", "": f"{told['images']:,} of {told['patients']:,} patients"}
    row |= {title_of(figure): known.get(figure, "–") for figure in FIGURES}
    row |= {"cut-off": "–" if cut is None else f"{cut:.4g}"}
    row |= {"checkpoint": "–" if told.get("checkpoint", "best") == "best" else told["checkpoint"]}
    return row | {"folder": name}


def _probes(folder: Path) -> Iterator[Block]:
    for path in sorted((folder / "explanations").glob("*/probe.json")):
        name = path.parent.relative_to(folder).as_posix()
        try:
            told = json.loads(path.read_text())
            kind = "warning" if told["told_on"] else "good" if told["cleared"] else "plain"
            verdict = " ".join(f"{line[0].upper()}{line[1:]}." for line in told["verdict"])
            yield Text(f"Shortcut probe of {told['images']}: {verdict} See {name}/explain.html.", kind)  # type: ignore[arg-type]
        except BROKEN as error:
            yield Text(f"Left out: {name}/probe.json cannot be read ({type(error).__name__})", "warning")
