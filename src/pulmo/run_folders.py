"""Which folders are runs, and where they lie."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from pulmo.errors import RunError

OUTPUTS = Path("outputs")


def newest() -> Path:
    """The newest run anywhere under outputs/ that has a checkpoint; raises `RunError` if there is none."""
    newest = newest_of(run for run in runs_below(OUTPUTS) if (run / "checkpoints" / "best.ckpt").is_file())
    if newest is None:
        raise RunError(f"no run with a checkpoint in {OUTPUTS.resolve()}: give its folder")
    return newest


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's: an evaluation within one has figures too, and is none."""
    return any((folder / name).exists() for name in ("config.yaml", "checkpoints"))


def runs_below(folder: Path) -> Iterator[Path]:
    """The folder itself where it is a run's, or all that are below it; not what a run keeps inside."""
    if is_run(folder):
        yield folder
    elif folder.is_dir() and not folder.name.startswith("."):
        for inside in folder.iterdir():
            if inside.is_dir() and not inside.is_symlink():
                yield from runs_below(inside)


def newest_of(runs: Iterable[Path]) -> Path | None:
    """The run that was begun last, by its own record, which a copy keeps; of one without by its best checkpoint."""
    return max(runs, key=_begun, default=None)


def _begun(run: Path) -> tuple[float, float]:
    best = run / "checkpoints" / "best.ckpt"
    written = (best if best.is_file() else run).stat().st_mtime
    try:
        began = datetime.fromisoformat(json.loads((run / "state.json").read_text())["began"]).timestamp()
    except (OSError, LookupError, TypeError, ValueError):
        began = written
    return began, written
