"""Masks that a trained segmenter draws: as files beside the images, or as the lung masks of another run."""

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from pulmo.data.cache import VERSION
from pulmo.data.reading import read_grey, read_mask
from pulmo.errors import ConfigError, DataError
from pulmo.tasks.base import Task
from pulmo.tasks.segmentation import SegmentationTask
from pulmo.transforms.components import largest_components
from pulmo.transforms.geometry import Geometry
from pulmo.transforms.preprocess import Preprocess

log = logging.getLogger(__name__)

Job = tuple[str, str, Path]
"""An image file, its lung mask ("" where preprocess asks for none), and the PNG to write."""

LUNGS = 2
BATCH = 16


@dataclass(frozen=True, eq=False)
class AutomaticMasks:
    """Lung masks drawn by `task`, for images prepared by its own `preprocess`, kept in `folder` for other runs.

    Each is a PNG of its image's own size: the two largest connected parts, without holes. `folder` should name the
    checkpoint; the files are named by the images' paths, sizes and times, so a replaced image gets a new mask.
    """

    task: SegmentationTask
    preprocess: Preprocess
    folder: Path

    @property
    def said(self) -> str:
        """What it is, to a user."""
        return "the run that draws lungs"

    def masks_of(self, table: pd.DataFrame) -> list[str]:
        """Give the path of each row's mask, drawing those that are not there yet; one process at a time.

        An image that cannot be read gets none: whoever prepares it will say why. Raises `DataError` where `folder`
        cannot be written.
        """
        wanted = [self.folder / f"{_identity(path)}.png" for path in table["path"]]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"):
                pairs = zip(table["path"], wanted, strict=True)
                missing = [(path, "", mask) for path, mask in pairs if not mask.exists()]
                if missing:
                    log.info("drawing %d lung masks into %s", len(missing), self.folder)
                    write_masks(self.task, self.preprocess, missing)
        except OSError as error:
            raise DataError(
                f"cannot write lung masks to {self.folder}: {error.strerror}; give another data.cache_dir"
            ) from error
        return [str(mask) for mask in wanted]


def lung_segmenter(task: Task, run: str) -> SegmentationTask:
    """Give `task` if it draws lungs; raises `ConfigError` if it does anything else."""
    if not isinstance(task, SegmentationTask) or task.target != "lungs":
        does = f"draws {task.target}" if isinstance(task, SegmentationTask) else "is no segmentation"
        raise ConfigError(f"preprocess.mask={run} {does}: give a run with model=unet (or another) data.target=lungs")
    return task


def write_masks(task: SegmentationTask, preprocess: Preprocess, images: Sequence[Job]) -> None:
    """Draw a mask for each of `images`, {0, 255} in the size of the image; those that cannot be prepared are passed.

    Of lungs the two largest parts are kept and filled. Runs on the GPU where there is one. A PNG is there whole or
    not at all.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task = task.eval().to(device)
    workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, len(images) // BATCH)
    loader = DataLoader(_Images(images, preprocess), BATCH, num_workers=workers, collate_fn=list)
    for batch in track(loader, description="drawing masks", transient=True):
        readable = [(row, image, geometry, shape) for row, image, geometry, shape in batch if image is not None]
        if not readable:
            continue
        with torch.inference_mode():
            logits = task(torch.stack([image for _, image, _, _ in readable]).to(device))
        for probabilities, (row, _, geometry, shape) in zip(
            logits[:, 0].float().sigmoid().cpu(), readable, strict=True
        ):
            mask = (geometry.unmask(probabilities.numpy(), shape) >= np.float32(task.cut_off)).astype(np.uint8)
            if task.target == "lungs":
                mask = largest_components(mask, LUNGS, fill=True)
            _write(images[row][2], mask)
    task.to("cpu")


class _Images(Dataset[tuple[int, torch.Tensor | None, Geometry, tuple[int, int]]]):
    def __init__(self, images: Sequence[Job], preprocess: Preprocess) -> None:
        self._images, self._preprocess = images, preprocess

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> tuple[int, torch.Tensor | None, Geometry, tuple[int, int]]:
        path, lungs, _ = self._images[row]
        try:
            reading = read_grey(path, self._preprocess.side)
            known = read_mask(lungs, reading.shape) if lungs and self._preprocess.needs_mask else None
            image, geometry = self._preprocess(reading.image, known, reading.shape)
        except DataError:
            return row, None, Geometry((0, 0, 1, 1), (1, 1), (0, 0), 1), (1, 1)
        return row, torch.from_numpy(image)[None], geometry, reading.shape


def _write(path: Path, mask: np.ndarray) -> None:
    part = path.with_suffix(".part")
    _, encoded = cv2.imencode(".png", mask * 255)
    part.write_bytes(encoded.tobytes())
    os.replace(part, path)


def _identity(path: str) -> str:
    try:
        status = os.stat(path)
        stamp = f"{VERSION}|{os.path.abspath(path)}|{status.st_size}|{status.st_mtime_ns}"
    except OSError:
        stamp = path
    return hashlib.sha256(stamp.encode()).hexdigest()[:24]
