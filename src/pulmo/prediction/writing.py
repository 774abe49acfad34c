"""From the networks' answers to rows, masks and DICOM results."""

import errno
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pulmo.errors import DataError
from pulmo.prediction import description
from pulmo.prediction.answers import Answer, drawn
from pulmo.prediction.asked import Asked, CutOff, Outcome
from pulmo.prediction.decoding import IDS, Prepared
from pulmo.prediction.dicom import DicomResults, NoResultError
from pulmo.prediction.files import boxes_text
from pulmo.prediction.members import Member, names_of
from pulmo.prediction.names import Names
from pulmo.prediction.spelling import shown
from pulmo.prediction.table import Table
from pulmo.prediction.whole import UnwritableError, whole
from pulmo.tasks.classification import ClassificationTask
from pulmo.tasks.segmentation import SegmentationTask
from pulmo.transforms.components import largest_components

TOLD = 5  # errors that are told on the screen
OF_THE_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EILSEQ, errno.EINVAL)
"""Errors of the system that are of one file's name, and not of the disk."""


@dataclass
class Writing:
    """Writes what was answered: first the files of an image, then its row, which says that all of it is there."""

    members: Sequence[Member]
    cut_off: CutOff
    columns: list[str]
    masks: Path | None
    dicom: Path | None
    results: DicomResults | None
    has_boxes: bool
    _names: Names = field(init=False)
    _unmarked: set[Path] = field(default_factory=set)
    _called: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self._names = Names(self._places)
        self._called = names_of(self.members) if len(self.members) > 1 else []

    @property
    def _places(self) -> dict[str, tuple[Path | None, str]]:
        return {"mask": (self.masks, ".png"), "dicom": (self.dicom, ".dcm")}

    @classmethod
    def of(cls, members: Sequence[Member], cut_off: CutOff, asked: Asked) -> "Writing":
        """How the answers of `members` are written."""
        task = members[0].task
        draws = isinstance(task, SegmentationTask)
        has_boxes = not isinstance(task, ClassificationTask) and not (draws and task.target == "lungs")
        columns = ["path", "score", "decision", "threshold", "error"]
        if len(task.class_names) > 2:
            columns += [f"score_{name}" for name in task.class_names]
        if len(members) > 1:
            columns += [f"score@{name}" for name in names_of(members)]
        columns += ["area", "mask"] if draws else []
        columns += ["boxes"] if has_boxes else []
        columns += ["width", "height"]
        columns += list(IDS) if asked.dicom_ids else []
        columns += ["dicom", "no_dicom"] if asked.dicom else []
        masks = (asked.masks or asked.out.with_name(f"{asked.out.stem}_masks")) if draws else None
        if asked.masks and not draws:
            raise DataError(f"--masks: {members[0].run.name} draws none; give the run of a segmentation")
        algorithm = ", ".join(f"{member.run.name} ({member.digest})" for member in members)
        target = task.target if isinstance(task, SegmentationTask) else None
        finding = task.class_names[-1] if len(task.class_names) == 2 else "class"
        results = DicomResults(finding, target, algorithm, version("pulmo")) if asked.dicom else None
        return cls(members, cut_off, columns, masks, asked.dicom, results, has_boxes)

    @property
    def folders(self) -> list[Path]:
        """Folders that are written to, which are no input."""
        return [folder.resolve() for folder in (self.masks, self.dicom) if folder is not None]

    def free_folders(self) -> list[Path]:
        """Of the `folders` those that nobody has a file in."""
        return [folder for folder in self.folders if not _holds_files(folder)]

    def go_on(self, table: Table, before: Mapping[str, Any] | None, free: Sequence[Path]) -> list[Path]:
        """Keep the files that rows of the `table` name, wherever the walk comes by their images.

        Gives the folders that are this job's own: those that were `free` when it was begun; `before` is what it has put
        down then.
        """
        begun = {Path(folder) for folder in (before or {}).get("folders", ())}
        ours = [folder for folder in self.folders if folder in begun or (before is None and folder in free)]
        self._names, self._unmarked = Names(self._places, ours), {*ours}
        if self.folders:
            self._names.keep(table.rows())
        return ours

    def write(self, table: Table, answers: Sequence[tuple[Prepared, Answer | None]], outcome: Outcome) -> None:
        """Write each image's files, then all rows."""
        rows = [self._row(prepared, answer) for prepared, answer in answers]
        table.add(rows)
        outcome.images += len(rows)
        for row in rows:
            if why := row.get("no_dicom"):
                why = why if why in outcome.lacking or len(outcome.lacking) < TOLD else "others, in the column no_dicom"
                outcome.lacking[why] = outcome.lacking.get(why, 0) + 1
            if row["error"]:
                outcome.errors += 1
                outcome.failed += [f"{row['path']}: {row['error']}"] if len(outcome.failed) < TOLD else []

    def _row(self, prepared: Prepared, answer: Answer | None) -> dict[str, Any]:
        row: dict[str, Any] = {"path": shown(prepared.image.path), "error": prepared.error} | prepared.ids
        if answer is None:
            return row
        if not np.isfinite([answer.score, *answer.members, *answer.classes]).all():
            return row | {"error": "the network's answer is no number"}
        task, cut_off = self.members[0].task, self.cut_off.value
        row |= dict(zip(("height", "width"), prepared.shape, strict=True))
        row |= {f"score@{name}": score for name, score in zip(self._called, answer.members, strict=False)}
        row |= {f"score_{name}": score for name, score in zip(task.class_names, answer.classes, strict=False)}
        mask, boxes, score = None, answer.boxes, answer.score
        if isinstance(task, SegmentationTask) and cut_off is not None:
            mask, found, score = drawn(answer, prepared, cut_off, task.smallest_area)
            if task.target == "lungs":
                mask = largest_components(mask, 2, fill=True)
            boxes = found if self.has_boxes else None
            row["area"] = float(mask.mean())
        if boxes is not None:
            if mask is None:
                boxes = boxes[boxes[:, 4].astype(np.float64) >= (cut_off or 0)]
            row["boxes"] = boxes_text(boxes.tolist())
        positive = cut_off is not None and score >= cut_off
        row |= {"score": score, "threshold": cut_off}
        best = int(np.argmax(answer.classes)) if answer.classes else int(positive)
        row["decision"] = task.class_names[best]
        self._files(row, prepared, mask, boxes)
        return row

    def _files(
        self,
        row: dict[str, Any],
        prepared: Prepared,
        mask: npt.NDArray[np.uint8] | None,
        boxes: npt.NDArray[np.float32] | None,
    ) -> None:
        if self.masks is None and self.results is None:
            return
        name = self._names.of(prepared.image)
        if self.masks is not None and mask is not None:
            path = self.masks / f"{name}.png"
            try:
                _write_png(path, mask)
            except UnwritableError as error:
                if error.number not in OF_THE_NAME:
                    raise
                row["error"] = f"its mask cannot be called {path.name}"
            else:
                row["mask"] = shown(str(path))
                self._mark(self.masks)
        if self.results is not None and self.dicom is not None:
            path = self.dicom / f"{name}.dcm"
            try:
                self.results.write(
                    prepared.image.path,
                    path,
                    score=row["score"],
                    cut_off=self.cut_off.value,
                    decision=row["decision"],
                    mask=mask,
                    boxes=[] if boxes is None else boxes.tolist(),
                )
                row["dicom"] = shown(str(path))
                self._mark(self.dicom)
            except NoResultError as error:  # of the image, not of the disk
                row["no_dicom"] = str(error)

    def _mark(self, folder: Path) -> None:
        """Once a folder that is this job's own holds a file."""
        if (own := folder.resolve()) in self._unmarked:
            self._unmarked.remove(own)
            with suppress(OSError):  # a mark is no result
                description.mark(own)


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and any(path.name != description.MARK for path in folder.iterdir())


def _write_png(path: Path, mask: npt.NDArray[np.uint8]) -> None:
    encoded = cv2.imencode(".png", mask * np.uint8(255))[1].tobytes()
    with whole(path) as part:
        part.write_bytes(encoded)
