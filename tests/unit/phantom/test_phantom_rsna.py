from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.pixels import apply_rescale, apply_windowing

from pulmo.errors import DataError
from pulmo.phantom import write_rsna


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "rsna"
    write_rsna(folder, images=40, seed=1, size=96, unlabelled=3, monochrome1=3, uncompressed=2)
    return folder


def exams(root: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted((root / "stage_2_train_images").glob("*.dcm"))]


def grey(exam: pydicom.Dataset) -> NDArray[np.float64]:
    """The picture in [0, 1], by pydicom's own functions."""
    pixels = exam.pixel_array
    low, high = 0.0, 255.0
    if exam.BitsStored == 12:
        pixels = apply_windowing(apply_rescale(pixels, exam), exam)
        low, high = (v * exam.RescaleSlope + exam.RescaleIntercept for v in (0, 4095))
    picture: NDArray[np.float64] = (pixels - low) / (high - low)
    return 1 - picture if exam.PhotometricInterpretation == "MONOCHROME1" else picture


def test_write_rsna__has_the_files_asked_for(root: Path) -> None:
    assert len(list((root / "stage_2_train_images").glob("*.dcm"))) == 40
    assert len(list((root / "stage_2_test_images").glob("*.dcm"))) == 3
    assert "phantoms, not patients" in (root / "PHANTOM.txt").read_text()


def test_write_rsna__one_row_a_box_in_both_tables(root: Path) -> None:
    labels = pd.read_csv(root / "stage_2_train_labels.csv")
    classes = pd.read_csv(root / "stage_2_detailed_class_info.csv")
    assert list(labels.columns) == ["patientId", "x", "y", "width", "height", "Target"]
    assert list(classes.columns) == ["patientId", "class"]
    assert labels["patientId"].nunique() == 40
    assert labels["patientId"].tolist() == classes["patientId"].tolist()
    boxless = labels[["x", "y", "width", "height"]].isna().all(axis=1)
    assert (boxless == (labels["Target"] == 0)).all()
    assert set(labels[labels["Target"] == 1].groupby("patientId").size()) == {1, 2, 3}
    assert ((classes["class"] == "Lung Opacity") == (labels["Target"] == 1)).all()
    assert set(classes["class"]) == {"Lung Opacity", "No Lung Opacity / Not Normal", "Normal"}
    sick = labels[labels["Target"] == 1]
    assert (sick["x"] + sick["width"] <= 96).all()
    assert (sick["y"] + sick["height"] <= 96).all()


def test_write_rsna__some_patients_have_several_images(root: Path) -> None:
    source = pd.read_csv(root / "nih_source.csv", dtype=str)
    assert list(source.columns) == ["patientId", "nih_image", "nih_patient"]
    assert source["patientId"].is_unique
    assert source.groupby("nih_patient").size().max() == 3
    assert (source["nih_image"].str[:8] == source["nih_patient"]).all()


def test_write_rsna__dicom_has_the_challenges_quirks(root: Path) -> None:
    for exam in exams(root):
        assert exam.PatientID == Path(str(exam.filename)).stem
        assert exam.Modality == "CR"
        assert exam.PatientSex in ("M", "F")
        assert exam.ViewPosition in ("PA", "AP")
        assert str(exam.PatientAge).isdigit()  # '48', not '048Y'
        assert (exam.Rows, exam.Columns) == (96, 96)


def test_write_rsna__three_ways_of_storing_pixels(root: Path) -> None:
    kinds = pd.Series(
        [(exam.PhotometricInterpretation, exam.BitsStored, exam.file_meta.TransferSyntaxUID) for exam in exams(root)]
    ).value_counts()
    assert kinds.to_dict() == {
        ("MONOCHROME2", 8, "1.2.840.10008.1.2.4.50"): 35,
        ("MONOCHROME1", 8, "1.2.840.10008.1.2.4.50"): 3,
        ("MONOCHROME2", 12, "1.2.840.10008.1.2.1"): 2,
    }


def test_write_rsna__storage_does_not_change_the_picture(root: Path, tmp_path: Path) -> None:
    write_rsna(tmp_path / "plain", images=40, seed=1, size=96, unlabelled=0, monochrome1=0, uncompressed=0)
    plain = {exam.PatientID: grey(exam) for exam in exams(tmp_path / "plain")}
    for exam in exams(root):
        # Not the first and last row: the 12-bit files hold stray values there.
        assert np.abs(grey(exam) - plain[exam.PatientID])[1:-1].mean() < 0.02


def test_write_rsna__same_seed_same_bytes(root: Path, tmp_path: Path) -> None:
    write_rsna(tmp_path / "again", images=40, seed=1, size=96, unlabelled=3, monochrome1=3, uncompressed=2)
    files = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*.*"))
    for file in files:
        assert (root / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_write_rsna__refuses_a_folder_in_use(tmp_path: Path) -> None:
    (tmp_path / "mine.dcm").touch()
    with pytest.raises(DataError, match="not empty"):
        write_rsna(tmp_path, images=2, size=64)
