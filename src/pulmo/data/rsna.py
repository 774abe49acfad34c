"""RSNA Pneumonia Detection Challenge 2018 (Shih et al. 2019, 10.1148/ryai.2019180041).

26,684 frontal radiographs of the NIH collection as DICOM, with boxes around opacities that may be pneumonia.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd

from pulmo.data.datamodule import ChestDataModule
from pulmo.data.dataset import BoxShape
from pulmo.data.lists import by_stem, images_below, masks_for, one_row_each, read_list, with_files
from pulmo.errors import DataError
from pulmo.types import Target

log = logging.getLogger(__name__)

CLASSES = ("Normal", "No Lung Opacity / Not Normal", "Lung Opacity")
NUMBERS = ["x", "y", "width", "height", "Target"]
MAPPINGS = ("nih_source.csv", "pneumonia-challenge-dataset-mappings_2018.json")


@dataclass(kw_only=True, eq=False)
class RSNA(ChestDataModule):
    """The challenge's folder: `stage_2_train_images/` (.dcm, .png or .jpg) and `stage_2_train_labels.csv`.

    labels     "binary": opacity or none; "three_class": the challenge's detailed classes
    negatives  which images without opacity take part: "all", "normal", or "not_normal"
    patients   csv (`patientId`, `nih_patient`) or the challenge's json that maps images to patients: the
               challenge's own `patientId` names an image, so without it a patient's images may cross splits
    opacity_shape  how the boxes are filled for the opacity masks of segmentation: "box" or "ellipse"
    """

    labels: Literal["binary", "three_class"] = "binary"
    negatives: Literal["all", "normal", "not_normal"] = "all"
    patients: str | None = None
    target: Literal["lungs", "opacity"] = "opacity"
    opacity_shape: BoxShape = "box"

    gives: ClassVar[frozenset[Target]] = frozenset({"label", "boxes", "opacity_mask", "lung_mask"})
    natural_rate: ClassVar[float | None] = 6012 / 26684

    @property
    def class_names(self) -> tuple[str, ...]:
        """Two classes, or the challenge's three."""
        return CLASSES if self.labels == "three_class" else ("No Lung Opacity", "Lung Opacity")

    @property
    def box_shape(self) -> BoxShape:
        """As `opacity_shape` says."""
        return self.opacity_shape

    def index(self) -> pd.DataFrame:
        """One row an image of `stage_2_train_labels.csv`, which itself has one a box."""
        root = Path(self.root).expanduser()
        source = root / "stage_2_train_labels.csv"
        rows = read_list(source, ["patientId", *NUMBERS])[["patientId", *NUMBERS]]
        self.tally[f"rows of {source.name}"] = len(rows)
        rows = _distinct(rows, source)
        files = by_stem(images_below(_folder(root, "stage_2_train_images"), without=self.masks))
        rows[NUMBERS] = _numbers(rows, root)
        opacity = rows.groupby("patientId", sort=False)["Target"].max() > 0
        frame = opacity.astype(int).rename("opacity").rename_axis("image_id").reset_index()
        boxes = _boxes(rows)
        frame["boxes"] = frame["image_id"].map(lambda image_id: boxes.get(image_id, []))
        frame["class"] = frame["image_id"].map(self._detailed(root))
        frame["label"] = self._label(frame, root)
        frame["path"] = frame["image_id"].map(files)
        self.tally["images listed"] = len(frame)
        frame = with_files(frame, source, root, keep=self.keep_absent)
        patients = self._patients(root)
        nameless = [image_id for image_id in frame["image_id"] if not patients.get(image_id)]
        if nameless:
            log.warning(
                "RSNA: %d of %d images have no patient mapping (data.patients=FILE): each counts as a patient, "
                "so two images of one patient may cross splits",
                *(len(nameless), len(frame)),
            )
        frame["patient_id"] = [patients.get(image_id) or image_id for image_id in frame["image_id"]]
        frame = frame.assign(split="", view="", mask=masks_for(frame["path"].tolist(), root, self.masks))
        columns = ["image_id", "patient_id", "path", "split", "label", "boxes", "mask", "view", "class"]
        return frame[columns]

    def select(self, table: pd.DataFrame) -> pd.DataFrame:
        """Keep the negatives asked for; all positives stay."""
        if self.negatives == "all":
            return table
        kept = {"normal": CLASSES[0], "not_normal": CLASSES[1]}[self.negatives]
        chosen: pd.DataFrame = table[table["class"].isin([kept, CLASSES[2]])]
        return chosen.reset_index(drop=True)

    def unlabelled(self) -> list[Path]:
        """The challenge's test images."""
        folder = Path(self.root).expanduser() / "stage_2_test_images"
        return images_below(folder) if folder.is_dir() else []

    def _detailed(self, root: Path) -> dict[str, str]:
        path = root / "stage_2_detailed_class_info.csv"
        if not path.exists():
            if self.labels == "three_class" or self.negatives != "all":
                raise DataError(f"no file {path}: data.labels=three_class and data.negatives need it")
            return {}
        frame = read_list(path, ["patientId", "class"])[["patientId", "class"]].drop_duplicates()  # one a box
        frame = one_row_each(frame, "patientId", path)
        return dict(zip(frame["patientId"], frame["class"], strict=True))

    def _label(self, frame: pd.DataFrame, root: Path) -> pd.Series:
        if self.labels == "binary":
            return frame["opacity"]
        unknown = frame.loc[~frame["class"].isin(CLASSES), "image_id"]
        if len(unknown):
            raise DataError(f"{root}: {len(unknown)} images have no detailed class, such as {unknown.iloc[0]}")
        return frame["class"].map(CLASSES.index).astype(int)

    def _patients(self, root: Path) -> dict[str, str]:
        candidates = [Path(self.patients).expanduser()] if self.patients else [root / name for name in MAPPINGS]
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            if self.patients:
                raise DataError(f"data.patients={self.patients}: no such file")
            return {}
        if path.suffix == ".json":
            try:
                entries = json.loads(path.read_text())
                return {entry["subset_img_id"]: entry["img_id"].split("_")[0] for entry in entries}
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path} is no mapping with subset_img_id and img_id ({error!r})") from error
        frame = one_row_each(
            read_list(path, ["patientId", "nih_patient"])[["patientId", "nih_patient"]], "patientId", path
        )
        return dict(zip(frame["patientId"], frame["nih_patient"], strict=True))


