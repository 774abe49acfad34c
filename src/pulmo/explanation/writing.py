"""What `pulmo explain` leaves in its folder: pictures, tables, figures and a page."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from pulmo.data.reading import read_grey
from pulmo.errors import DataError
from pulmo.explanation.images import Images
from pulmo.explanation.looking import Look
from pulmo.report.figures import save
from pulmo.report.files import put
from pulmo.report.heat import overlay
from pulmo.report.html import Block, Section, Text, page
from pulmo.report.screen import screen
from pulmo.transforms.preprocess import to_uint8

LARGEST = 2048  # pixels, the longer side of an overlay: a detector's own 3,000 add nothing to a 7 × 7 map

NUMBER = "[0-9][0-9][0-9]"
DRAWN = (
    f"images/{NUMBER}*_overlay.png",
    f"images/{NUMBER}*_heat.png",
    f"features/{NUMBER}*.png",
    "figures/sheet_[0-9][0-9]*.png",
    "figures/localisation.png",
    "localisation.csv",
)


class Folder:
    """A folder that is made when something is written into it; raises `DataError` where that cannot be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot write to {path}: {error.strerror}; give another --out") from error

    def begin(self) -> None:
        """Take away what an earlier call drew here, which would stand among the new; a user's own files stay."""
        try:
            for pattern in DRAWN:
                for path in self.path.glob(pattern):
                    path.unlink()
        except OSError as error:
            raise DataError(f"cannot write to {self.path}: {error.strerror}; give another --out") from error

    def write(self, name: str, data: bytes | str) -> None:
        """Write a file as a whole."""
        path = self.path / name
        try:
            put(path, data)
        except OSError as error:
            raise DataError(f"cannot write {path}: {error.strerror}; give another --out") from error

    def json(self, name: str, content: Any) -> None:
        """Write plain values."""
        self.write(name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def csv(self, name: str, table: pd.DataFrame) -> None:
        """Write a table."""
        self.write(name, table.to_csv(index=False))

    def figure(self, name: str, figure: Figure) -> Figure:
        """Write a figure; gives it back."""
        try:
            save(figure, self.path / "figures" / f"{name}.png")
        except OSError as error:
            raise DataError(f"cannot write to {self.path}: {error.strerror}; give another --out") from error
        return figure

    def page(self, title: str, subtitle: str, sections: Sequence[Section]) -> Path:
        """Write explain.html."""
        self.write("explain.html", page(title, subtitle, sections))
        return self.path / "explain.html"


def write_pictures(folder: Folder, look: Look, path: str, name: str) -> None:
    """Write `NAME_overlay.png` and `NAME_heat.png`, the heat alone, 255 where it is 1, in the file's own geometry."""
    if look.heat is None:
        return
    grey = to_uint8(read_grey(path).image)
    heat = look.prepared.geometry.unmask(look.heat, (grey.shape[0], grey.shape[1]))
    longest = max(grey.shape)
    if longest > LARGEST:
        size = tuple(max(1, round(side * LARGEST / longest)) for side in grey.shape[::-1])
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
        heat = np.asarray(cv2.resize(heat, size, interpolation=cv2.INTER_AREA), np.float32)
    folder.write(f"images/{name}_overlay.png", png(overlay(grey, heat)[..., ::-1]))
    folder.write(f"images/{name}_heat.png", png(np.rint(heat * 255).astype(np.uint8)))


def png(picture: npt.NDArray[np.uint8]) -> bytes:
    """(H, W) grey or (H, W, 3) BGR as a PNG."""
    _, encoded = cv2.imencode(".png", picture)
    return bytes(encoded.tobytes())


def file_names(image_ids: Iterable[str]) -> list[str]:
    """Names for files, in order, of ids that may be paths: each is used once."""
    plain = [re.sub(r"[^\w.-]+", "_", name)[-80:] for name in image_ids]
    return [f"{place:03d}_{name}" for place, name in enumerate(plain, 1)]


def localisation_text(summarised: pd.DataFrame) -> pd.DataFrame:
    """The table of `localisation.summary` as text, with names that a reader understands."""
    shown = pd.DataFrame({"inside": summarised["region"], "of": summarised["group"]})
    shown["images"] = summarised["images"].map(str)
    shown["heat"] = summarised["heat"].map(str)
    shown["area"] = [f"{area.value:.3f}" for area in summarised["area"]]
    shown["heat / area"] = summarised["times_area"].map(str)
    shown["maximum"] = summarised["points"].map(str)
    shown["by chance"] = [f"{chance.value:.3f}" for chance in summarised["chance"]]
    return shown


def told(images: Images) -> list[Block]:
    """What must be known of the images, on the screen too."""
    for note in images.notes:
        screen().print(f"! {note}", markup=False, soft_wrap=True)
    return [Text(note, "warning") for note in images.notes]
