"""What the files made of each image are called, so that none is written over."""

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path

from pulmo.prediction.paths import Found
from pulmo.prediction.spelling import known, shown

LONGEST = 200  # bytes of a name: file systems take 255, and a suffix comes behind it


class Names:
    """Names of files in several folders, one for each image in all of them; asked by one thread.

    places  a folder, or None, and a suffix for each column of the table that names such a file
    ours    those of the folders that this job, or the one that it goes on with, has made: a file there that no row
            names was left when the job was cut off, and is written anew
    """

    def __init__(self, places: Mapping[str, tuple[Path | None, str]], ours: Collection[Path] = ()) -> None:
        self._places: dict[str, tuple[Path, str]] = {
            column: (folder, suffix) for column, (folder, suffix) in places.items() if folder is not None
        }
        self._ours = {os.path.abspath(folder) for folder in ours}
        self._taken: set[int] = set()  # a number for a path: eight bytes rather than a path for each file
        self._folders: set[int] = set()  # that files were put into

    def keep(self, rows: Iterable[Mapping[str, str]]) -> None:
        """Give none of the files that the `rows` of a table name, there or not, to another image."""
        for row in rows:
            for column, (folder, _) in self._places.items():
                if row.get(column):
                    self._take(row[column], folder)

    def of(self, image: Found) -> str:
        """A name of which no file is there or was given: the image's own, or with a digest of its path behind it."""
        given = next(name for name in _candidates(image) if not self._is_used(name))
        for place, suffix in self._places.values():
            self._take(str(place / f"{given}{suffix}"), place)
        return given

    def _take(self, path: str, place: Path) -> None:
        self._taken.add(known(path))
        self._folders.update(map(known, _between(path, place)))

    def _is_used(self, name: str) -> bool:
        """Whether a file of another has one of the name's places, or lies above it or below."""
        return any(self._has(str(folder / f"{name}{suffix}"), folder) for folder, suffix in self._places.values())

    def _has(self, path: str, place: Path) -> bool:
        above = _between(path, place)
        if known(path) in self._taken or known(path) in self._folders or not self._taken.isdisjoint(map(known, above)):
            return True
        if os.path.isdir(path) or any(os.path.lexists(each) and not os.path.isdir(each) for each in above):
            return True
        return os.path.lexists(path) and os.path.abspath(place) not in self._ours


def _candidates(image: Found) -> Iterator[str]:
    """Names for an image, the best first; those with a number lie in no folder, whose own name may be a file's."""
    own = os.path.normpath(image.name).replace(f"..{os.sep}", "")
    folder, last = os.path.split(own)
    digest = hashlib.sha256(shown(image.path).encode()).hexdigest()[:8]
    other = f"{os.fsencode(last)[:LONGEST].decode('utf-8', 'ignore')}_{digest}"
    if len(os.fsencode(last)) <= LONGEST + 20:
        yield own
    yield os.path.join(folder, other)
    yield from (f"{other}_{number}" for number in count(2))


def _between(path: str, place: Path) -> list[str]:
    """The folders of a path below `place`, the innermost first."""
    parents = [str(folder) for folder in Path(path).parents]
    return parents[: parents.index(str(place))] if str(place) in parents else []
