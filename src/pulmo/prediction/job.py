"""A job: files found, decoded, looked at and written, each beside the others, so that none waits and none piles up."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import torch

from pulmo import interruption
from pulmo.data.loaders import cores
from pulmo.errors import ConfigError, DataError
from pulmo.execution import keep_freed_memory, lowered
from pulmo.prediction import description, lungs
from pulmo.prediction.ahead import Behind, ahead
from pulmo.prediction.answers import Panel
from pulmo.prediction.asked import Asked, Outcome
from pulmo.prediction.crew import decoded
from pulmo.prediction.decoding import Job, Reader
from pulmo.prediction.files import paths_of, write_boxes
from pulmo.prediction.members import Member, cut_off_of, members_of
from pulmo.prediction.paths import STANDARD_INPUT, Found, images_in, is_read_once
from pulmo.prediction.progress import told_of
from pulmo.prediction.table import Table
from pulmo.prediction.views import FOUR, PLAIN
from pulmo.prediction.writing import Writing
from pulmo.tasks.detection import DetectionTask

AHEAD = 2  # batches that are decoded, and those that are written, beside the one that the network has


def predict(asked: Asked) -> Outcome:
    """Predict what is asked for into `asked.out`; an image that cannot be read is a row with its error.

    Raises `PulmoError` where nothing can be begun (no such run, no lung masks, a table that is there already), where
    there is no image at all, or the disk takes no more; and `Interrupted` on a signal, with all rows so far written.
    """
    asked.check()
    device = _device(asked.device)
    members = members_of(asked.runs)
    asked = _settled(asked, members, device)
    writing = Writing.of(members, cut_off_of(members, asked.threshold), asked)
    source = lungs.source_of(members, asked.masks_from, asked.lungs)
    told = _told(asked, members, writing, source, device)
    with interruption.handled(), _table(asked, writing, told) as table:
        outcome = Outcome(writing.cut_off, tuple(member.place for member in members), before=len(table.done))
        outcome.phantoms = any(member.run.phantom for member in members)
        began, stop = time.monotonic(), threading.Event()

        def passed(_: str) -> None:
            outcome.passed += 1

        found = _not_done(images_in(asked.paths, asked.listed, writing.folders, stop, passed), table)
        jobs = _jobs(asked, found, source, device, stop)
        with told_of(_left(asked, table, writing)) as done:
            _carry_out(asked, members, writing, table, jobs, device, done, outcome, stop)
        if table.empty:
            raise DataError(f"no image in {', '.join(asked.paths) or asked.listed}: give files, folders or patterns")
        outcome.files = (asked.out, *(write_boxes(table) if writing.has_boxes else []))
        table.finish()
        outcome.seconds = time.monotonic() - began
    return outcome


def _carry_out(
    asked: Asked,
    members: Sequence[Member],
    writing: Writing,
    table: Table,
    jobs: Iterable[Job],
    device: torch.device,
    done: Callable[[int], None],
    outcome: Outcome,
    stop: threading.Event,
) -> None:
    cv2.setNumThreads(1)  # its threads and torch's would wait for each other
    if device.type == "cpu":
        keep_freed_memory()
    types = [_type_of(asked, member, device) for member in members]
    panel = Panel(members, device, types, FOUR if asked.tta else PLAIN)
    reader = Reader(tuple(member.preprocess for member in members), asked.dicom_ids)
    large = any(member.preprocess.needs_mask for member in members)
    depth = 1 if large else 2
    prepared = decoded(jobs, reader, asked.workers or 0, depth, seconds=asked.seconds, stop=stop)
    with Behind(AHEAD) as write:
        for batch in ahead(lungs.batched(prepared, asked.batch_size or 1), AHEAD, stop):
            answers = iter(panel([each for each in batch if not each.error]))
            pairs = [(each, None if each.error else next(answers)) for each in batch]
            write(writing.write, table, pairs, outcome)
            done(len(batch))


def _jobs(
    asked: Asked, found: Iterator[Found], source: Member | Path | None, device: torch.device, stop: threading.Event
) -> Iterable[Job]:
    if source is None:
        return map(Job, found)
    if isinstance(source, Path):
        return lungs.with_masks_of(source, found)
    batch_size, workers = asked.batch_size or 1, asked.workers or 0
    drawn_in = _type_of(asked, source, device, of_lungs=True)
    reading = {"workers": workers, "seconds": asked.seconds, "stop": stop}
    return lungs.with_drawn(source, found, device, drawn_in, batch_size, reading)


def _left(asked: Asked, table: Table, writing: Writing) -> Iterator[Found] | None:
    """What is to be done, walked a second time for its number; None where paths can be read once only."""
    if any(map(is_read_once, (*(path for path in asked.paths if path == STANDARD_INPUT), asked.listed))):
        return None
    found = images_in(asked.paths, asked.listed, writing.folders)
    return (image for image in found if image.path not in table.done)


def _not_done(found: Iterator[Found], table: Table) -> Iterator[Found]:
    """Leave out what has its row already."""
    return (image for image in found if image.path not in table.done)


@contextmanager
def _table(asked: Asked, writing: Writing, told: dict[str, Any]) -> Iterator[Table]:
    """The table, begun or gone on with, and its description; neither stays where nothing came of it."""
    out, beside = asked.out, paths_of(asked.out) if writing.has_boxes else []
    before, free = description.check(out, told, beside, resume=asked.resume), writing.free_folders()
    table = Table.begun(out, writing.columns, resume=asked.resume, retry=asked.retry)
    try:
        ours = writing.go_on(table, before, free)
        description.put_down(out, told, beside, ours)
        yield table
    finally:
        table.close()
        if table.empty and before is None:  # the next try need not be a --resume
            description.description_of(out).unlink(missing_ok=True)


def _told(
    asked: Asked, members: Sequence[Member], writing: Writing, source: Member | Path | None, device: torch.device
) -> dict[str, Any]:
    """What the rows are made by."""

    def run(member: Member, *, of_lungs: bool = False) -> dict[str, str]:
        made = _type_of(asked, member, device, of_lungs=of_lungs)
        precision = "32-true" if made is None else "bf16-mixed" if made == torch.bfloat16 else "16-mixed"
        return {"run": str(member.run.folder.resolve()), "checkpoint": member.digest, "precision": precision}

    return {
        "pulmo": version("pulmo"),
        "runs": [run(member) for member in members],
        "class_names": list(members[0].task.class_names),
        "threshold": writing.cut_off.value,
        "threshold_is": writing.cut_off.source,
        "views": len(FOUR) if asked.tta else 1,
        "masks_from": str(source.resolve()) if isinstance(source, Path) else None,
        "lungs": run(source, of_lungs=True) if isinstance(source, Member) else None,
        "device": str(device),
    }


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch sees no GPU here; give --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _settled(asked: Asked, members: Sequence[Member], device: torch.device) -> Asked:
    """What is asked for, with the numbers that were left to us."""
    size, workers = asked.batch_size, asked.workers
    if size is None:
        size = 4 if isinstance(members[0].task, DetectionTask) else 64 if device.type == "cuda" else 16
    if workers is None:
        share = cores() - 1 if device.type == "cuda" else cores() // 4  # a CPU's network itself wants the cores
        workers = max(1, min(16, share))
    return replace(asked, batch_size=size, workers=workers)


def _type_of(asked: Asked, member: Member, device: torch.device, *, of_lungs: bool = False) -> torch.dtype | None:
    """What a member's network computes in, or one that draws the lungs for members; None: float32."""
    if asked.precision != "auto":
        return torch.bfloat16 if asked.precision == "bf16" else None
    whole = of_lungs or isinstance(member.task, DetectionTask)
    return None if whole else lowered(member.run.precision, device.type)
