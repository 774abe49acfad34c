from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from pulmo.phantom import write_padchest, write_padchest_simple

LIST_NAME = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "padchest"
    write_padchest(folder, images=120, seed=3, size=64, unreadable=1)
    return folder


@pytest.fixture(scope="module")
def table(root: Path) -> pd.DataFrame:
    return pd.read_csv(root / LIST_NAME, dtype=str, keep_default_na=False)


def test_write_padchest__the_header_is_the_real_one(table: pd.DataFrame) -> None:
    assert list(table.columns[:5]) == ["Unnamed: 0", "ImageID", "ImageDir", "StudyDate_DICOM", "StudyID"]
    assert len(table.columns) == 36
    assert {"PatientBirth", "PatientSex_DICOM", "ViewPosition_DICOM", "MethodProjection"} <= set(table.columns)
    assert list(table.columns[-6:]) == [
        "MethodLabel",
        "Labels",
        "Localizations",
        "LabelsLocalizationsBySentence",
        "labelCUIS",
        "LocalizationsCUIS",
    ]


def test_write_padchest__each_row_is_a_file_and_each_frontal_one_has_a_mask(root: Path, table: pd.DataFrame) -> None:
    assert {path.name for path in (root / "images").iterdir()} == set(table["ImageID"])
    frontal = table[table["Projection"] != "L"]
    assert {path.name for path in (root / "masks").iterdir()} == set(frontal["ImageID"])


def test_write_padchest__images_are_16_bit_of_full_range(root: Path, table: pd.DataFrame) -> None:
    path = root / "images" / table["ImageID"].iloc[-1]
    image = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    assert image.dtype == np.uint16
    assert image.max() > 60_000


def test_write_padchest__as_many_files_are_broken_as_asked_for(root: Path) -> None:
    read = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((root / "images").iterdir())]
    # OpenCV gives nothing, or black where the file ends.
    assert sum(image is None or not image[-8:].any() for image in read) == 1


def test_write_padchest__quirks_of_the_table(table: pd.DataFrame) -> None:
    assert {"PA", "L", "AP", "AP_horizontal"} <= set(table["Projection"])
    assert set(table["MethodLabel"]) == {"Physician", "RNN_model"}
    assert {"", "['']", "['exclude']", "['normal']"} <= set(table["Labels"])
    assert table["Labels"].str.contains("' pneumonia'").any()  # the stray blank of the real list
    assert table.groupby("PatientID")["StudyID"].nunique().max() >= 3
    assert (table["PatientID"].str.len() > 19).all()  # too long for 64 bits


def test_write_padchest__both_views_of_a_study_have_its_labels(table: pd.DataFrame) -> None:
    assert (table.groupby("StudyID")["Labels"].nunique() == 1).all()
    assert (table.groupby("StudyID")["PatientID"].nunique() == 1).all()
    assert (table.groupby("StudyID").size() == 2).any()


def test_write_padchest__same_seed_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_padchest(tmp_path / name, images=12, seed=5, size=64)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) > 20
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_write_padchest_simple__masks_mirror_the_images(tmp_path: Path) -> None:
    write_padchest_simple(tmp_path, images=20, seed=1, size=64)
    images = sorted(p.relative_to(tmp_path / "raw_images") for p in (tmp_path / "raw_images").rglob("*.png"))
    masks = sorted(p.relative_to(tmp_path / "lung_masks") for p in (tmp_path / "lung_masks").rglob("*.png"))
    assert images == masks
    assert len({path.stem for path in images}) == 20
    counts = pd.Series([path.parts[:2] for path in images]).value_counts().to_dict()
    assert counts == {
        ("train", "Normal"): 6,
        ("train", "Diseased"): 6,
        ("valid", "Normal"): 2,
        ("valid", "Diseased"): 2,
        ("test", "Normal"): 2,
        ("test", "Diseased"): 2,
    }
