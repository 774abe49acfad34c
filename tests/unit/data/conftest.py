"""Small files with known content, written where each test asks for them."""

import csv
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from pulmo.data import preparing
from pulmo.data.folder import Folder
from pulmo.data.grey import Reading
from pulmo.data.preparing import Recipe
from pulmo.data.reading import read_grey
from pulmo.data.rsna import RSNA
from pulmo.transforms.preprocess import Preprocess

Write = Callable[[Path, Any], Path]


@pytest.fixture
def write_dicom(tmp_path: Path) -> Callable[..., Path]:
    """Write pixels as DICOM; `frame` are their bytes where they are compressed, `elements` whatever else it says."""

    def write(
        pixels: NDArray[Any],
        path: str | Path = "image.dcm",
        *,
        syntax: UID = ExplicitVRLittleEndian,
        frame: bytes | None = None,
        compress: UID | None = None,
        **elements: Any,
    ) -> Path:
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = syntax
        meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
        path = tmp_path / path
        exam = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        exam.SOPClassUID, exam.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        bits = pixels.dtype.itemsize * 8
        described: dict[str, Any] = {
            "Rows": pixels.shape[0],
            "Columns": pixels.shape[1],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": bits,
            "BitsStored": bits,
            "HighBit": bits - 1,
            "PixelRepresentation": int(pixels.dtype.kind == "i"),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an age such as "48" is what some tests are about
            for name, value in (described | elements).items():
                setattr(exam, name, value)
            exam.PixelData = pixels.tobytes() if frame is None else encapsulate([frame])
            exam["PixelData"].VR = "OB" if bits == 8 or frame is not None else "OW"
            if compress is not None:
                exam.compress(compress)
            pydicom.dcmwrite(path, exam, enforce_file_format=True)
        return path

    return write


@pytest.fixture
def write_image() -> Write:
    """Write pixels, or one grey value for 24 × 20 of them, by the path's suffix; folders are made."""

    def write(path: Path, pixels: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = np.full((20, 24), pixels, np.uint8) if np.isscalar(pixels) else pixels
        data = cv2.imencode(path.suffix, picture)[1]
        path.write_bytes(data.tobytes())
        return path

    return write


@pytest.fixture
def write_csv() -> Callable[..., Path]:
    """Write rows, the header first, as csv."""

    def write(path: Path, rows: Iterable[Iterable[object]], separator: str = ",", encoding: str = "utf-8") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding=encoding) as stream:
            csv.writer(stream, delimiter=separator).writerows(rows)
        return path

    return write


@pytest.fixture
def class_folders(tmp_path: Path, write_image: Write) -> Callable[..., Path]:
    """`images/[SPLIT/]{normal,pneumonia}/NN.png`; image number NN has the grey value NN + 1 all over."""

    def write(*, splits: dict[str, int]) -> Path:
        number = 0
        for split, count in splits.items():
            for _ in range(count):
                name = ("normal", "pneumonia")[number % 2]
                write_image(tmp_path / "images" / split / name / f"{number:02d}.png", number + 1)
                number += 1
        return tmp_path / "images"

    return write


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[str]]:
    """Record the file names that preprocessing reads, in this process and in those it starts."""
    record = tmp_path / "reads.txt"
    record.touch()

    def recording(path: str | Path, side: int | None) -> Reading:
        with record.open("a") as stream:
            stream.write(Path(path).name + "\n")
        return read_grey(path, side)

    monkeypatch.setattr(preparing, "read_grey", recording)
    return lambda: record.read_text().split()


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    """Smooth, so that a lossy codec stays near it; 0 and 255 occur."""
    y, x = np.mgrid[0:40, 0:48]
    return np.rint(127.5 + 127.5 * np.sin(x / 47 * np.pi) * np.cos(y / 39 * np.pi)).astype(np.uint8)


@pytest.fixture
def ramp() -> NDArray[np.uint16]:
    """Every value of twelve bits once."""
    return np.arange(4096, dtype=np.uint16).reshape(64, 64)


@pytest.fixture
def recipe(tmp_path: Path, write_image: Write) -> Recipe:
    """Nine images 0.png … 8.png of noise with a mask each: the left half, from half-way down in odd ones."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(9):
        mask = np.zeros((20, 24), np.uint8)
        mask[10 * (number % 2) :, :12] = 255
        path = write_image(tmp_path / f"images/{number}.png", rng.integers(0, 256, (20, 24), np.uint8))
        drawn = write_image(tmp_path / f"masks/{number}.png", mask)
        rows.append({"image_id": f"{number}", "path": str(path), "mask": str(drawn)})
    return Recipe(pd.DataFrame(rows), Preprocess(size=16), with_masks=True)


@pytest.fixture
def folder(tmp_path: Path, class_folders: Callable[..., Path]) -> Callable[..., Folder]:
    """A data module of 9 + 4 + 5 images, the official split, one image a patient."""
    root = class_folders(splits={"train": 9, "val": 4, "test": 5})

    def make(**arguments: Any) -> Folder:
        settings = {"preprocess": Preprocess(size=16), "split": "official", "num_workers": 0, "batch_size": 4}
        settings |= {"patient": "(.+)", "cache_dir": str(tmp_path / "cache")}
        return Folder(root=str(root), **(settings | arguments))

    return make


@pytest.fixture
def rsna(tmp_path: Path, write_dicom: Callable[..., Path], write_csv: Callable[..., Path]) -> Callable[..., RSNA]:
    """Twelve labelled and two unlabelled radiographs, whose headers know sex and age."""
    rows: list[tuple[object, ...]] = [("patientId", "x", "y", "width", "height", "Target")]
    for index in range(12):
        rows.append((f"r{index:02d}", 8, 8, 16, 8, 1) if index % 2 else (f"r{index:02d}", "", "", "", "", 0))
    write_csv(tmp_path / "rsna" / "stage_2_train_labels.csv", rows)
    for folder, count in (("train", 12), ("test", 2)):
        (tmp_path / f"rsna/stage_2_{folder}_images").mkdir()
        for index in range(count):
            name = f"rsna/stage_2_{folder}_images/{'r' if folder == 'train' else 'u'}{index:02d}.dcm"
            write_dicom(
                np.full((32, 32), index, np.uint8), name, PatientSex="MF"[index % 2], PatientAge=str(40 + index)
            )

    def make(**arguments: Any) -> RSNA:
        settings = {"preprocess": Preprocess(size=16), "cache_dir": str(tmp_path / "cache"), "num_workers": 0}
        settings |= {"val_fraction": 0.2, "test_fraction": 0.2}
        return RSNA(root=str(tmp_path / "rsna"), **(settings | arguments))

    return make
