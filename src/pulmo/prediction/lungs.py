"""Where lung masks come from, for networks that want their images masked or cropped: a folder, or a segmenter."""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pulmo.errors import ConfigError
from pulmo.predicted_masks import lung_segmenter
from pulmo.prediction.ahead import ahead
from pulmo.prediction.answers import Panel
from pulmo.prediction.crew import decoded
from pulmo.prediction.decoding import DrawnLungs, Job, Prepared, Reader
from pulmo.prediction.members import Member, lung_run, members_of
from pulmo.prediction.paths import Found
from pulmo.prediction.spelling import SUFFIXES


def source_of(members: Sequence[Member], folder: Path | None, run: str | None) -> Member | Path | None:
    """Where the lungs come from: the `folder` or the `run` that is given, or the run that the members had; else None.

    Raises `ConfigError` where members need lungs and there is no source, or it is none, or where none needs them.
    """
    needs = [member.run.name for member in members if member.preprocess.needs_mask]
    if not needs:
        given = "--masks-from" if folder is not None else "--lungs" if run is not None else None
        if given is not None:
            raise ConfigError(f"{given}: {members[0].run.name} needs no lung masks: leave it out")
        return None
    if folder is not None:
        if not folder.is_dir():
            raise ConfigError(f"--masks-from {folder}: no such folder")
        return folder
    run = lung_run(members, run)
    if run is None:
        raise ConfigError(f"{needs[0]} was trained on lungs: give --masks-from FOLDER, or --lungs RUN that draws them")
    segmenter = members_of([run])[0]
    lung_segmenter(segmenter.task, run)
    if segmenter.preprocess.needs_mask:
        raise ConfigError(f"{run} needs lung masks itself: give another --lungs")
    return segmenter


def with_masks_of(folder: Path, found: Iterable[Found]) -> Iterator[Job]:
    """Give each image its mask in `folder`: of the same name below the folder that was given, or of the same stem.

    An image without a mask has that as its error; so has one whose mask, by its stem alone, another image has too.
    """
    taken = dict[int, str]()  # of those by the stem alone: who has it
    return (_masked(folder, image, taken) for image in found)


def _masked(folder: Path, image: Found, taken: dict[int, str]) -> Job:
    stem, error = os.path.basename(image.name), image.error
    mask = _mask_called(folder, image.name)
    if mask is None and stem != image.name and (mask := _mask_called(folder, stem)) is not None:
        first = taken.setdefault(hash(stem), image.path)
        if first != image.path:
            error = error or f"is {mask} its lung mask, or that of {first}? Lay masks out as the images are"
    if mask is None:
        error = error or f"no lung mask {stem}.* in {folder}"
    return Job(image._replace(error=error), str(mask) if mask else None)


def _mask_called(folder: Path, name: str) -> Path | None:
    wanted = (folder / f"{name}{suffix}" for suffix in (".png", *sorted(SUFFIXES - {".png"})))
    return next((path for path in wanted if path.is_file()), None)


def with_drawn(
    segmenter: Member,
    found: Iterable[Found],
    device: torch.device,
    lowered: torch.dtype | None,
    batch_size: int,
    reading: Mapping[str, Any],
) -> Iterator[Job]:
    """Have the `segmenter` draw the lungs of each image; it reads the file, and whoever takes the job once more.

    `reading` are arguments of `crew.decoded`.
    """
    task = segmenter.task
    panel = Panel([segmenter], device, [lowered])
    prepared = decoded(map(Job, found), Reader((segmenter.preprocess,)), **reading)

    def jobs() -> Iterator[Job]:
        for batch in ahead(batched(prepared, batch_size), 2, reading["stop"]):
            answers = iter(panel([each for each in batch if not each.error]))
            for each in batch:
                if each.error:
                    yield Job(each.image._replace(error=each.error))
                else:
                    drawn = DrawnLungs(next(answers).maps[0], each.geometries[0], task.cut_off, each.shape)
                    yield Job(each.image, drawn)

    return jobs()


def batched(prepared: Iterable[Prepared], size: int) -> Iterator[list[Prepared]]:
    """Lists of `size`, the last one shorter."""
    iterator = iter(prepared)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
