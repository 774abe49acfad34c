"""A user's own images: class folders, or a csv. The way in for data that nobody here has heard of."""

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from pulmo.data.datamodule import ChestDataModule
from pulmo.data.lists import images_below, masks_for, no_boxes, one_row_each, read_list
from pulmo.errors import ConfigError, DataError
from pulmo.types import Target

log = logging.getLogger(__name__)

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(kw_only=True, eq=False)
class Folder(ChestDataModule):
    """`root/[train|val|test/]CLASS/…` or a csv with the columns path, label and, if wanted, patient, split, mask.

    classes  names of the classes, the normal one first; case does not matter
    csv      the list, inside `root` or anywhere; paths in it are relative to `root`
    patient  regular expression whose first group, searched in the file name, is the patient
    """

    classes: list[str] = field(default_factory=lambda: ["normal", "pneumonia"])
    csv: str | None = None
    patient: str | None = None

    gives: ClassVar[frozenset[Target]] = frozenset({"label", "lung_mask"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.classes) < 2:
            raise ConfigError(f"data.classes={self.classes}: at least two")
        try:
            self._patient = re.compile(self.patient) if self.patient else None
        except re.error as error:
            raise ConfigError(f"data.patient={self.patient} is no regular expression: {error}") from error
        if self._patient is not None and self._patient.groups < 1:
            raise ConfigError(f"data.patient={self.patient}: put the patient's part in parentheses")

    @property
    def class_names(self) -> tuple[str, ...]:
        """As configured."""
        return tuple(self.classes)

    def index(self) -> pd.DataFrame:
        """One row an image of the csv, or of the class folders."""
        root = Path(self.root).expanduser()
        listed = self._listed(root) if self.csv else self._found(root)
        if listed.empty:
            raise DataError(f"no image in {root}: expected {root}/CLASS/… with CLASS in {', '.join(self.classes)}")
        found = masks_for(listed["path"].tolist(), root, self.masks)
        listed["mask"] = [str(root / own) if own else mask for own, mask in zip(listed["mask"], found, strict=True)]
        listed["label"] = self._labels(listed["label"])
        nameless = listed["patient_id"] == ""
        if nameless.any():
            log.warning(
                "folder: %d images name no patient (data.patient=REGEX, or a csv column): each counts as one, "
                "so two images of one patient may cross splits",
                int(nameless.sum()),
            )
        listed["patient_id"] = listed["patient_id"].where(~nameless, listed["image_id"])
        return listed.assign(boxes=no_boxes(len(listed)), view="")

    def _found(self, root: Path) -> pd.DataFrame:
        rows: list[dict[str, Any]] = []
        for path in images_below(root, without=self.masks):
            parts = path.relative_to(root).parts[:-1]
            split = next((SPLIT_NAMES[part.lower()] for part in parts if part.lower() in SPLIT_NAMES), "")
            label = next((part for part in parts if part.lower() not in SPLIT_NAMES), "")
            image_id = path.relative_to(root).with_suffix("").as_posix()
            rows.append(self._row(image_id, path, label, self._patient_of(path.name), split, ""))
        self.tally["images found"] = len(rows)
        return pd.DataFrame(rows)

    def _listed(self, root: Path) -> pd.DataFrame:
        path = root / Path(str(self.csv)).expanduser()  # an absolute csv stays what it is
        frame = read_list(path, ["path", "label"])
        self.tally[f"rows of {path.name}"] = len(frame)
        frame = frame[[name for name in ("path", "label", "patient", "split", "mask") if name in frame]]
        frame = one_row_each(frame, "path", path)
        if frame.empty:
            raise DataError(f"{path} has a header and no image")
        for column in ("patient", "split", "mask"):
            frame[column] = frame.get(column, "")
        unknown = sorted(set(frame["split"].str.lower()) - {*SPLIT_NAMES, ""})
        if unknown:
            raise DataError(f"{path}: split {unknown[0]!r} is none of {', '.join(SPLIT_NAMES)}")
        rows = [
            self._row(file, root / file, label, patient or self._patient_of(Path(file).name), split, mask)
            for file, label, patient, split, mask in zip(
                frame["path"],
                frame["label"],
                frame["patient"],
                frame["split"].str.lower().map({**SPLIT_NAMES, "": ""}),
                frame["mask"],
                strict=True,
            )
        ]
        return pd.DataFrame(rows)

    def _row(self, image_id: str, path: Path, label: str, patient: str, split: str, mask: str) -> dict[str, Any]:
        return {
            "image_id": image_id,
            "patient_id": patient,
            "path": str(path),
            "split": split,
            "label": label,
            "mask": mask,
        }

    def _patient_of(self, name: str) -> str:
        found = self._patient.search(name) if self._patient else None
        return found[1] if found else ""

    def _labels(self, names: pd.Series) -> pd.Series:
        """Index of each class name; -1 for an empty cell. Numbers that name no class are the index itself."""
        known = {str(label): label for label in range(len(self.classes))}
        known |= {name.lower(): label for label, name in enumerate(self.classes)} | {"": -1}
        lowered = names.str.strip().str.lower()
        unknown = sorted(set(lowered) - set(known))
        if unknown:
            present = sorted(set(lowered) - {""}, key=lambda name: (name != self.classes[0].lower(), name))
            raise DataError(
                f"{self.root}: class {unknown[0]!r} is none of {', '.join(self.classes)}: "
                f"give data.classes=[{','.join(present)}], the normal one first"
            )
        return lowered.map(known).astype(int)
