"""Writes the sample data sets, so that every command can be tried before the real ones are downloaded."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from pulmo.phantom.kermany import write_kermany
from pulmo.phantom.padchest import write_padchest
from pulmo.phantom.rsna import write_rsna
from pulmo.phantom.writing import MARKER

KERMANY_MASKS = "kermany_lung_masks"


def write_all(
    root: Path, *, rsna: int = 300, kermany: int = 300, padchest: int = 240, seed: int = 0, size: int | None = None
) -> list[Path]:
    """Write the sets rsna, kermany (with kermany_lung_masks) and padchest below `root` where they are absent.

    The numbers are images in each set, `size` the height in pixels where it is not to be each set's own. A set
    appears whole or not at all: a killed run leaves at most a hidden folder `.phantom-*`. Lung masks that are no
    phantoms stay. Returns the folders written.
    """
    own = {} if size is None else {"size": size}

    def write_kermany_pair(new: Path) -> None:
        masks = new / KERMANY_MASKS
        write_kermany(new / "kermany", masks=masks, images=kermany, seed=seed, **own)

    # The last name of a set is the sign that it is there: what belongs to it is moved before it.
    writers: dict[tuple[str, ...], Callable[[Path], None]] = {
        ("rsna",): lambda new: write_rsna(new / "rsna", images=rsna, seed=seed, **own),
        (KERMANY_MASKS, "kermany"): write_kermany_pair,
        ("padchest",): lambda new: write_padchest(new / "padchest", images=padchest, seed=seed, **own),
    }
    root.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for names, write in writers.items():
        if (root / names[-1]).exists():
            continue
        with tempfile.TemporaryDirectory(prefix=".phantom-", dir=root) as folder:
            write(Path(folder))
            if not (root / names[-1]).exists():  # another process may have been faster
                written += [root / name for name in names if _settle(Path(folder) / name, root / name)]
    return written


def _settle(new: Path, target: Path) -> bool:
    """Move `new` to `target`, over an orphan of an earlier run, never over a user's own folder."""
    if target.exists():
        if not (target / MARKER).is_file():
            return False
        shutil.rmtree(target)
    new.rename(target)
    return True
