"""Paediatric chest radiographs of Guangzhou (Kermany et al. 2018, 10.17632/rscbjbr9sj, CC BY 4.0)."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd

from pulmo.data.datamodule import ChestDataModule
from pulmo.data.lists import images_below, masks_for
from pulmo.errors import DataError
from pulmo.types import Target

log = logging.getLogger(__name__)

# The number starts afresh in each series and for each pathogen: person12_bacteria and person12_virus are two.
_SICK = re.compile(r"person(\d+)_(bacteria|virus)_", re.IGNORECASE)
# The later release on Mendeley names its files BACTERIA-1008087-0001.jpeg.
_LATER = re.compile(r"(BACTERIA|VIRUS|NORMAL)-(\d+)-", re.IGNORECASE)
_NORMAL = re.compile(r"(?:(NORMAL\d*)-)?IM-(\d+)", re.IGNORECASE)


@dataclass(kw_only=True, eq=False)
class Kermany(ChestDataModule):
    """The folder `chest_xray` with `{train,val,test}/{NORMAL,PNEUMONIA}`.

    labels  "binary", or "three_class": normal, bacteria, virus, from the file name
    masks   folder of lung masks with the images' stems
    split   "auto" gives the 16 official validation images to training and cuts validation by patient;
            "official" keeps them
    """

    labels: Literal["binary", "three_class"] = "binary"

    gives: ClassVar[frozenset[Target]] = frozenset({"label", "lung_mask"})

    @property
    def class_names(self) -> tuple[str, ...]:
        """Normal and pneumonia, or the pathogens."""
        return ("NORMAL", "BACTERIA", "VIRUS") if self.labels == "three_class" else ("NORMAL", "PNEUMONIA")

    def index(self) -> pd.DataFrame:
        """One row an image of the class folders."""
        root = Path(self.root).expanduser()
        if not (root / "train").is_dir() and (root / "chest_xray" / "train").is_dir():
            root = root / "chest_xray"  # Kaggle's archive nests it
        rows = list(self._rows(root))
        if not rows:
            raise DataError(f"{root} has no images in train, val, test / NORMAL, PNEUMONIA")
        nameless = sum(row["patient_id"] == Path(row["path"]).stem for row in rows)
        if nameless:
            log.warning(
                "Kermany: %d of %d file names tell no patient (person7_virus_…, IM-0115-…): each counts as one, "
                "so two images of one patient may cross splits",
                *(nameless, len(rows)),
            )
        self.tally["images found"] = len(rows)
        table = pd.DataFrame(rows)
        return table.assign(mask=masks_for(table["path"].tolist(), root, self.masks))

    def _rows(self, root: Path) -> Iterator[dict[str, Any]]:
        for split in ("train", "val", "test"):
            for folder in ("NORMAL", "PNEUMONIA"):
                for path in images_below(root / split / folder) if (root / split / folder).is_dir() else []:
                    patient, pathogen = patient_of(path)
                    binary = ("NORMAL", "PNEUMONIA").index(folder)
                    yield {
                        "image_id": f"{split}/{folder}/{path.stem}",
                        "patient_id": patient,
                        "path": str(path),
                        "split": "train" if split == "val" and self.split == "auto" else split,
                        "label": self._three(path, folder, pathogen) if self.labels == "three_class" else binary,
                        "boxes": [],
                        "mask": "",
                        "view": "AP",  # small children, all from anterior (Kermany et al., methods)
                        "pathogen": pathogen,
                    }

    def _three(self, path: Path, folder: str, pathogen: str) -> int:
        if folder == "NORMAL":
            return 0
        if not pathogen:
            raise DataError(f"{path}: no pathogen in the file name; data.labels=three_class needs personN_virus_M")
        return 1 if pathogen == "bacteria" else 2


def patient_of(path: Path) -> tuple[str, str]:
    """Give the patient's key, (series or pathogen, number) as text, and the pathogen or ""."""
    if sick := _SICK.match(path.stem):
        pathogen = sick[2].lower()
        return f"{pathogen}-{int(sick[1])}", pathogen
    if normal := _NORMAL.match(path.stem):
        return f"{(normal[1] or 'IM').upper()}-{int(normal[2])}", ""
    if later := _LATER.match(path.stem):
        pathogen = later[1].lower()
        return f"{pathogen}-{int(later[2])}", "" if pathogen == "normal" else pathogen
    return path.stem, ""
