"""Which folders are runs, and where they lie."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pulmo.errors import RunError

OUTPUTS = Path("outputs")


def newest() -> Path:
    """The newest run anywhere under outputs/ that has a checkpoint; raises `RunError` if there is none."""
    found = [folder / "checkpoints" / "best.ckpt" for folder in runs_below(OUTPUTS)]
    newest = _newest([path for path in found if path.is_file()])
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


def _newest(checkpoints: Sequence[Path]) -> Path | None:
    return max(checkpoints, key=lambda path: path.stat().st_mtime).parents[1] if checkpoints else None
