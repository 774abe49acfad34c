"""PadChest (Bustos et al. 2020, 10.1016/j.media.2020.101797): 160,861 radiographs of 67,625 patients of Alicante."""

import ast
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd
from typing_extensions import TypedDict  # pydantic checks configs by it, and wants this one below 3.12

from pulmo.data.datamodule import ChestDataModule
from pulmo.data.folder import SPLIT_NAMES
from pulmo.data.lists import by_stem, images_below, masks_for, no_boxes, one_row_each, read_list, with_files
from pulmo.errors import ConfigError, DataError
from pulmo.types import Target

log = logging.getLogger(__name__)

COLUMNS = ("ImageID", "PatientID", "Projection", "MethodLabel", "Labels")
MORE = ("PatientSex_DICOM", "PatientBirth", "StudyDate_DICOM")  # where the list has them
# Of such an image the report says nothing about health: not fit for reading, or "as before".
UNINFORMATIVE = frozenset({"exclude", "suboptimal study", "unchanged"})


class LabelSet(TypedDict):
    """A class and the findings that put an image there."""

    name: str
    findings: Sequence[str]


@dataclass(kw_only=True, eq=False)
class PadChest(ChestDataModule):
    """16-bit PNGs with the PADCHEST csv; or the simpler layout `raw_images/{train,valid,test}` + `lung_masks`.

    labels     classes, the normal one first: name, and PadChest's findings of which any puts an image
               there, "*" for any not listed elsewhere. Of two classes that fit, the later holds; images
               that fit none are left out
    labels_by  "physician": the 27 % that physicians labelled; "all": those of the network as well
    views      projections taken: frontal ones
    csv        name of the list in `root`; found by itself where there is one PADCHEST*.csv
    """

    labels: list[LabelSet] = field(
        default_factory=lambda: [
            LabelSet(name="Normal", findings=["normal"]),
            LabelSet(name="Diseased", findings=["*"]),
        ]
    )
    labels_by: Literal["physician", "all"] = "all"
    views: list[str] = field(default_factory=lambda: ["PA", "AP"])
    csv: str | None = None

    gives: ClassVar[frozenset[Target]] = frozenset({"label", "lung_mask"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.labels) < 2:
            raise ConfigError(f"data.labels={self.labels}: at least two classes, the normal one first")
        # Plain lists rather than Hydra's, which take seconds where each of 160,861 rows looks into them.
        self.labels = [LabelSet(name=label["name"], findings=[*label["findings"]]) for label in self.labels]

    @property
    def class_names(self) -> tuple[str, ...]:
        """As configured."""
        return tuple(label["name"] for label in self.labels)

    def index(self) -> pd.DataFrame:
        """One row a frontal image of the csv whose file is there, or of the simpler layout."""
        root = Path(self.root).expanduser()
        path = self._csv(root)
        if path is None:
            return self._simple(root)
        frame = read_list(path, COLUMNS)
        self.tally[f"rows of {path.name}"] = len(frame)
        frame = one_row_each(frame[[name for name in (*COLUMNS, *MORE) if name in frame]], "ImageID", path)
        self.tally["images listed"] = len(frame)
        frame = frame[frame["Projection"].isin(self.views)]
        self.tally[f"of these {', '.join(self.views)}"] = len(frame)
        if self.labels_by == "physician":
            frame = frame[frame["MethodLabel"] == "Physician"]
            self.tally["of these labelled by physicians"] = len(frame)
        files = by_stem(images_below(root, without=self.masks))
        stems = frame["ImageID"].map(lambda name: os.path.splitext(name)[0])
        label_by_text = {text: label_of(findings(text), self.labels) for text in frame["Labels"].unique()}
        table = pd.DataFrame(
            {
                "image_id": stems,
                "patient_id": frame["PatientID"],
                "path": stems.map(files),
                "split": "",
                "label": frame["Labels"].map(label_by_text),
                "boxes": no_boxes(len(frame)),
                "mask": "",
                "view": frame["Projection"],
                "sex": frame.get("PatientSex_DICOM", ""),
                "age": _age(frame),
                "labelled_by": frame["MethodLabel"],
                "findings": frame["Labels"],
            }
        )
        nameless = table["patient_id"] == ""
        if nameless.any():
            log.warning("PadChest: %d images have no PatientID: each counts as a patient", int(nameless.sum()))
            table["patient_id"] = table["patient_id"].where(~nameless, table["image_id"])
        table = with_files(table, path, root, keep=self.keep_absent)
        return table.assign(mask=masks_for(table["path"].tolist(), root, self.masks))

    def _csv(self, root: Path) -> Path | None:
        if self.csv:
            return root / Path(self.csv).expanduser()
        found = sorted(path for path in root.glob("PADCHEST*.csv*"))
        if len(found) > 1:
            raise DataError(f"{root} has {len(found)} lists: choose one by data.csv={found[0].name}")
        return found[0] if found else None

    def _simple(self, root: Path) -> pd.DataFrame:
        """`raw_images/{train,valid,test}/[CLASS/]…`; images outside of class folders have no label."""
        raw = root / "raw_images"
        if not raw.is_dir():
            raise DataError(f"{root} has neither a PADCHEST*.csv nor a folder raw_images")
        masks = self.masks or (str(root / "lung_masks") if (root / "lung_masks").is_dir() else None)
        known = {name.lower(): label for label, name in enumerate(self.class_names)}
        log.warning("PadChest: raw_images names no patients: each image counts as one")
        rows: list[dict[str, Any]] = []
        for path in images_below(raw):
            parts = [part.lower() for part in path.relative_to(raw).parts[:-1]]
            rows.append(
                {
                    "image_id": path.relative_to(raw).with_suffix("").as_posix(),
                    "patient_id": path.stem,
                    "path": str(path),
                    "split": next((SPLIT_NAMES[part] for part in parts if part in SPLIT_NAMES), ""),
                    "label": next((known[part] for part in parts if part in known), -1),
                    "boxes": [],
                    "mask": "",
                    "view": "",
                }
            )
        if not rows:
            raise DataError(f"{raw} has no images in train, valid, test / {', '.join(self.class_names)}")
        self.tally["images found"] = len(rows)
        table = pd.DataFrame(rows)
        return table.assign(mask=masks_for(table["path"].tolist(), raw, masks))


def findings(text: str) -> frozenset[str]:
    """Parse a cell such as "['pneumonia', 'infiltrates']"; empty for "", "['']", "nan" and what is no list."""
    try:
        parsed = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return frozenset()
    if not isinstance(parsed, list):
        return frozenset()
    return frozenset(name.strip().lower() for name in parsed if isinstance(name, str) and name.strip())


def label_of(found: frozenset[str], labels: Sequence[LabelSet]) -> int:
    """Index of the last class that one of the findings belongs to; -1 where none does.

    No findings is no label: a report without any is not a normal one.
    """
    if not found or "exclude" in found:
        return -1
    informative = found - UNINFORMATIVE
    listed = {name.lower() for label in labels for name in label["findings"]}
    fitting = -1
    for number, label in enumerate(labels):
        wanted = {name.lower() for name in label["findings"]}
        if informative & wanted or ("*" in wanted and informative - listed):
            fitting = number
    return fitting


def _age(frame: pd.DataFrame) -> pd.Series | str:
    """Years at the study, from the columns PatientBirth (a year) and StudyDate_DICOM (yyyymmdd)."""
    if not {"PatientBirth", "StudyDate_DICOM"} <= set(frame.columns):
        return ""
    born = pd.to_numeric(frame["PatientBirth"], errors="coerce")
    studied = pd.to_numeric(frame["StudyDate_DICOM"].str[:4], errors="coerce")
    return (studied - born).map(lambda years: "" if pd.isna(years) else str(int(years)))
