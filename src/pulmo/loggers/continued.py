"""Which run of a tracking server a run folder belongs to, so that a resumed run goes on in it."""

import json
from pathlib import Path
from typing import Any

FILE = "tracking.json"


def known_id(folder: Path, server: str) -> str | None:
    """The id that the run has on `server`, an address; None where it has none."""
    return _read(folder).get(server)


def remember(folder: Path, server: str, run_id: str) -> None:
    """Note the id in the run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(_read(folder) | {server: run_id}, indent=2) + "\n")


def named(folder: Path) -> str:
    """The folder's name; of a multirun's job, which is a number, with that of the multirun before it."""
    return f"{folder.parent.name}_{folder.name}" if folder.name.isdigit() else folder.name


def _read(folder: Path) -> dict[str, Any]:
    path = folder / FILE
    return dict(json.loads(path.read_text())) if path.is_file() else {}
