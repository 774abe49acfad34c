"""The images that a command line means, one after the other: files, folders, patterns, lists of paths."""

import glob
import itertools
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import NamedTuple

from pulmo.errors import DataError
from pulmo.prediction.description import is_of_results

SUFFIXES = frozenset({".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})
STANDARD_INPUT = "-"


class Found(NamedTuple):
    """A file to read: its `path`, and the `name` of what is made of it, relative to the folder that was given.

    `error` where it is known before reading that there is nothing to read.
    """

    path: str
    name: str
    error: str = ""


def images_in(given: Sequence[str], listed: str | None = None, left_out: Collection[Path] = ()) -> Iterator[Found]:
    """Give each image of the `given` paths and of the file `listed` once, those of a folder by name.

    A folder is walked with all below it, links followed; hidden names, masks that an earlier job has drawn and the
    resolved folders `left_out` are passed by, and so is what has neither an image's suffix nor DICOM's mark at byte
    128. A path that is written out is given whatever it is, so that its reading says what is wrong. `-` stands for the
    standard input, a path a line, as in the file `listed`. In memory are the names of one folder and its parents, the
    matches of one pattern, and, unless a single folder is given, a number for each image. Raises `DataError` where
    `listed` cannot be read.
    """
    paths = itertools.chain.from_iterable(_lines(path) if path == STANDARD_INPUT else (path,) for path in given)
    if listed is not None:
        paths = itertools.chain(paths, _lines(listed))
    without = frozenset(left_out)
    found = itertools.chain.from_iterable(_meant(path, without) for path in paths)
    if listed is None and len(given) == 1 and os.path.isdir(given[0]):
        return found
    return _once(found)


def nothing_there(given: Sequence[str]) -> str | None:
    """What is wrong with paths of which not one leads anywhere; None where one does, or is yet to be read."""
    for path in map(os.path.expanduser, given):
        if path == STANDARD_INPUT or os.path.lexists(path) or (glob.has_magic(path) and _matches(path)):
            return None
    if not given:
        return None
    what = "no file matches this pattern" if glob.has_magic(given[0]) else "no such file or folder"
    return f"{given[0]}: {what}"


def _matches(pattern: str) -> bool:
    return next(glob.iglob(pattern, recursive=True), None) is not None


def _once(found: Iterator[Found]) -> Iterator[Found]:
    seen = set[int]()  # eight bytes of each path rather than the path; that two agree is a matter of 1 in 10^7
    for image in found:
        known = hash(os.path.abspath(image.path))
        if known not in seen:
            seen.add(known)
            yield image


def _lines(path: str) -> Iterator[str]:
    """Paths of a text file, or of the standard input; blank lines are passed by."""
    try:
        with ExitStack() as stack:
            stream = sys.stdin
            if path != STANDARD_INPUT:
                stream = stack.enter_context(open(path, encoding="utf-8-sig", errors="surrogateescape"))
            yield from (line.rstrip("\r\n") for line in stream if line.strip())
    except (OSError, UnicodeError) as error:
        raise DataError(f"--list {path}: {getattr(error, 'strerror', None) or error}") from error


def _meant(path: str, left_out: frozenset[Path]) -> Iterator[Found]:
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        yield from _walked(path, path, left_out)
    elif glob.has_magic(path) and not os.path.lexists(path):
        root = _fixed_part(path)
        matches = sorted(glob.iglob(path, recursive=True))
        if not matches:
            yield Found(path, _name(path, root), "no file matches this pattern")
        for match in matches:
            if os.path.isdir(match):
                if not path.endswith("**"):  # which gives all that is below by itself
                    yield from _walked(match, root, left_out)
            elif _is_image(match) or not path.endswith("**"):
                yield Found(match, _name(match, root))
    else:
        yield Found(path, _name(path, os.path.dirname(path)))


def _walked(folder: str, root: str, left_out: frozenset[Path], above: frozenset[Path] = frozenset()) -> Iterator[Found]:
    resolved = Path(folder).resolve()
    if resolved in left_out or resolved in above:  # the latter by a link into itself
        return
    folders, names = set(), []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    names.append(entry.name)
                    if entry.is_dir():
                        folders.add(entry.name)
    except OSError as error:
        yield Found(folder, _name(folder, root), error.strerror or str(error))
        return
    names.sort()
    for name in names:
        path = os.path.join(folder, name)
        if name in folders and is_of_results(path):
            continue
        if name in folders:
            yield from _walked(path, root, left_out, above | {resolved})
        elif _is_image(path):
            yield Found(path, _name(path, root))


def _is_image(path: str) -> bool:
    """Whether a file looks like one by its suffix, or by its content: devices write DICOM without a suffix."""
    if os.path.splitext(path)[1].lower() in SUFFIXES:
        return True
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _fixed_part(pattern: str) -> str:
    """The folder before the first part with a wildcard."""
    parts = itertools.takewhile(lambda part: not glob.has_magic(part), PurePath(pattern).parts)
    return str(PurePath(*parts))


def _name(path: str, root: str) -> str:
    """The path below `root` without an image's suffix."""
    relative = os.path.relpath(path, root or ".")
    stem, suffix = os.path.splitext(relative)
    return stem if suffix.lower() in SUFFIXES else relative
