"""What the files made of each image are called, so that none is written over."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pulmo.prediction.paths import Found
from pulmo.prediction.table import shown


class Names:
    """Names of files in several folders, one for each image in all of them; asked by one thread.

    `places` has a folder, or None, and a suffix for each column of the table that names such a file.
    """

    def __init__(self, places: Mapping[str, tuple[Path | None, str]]) -> None:
        self._places = {column: (folder, suffix) for column, (folder, suffix) in places.items() if folder is not None}
        self._taken: set[int] = set()  # hashes of paths: eight bytes rather than a path for each file

    def keep(self, rows: Iterable[Mapping[str, str]]) -> None:
        """Give none of the files that the `rows` of a table name, there or not, to another image."""
        for row in rows:
            self._taken.update(_known(path) for column in self._places if (path := row.get(column)))

    def of(self, image: Found) -> str:
        """A name of which no file is there or was given: the image's own, or with a digest of its path behind it."""
        name = os.path.normpath(image.name).replace(f"..{os.sep}", "")
        digest = hashlib.sha256(shown(image.path).encode()).hexdigest()[:8]
        given, number = name, 1
        while not self._free(given):
            given = f"{name}_{digest}" + (f"_{number}" if number > 1 else "")
            number += 1
        self._taken.update(map(_known, self._paths(given)))
        return given

    def _paths(self, name: str) -> list[str]:
        return [str(folder / f"{name}{suffix}") for folder, suffix in self._places.values() if folder is not None]

    def _free(self, name: str) -> bool:
        return not any(_known(path) in self._taken or os.path.lexists(path) for path in self._paths(name))


def _known(path: str) -> int:
    return hash(shown(os.path.abspath(path)))
