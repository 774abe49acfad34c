"""The images that a command line means, one after the other: files, folders, patterns, lists of paths."""

import glob
import itertools
import os
import select
import stat
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from pulmo.errors import DataError
from pulmo.prediction.ahead import TICK
from pulmo.prediction.description import is_of_results
from pulmo.prediction.spelling import SUFFIXES, known, without_suffix

STANDARD_INPUT = "-"
PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*")
"""How JPEG, PNG and TIFF begin."""

CHUNK = 1 << 16  # bytes of a list that are read at once


class Found(NamedTuple):
    """A file to read: its `path`, and the `name` of what is made of it, relative to the folder that was given.

    `error` where it is known before reading that there is nothing to read.
    """

    path: str
    name: str
    error: str = ""


def images_in(
    given: Sequence[str],
    listed: str | None = None,
    left_out: Collection[Path] = (),
    stop: threading.Event | None = None,
    passed: Callable[[str], None] | None = None,
) -> Iterator[Found]:
    """Give each image of the `given` paths and of the file `listed` once, those of a folder by name.

    A folder is walked with all below it, links followed, each folder once; hidden names, masks that an earlier job has
    drawn and the resolved folders `left_out` are passed by, and so is each file that is no image by its suffix or, as
    devices write them, by its first bytes: `passed` is told of it. A path that is written out is given whatever it is,
    so that its reading says what is wrong. `-` stands for the standard input, a path a line, as in the file `listed`,
    which may be a pipe: who waits for it ends with `stop`. In memory are the names of one folder and its parents, the
    matches of one pattern, and, unless a single folder is given, a number for each image. Raises `DataError` where
    `listed` cannot be read.
    """
    ended = stop or threading.Event()
    paths = itertools.chain.from_iterable(_lines(path, ended) if path == STANDARD_INPUT else (path,) for path in given)
    if listed is not None:
        paths = itertools.chain(paths, _lines(listed, ended))
    walk = _Walk(frozenset(left_out), passed or (lambda _: None))
    found = itertools.chain.from_iterable(walk.meant(path) for path in paths)
    if listed is None and len(given) == 1 and os.path.isdir(given[0]):
        return found
    return _once(found)


def is_read_once(path: str | None) -> bool:
    """Whether a list of paths can be read a single time, as the standard input or a pipe."""
    return path is not None and (path == STANDARD_INPUT or not os.path.isfile(os.path.expanduser(path)))


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
    seen = set[int]()
    for image in found:
        number = known(image.path)
        if number not in seen:
            seen.add(number)
            yield image


def _lines(path: str, stop: threading.Event) -> Iterator[str]:
    """Paths of a text file, or of the standard input; blank lines are passed by."""
    try:
        rest = b""
        for part in _parts(path, stop):
            *lines, rest = (rest + part).split(b"\n")
            yield from _texts(lines)
        yield from _texts([rest])
    except OSError as error:
        named = "the standard input" if path == STANDARD_INPUT else f"--list {path}"
        raise DataError(f"{named}: {error.strerror or error}") from error


def _texts(lines: Sequence[bytes]) -> Iterator[str]:
    for line in lines:
        text = line.rstrip(b"\r").decode("utf-8", "surrogateescape").removeprefix("\ufeff")
        if text.strip():
            yield text


def _parts(path: str, stop: threading.Event) -> Iterator[bytes]:
    """The bytes of a list as they come; a pipe that nobody writes to is waited for until `stop`."""
    if path == STANDARD_INPUT and not _has_descriptor():  # somebody's object in the place of the standard input
        yield from (line.encode("utf-8", "surrogateescape") for line in sys.stdin)
        return
    if path == STANDARD_INPUT:
        descriptor = os.dup(sys.stdin.fileno())
    else:  # a pipe without a writer would hold up its opening
        descriptor = os.open(os.path.expanduser(path), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        while not stop.is_set():
            if not is_file and not select.select([descriptor], [], [], TICK)[0]:
                continue
            part = os.read(descriptor, CHUNK)
            if not part:
                return
            yield part
    finally:
        os.close(descriptor)


def _has_descriptor() -> bool:
    try:
        sys.stdin.fileno()
    except (OSError, ValueError, AttributeError):
        return False
    return os.name == "posix"  # elsewhere a pipe cannot be asked whether it has anything


class _Walk:
    """What paths mean; folders that were entered are not entered again, by whatever link they are come to."""

    def __init__(self, left_out: frozenset[Path], passed: Callable[[str], None]) -> None:
        self._left_out, self._passed = left_out, passed
        self._entered = set[tuple[int, int]]()

    def meant(self, path: str) -> Iterator[Found]:
        """The images that a path, as it was written, means."""
        path = os.path.expanduser(path)
        if os.path.isdir(path):
            yield from self._below(path, path)
        elif glob.has_magic(path) and not os.path.lexists(path):
            yield from self._matching(path)
        else:
            yield Found(path, _name(path, os.path.dirname(path)))

    def _matching(self, pattern: str) -> Iterator[Found]:
        root = _fixed_part(pattern)
        matches = sorted(glob.iglob(pattern, recursive=True))
        if not matches:
            yield Found(pattern, _name(pattern, root), "no file matches this pattern")
        for match in matches:
            if os.path.isdir(match):
                if not pattern.endswith("**"):  # which gives all that is below by itself
                    yield from self._below(match, root)
            elif _is_image(match) or not pattern.endswith("**"):
                yield Found(match, _name(match, root))

    def _below(self, folder: str, root: str) -> Iterator[Found]:
        """All images below a folder, in the order of their names; folders are listed when their turn comes."""
        inside = [iter([(folder, True)])]
        while inside:
            entry = next(inside[-1], None)
            if entry is None:
                inside.pop()
                continue
            path, is_folder = entry
            if not is_folder:
                if _is_image(path):
                    yield Found(path, _name(path, root))
                else:
                    self._passed(path)
                continue
            if path != folder and is_of_results(path):
                continue
            try:
                if self._enters(path):
                    inside.append(iter(_entries(path)))
            except OSError as error:
                yield Found(path, _name(path, root), error.strerror or str(error))

    def _enters(self, folder: str) -> bool:
        """Whether a folder is not to be passed by; it is from now on."""
        if self._left_out and Path(folder).resolve() in self._left_out:
            return False
        status = os.stat(folder)
        number = (status.st_dev, status.st_ino)
        if number in self._entered:
            return False
        self._entered.add(number)
        return True


def _entries(folder: str) -> list[tuple[str, bool]]:
    """Path of each entry that is not hidden, by name, and whether it is a folder; raises OSError."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                is_folder = entry.is_dir()
            except OSError:  # such as a link to itself: its reading says what is wrong
                is_folder = False
            found.append((entry.name, is_folder))
    return [(os.path.join(folder, name), is_folder) for name, is_folder in sorted(found)]


def _is_image(path: str) -> bool:
    """Whether a file looks like one by its suffix, or by its first bytes: devices write DICOM without a suffix."""
    suffix = os.path.splitext(path)[1]
    if suffix.lower() in SUFFIXES:
        return True
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(132)
    except OSError:
        return False
    return head[128:] == b"DICM" or (not suffix and head.startswith(PICTURES))


def _fixed_part(pattern: str) -> str:
    """The folder before the first part with a wildcard."""
    parts = itertools.takewhile(lambda part: not glob.has_magic(part), PurePath(pattern).parts)
    return str(PurePath(*parts))


def _name(path: str, root: str) -> str:
    """The path below `root` without an image's suffix."""
    return without_suffix(os.path.relpath(path, root or "."))
