"""Steps that tests of data modules share."""

from pathlib import Path

from pulmo.data.datamodule import ChestDataModule
from pulmo.types import Batch, Target


def ready(module: ChestDataModule, *needs: Target) -> ChestDataModule:
    module.needs = frozenset(needs) or module.needs
    module.prepare_data()
    module.setup("fit")
    return module


def number(batch: Batch) -> list[int]:
    """Each image of the class folders has its number + 1 as grey value."""
    return [int(grey) - 1 for grey in batch["image"].float().mean((1, 2, 3))]


def damaged(module: ChestDataModule, name: str) -> Path:
    path = next(Path(module.root).rglob(name))
    path.write_bytes(path.read_bytes()[:40])
    return path
