"""Files that a reader sees whole or as they were."""

import errno
import os
from hashlib import sha256
from pathlib import Path


def put(path: Path, content: bytes | str) -> Path:
    """Write the file beside its place and move it there; its folder is made. Raises `OSError` where that cannot be.

    A link stays one, and what is no file, such as a pipe, is written to.
    """
    place, data = path.resolve(), content.encode() if isinstance(content, str) else content
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if place.exists() and not place.is_file():
        place.write_bytes(data)
        return path
    place.parent.mkdir(parents=True, exist_ok=True)
    name = sha256(place.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    part = place.with_name(f".{name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        os.replace(part, place)
    except BaseException:
        part.unlink(missing_ok=True)  # rather than hold the last of a full disk
        raise
    return path
