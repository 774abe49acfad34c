"""What made a table, in `NAME.csv.json` beside it: by this a job knows its own files from a user's."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pulmo.errors import DataError
from pulmo.prediction.table import journal_of
from pulmo.prediction.whole import whole

OURS = frozenset({"pulmo", "runs", "threshold_is", "views"})  # keys that no other json has together
MARK = ".pulmo_results"
OF_RUNS = {"runs": "checkpoint", "precision": "precision"}
COMPARED = ("threshold", "views", "masks_from")


def description_of(out: Path) -> Path:
    """The file beside a table that says what made it; with the table's suffix in its name, so that no two share it."""
    return out.with_name(f"{out.name}.json")


def read(path: Path) -> dict[str, Any] | None:
    """What a job has put down there; None where there is nothing, or something else."""
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and told.keys() >= OURS else None


def mark(folder: Path) -> None:
    """Have a folder of results known as such: a later job that walks over it takes none of them for an image."""
    (folder / MARK).touch()


def is_of_results(folder: str) -> bool:
    """Whether a folder holds what jobs have drawn, by its mark or the description beside it."""
    if os.path.exists(os.path.join(folder, MARK)):
        return True
    stem = folder.removesuffix("_masks")
    return stem != folder and any(read(Path(f"{stem}{suffix}.json")) for suffix in (".csv", ".parquet"))


def check(out: Path, told: Mapping[str, Any], beside: Iterable[Path], *, resume: bool) -> dict[str, Any] | None:
    """What an earlier job has put down, which --resume goes on with; None where there was none.

    Raises `DataError` where that would mix two jobs, or one of the files `beside` the table is a user's.
    """
    path = description_of(out)
    before = read(path)
    if before is None and resume and (out.exists() or journal_of(out).exists()):
        raise DataError(f"{path} is gone, by which it was known what made {out}: give another --out")
    if before is None and path.exists():
        raise DataError(f"{path} is there and was not written by pulmo predict: give another --out")
    for file in beside:
        if file.exists() and file.name not in (before or {}).get("files", ()):
            raise DataError(f"{file} is there and not of {out}: give another --out")
    differ = _differing(before, told) if resume and before is not None else []
    if differ:
        raise DataError(f"{out} was begun with other {', '.join(differ)}: give another --out")
    return before


def put_down(out: Path, told: Mapping[str, Any], beside: Iterable[Path], ours: Iterable[Path] = ()) -> None:
    """Write the description of a job that makes a table, the files `beside` it, and the folders that are `ours`."""
    made = {"files": [file.name for file in beside], "folders": [str(folder) for folder in ours]}
    with whole(description_of(out)) as part:
        part.write_text(json.dumps({**told, **made}, indent=2) + "\n")


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Keys at which two descriptions differ, wherever the runs lie."""
    named = {
        **{name: [[run.get(key) for run in told["runs"]] for told in (before, now)] for name, key in OF_RUNS.items()},
        **{key: [before.get(key), now[key]] for key in COMPARED},
        "lungs": [(told.get("lungs") or {}).get("checkpoint") for told in (before, now)],
    }
    return [name for name, (then, here) in named.items() if then != here]
