"""Files that a reader sees whole or as they were."""

import os
from hashlib import sha256
from pathlib import Path


def put(path: Path, content: bytes | str) -> Path:
    """Write the file beside its place and move it there; its folder is made. Raises `OSError` where that cannot be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{sha256(path.name.encode()).hexdigest()[:16]}.part")
    try:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)  # rather than hold the last of a full disk
        raise
    return path
