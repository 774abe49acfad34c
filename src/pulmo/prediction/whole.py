"""A file that is there whole or as it was, whatever ends the process; and what is told where the disk takes no more."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from pulmo.errors import DataError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path to write to in the place of `path`, which then is there whole or as it was; its folder is made.

    Raises `DataError` where the disk takes no more.
    """
    part = path.with_name(f".{sha256(path.name.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):  # its folder may be a file
            part.unlink(missing_ok=True)  # rather than hold the last of a full disk


class UnwritableError(DataError):
    """A place takes nothing; `number` is the system's of the error, such as that of a full disk."""

    def __init__(self, message: str, number: int | None) -> None:
        super().__init__(message)
        self.number = number


def unwritable(out: Path, error: OSError) -> UnwritableError:
    """What is told of a place that takes nothing; of a full disk how to go on."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
    rest = "what is there is whole, --resume goes on" if full else "give another place"
    return UnwritableError(f"cannot write to {out}: {error.strerror or error}; {rest}", error.errno)