def _folder(root: Path, name: str) -> Path:
    return root / name if (root / name).is_dir() else root


def _distinct(rows: pd.DataFrame, source: Path) -> pd.DataFrame:
    """Without boxes that stand there twice; raises `DataError` for an image that both has opacity and has none."""
    distinct = rows.drop_duplicates()
    if len(distinct) < len(rows):
        log.warning("%s: %d rows stand there twice; each counts once", source.name, len(rows) - len(distinct))
    one_row_each(distinct[["patientId", "Target"]].drop_duplicates(), "patientId", source)
    return distinct


def _numbers(rows: pd.DataFrame, root: Path) -> pd.DataFrame:
    try:
        boxes = rows[NUMBERS[:4]].replace("", "nan")  # no box; but each row has its Target
        return boxes.assign(Target=rows["Target"]).astype(float)
    except ValueError as error:
        raise DataError(f"{root / 'stage_2_train_labels.csv'}: a box or Target is no number ({error})") from error


def _boxes(rows: pd.DataFrame) -> dict[str, list[list[float]]]:
    boxes: dict[str, list[list[float]]] = {}
    for image_id, x, y, width, height in rows.loc[rows["x"].notna(), ["patientId", *NUMBERS[:4]]].to_numpy():
        boxes.setdefault(image_id, []).append([x, y, x + width, y + height])
    return boxes
