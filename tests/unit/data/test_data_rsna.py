"""The RSNA challenge's lists: rows are boxes, ids are images, patients come from elsewhere."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pulmo.data.rsna import CLASSES, RSNA
from pulmo.errors import DataError
from pulmo.transforms.preprocess import Preprocess

NONE = ("", "", "", "")
ROWS = [
    ("a", *NONE, 0),
    ("b", 10, 20, 30, 40, 1),
    ("c", *NONE, 0),
    ("b", 50.5, 0, 9.5, 8, 1),
    ("d", 1, 2, 3, 4, 1),
    ("b", 100, 200, 1, 1, 1),
]
DETAILED = {"a": CLASSES[0], "b": CLASSES[2], "c": CLASSES[1], "d": CLASSES[2]}

Make = Callable[..., RSNA]


@pytest.fixture
def root(tmp_path: Path, write_csv: Callable[..., Path]) -> Path:
    """Images a to d, of which b has three boxes, d one; a is normal, c not, but without opacity."""
    root = tmp_path / "rsna"
    write_csv(root / "stage_2_train_labels.csv", [("patientId", "x", "y", "width", "height", "Target"), *ROWS])
    detailed = [(row[0], DETAILED[str(row[0])]) for row in ROWS]
    write_csv(root / "stage_2_detailed_class_info.csv", [("patientId", "class"), *detailed])
    write_csv(root / "nih_source.csv", [("patientId", "nih_patient"), *zip("abcd", (1, 1, 2, 3), strict=True)])
    touch(root, *(f"stage_2_train_images/{name}.dcm" for name in "abcd"))
    return root


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture
def make(root: Path) -> Make:
    def make(**arguments: Any) -> RSNA:
        return RSNA(root=str(root), preprocess=Preprocess(size=16), **arguments)

    return make


def test_index__rows_are_boxes_and_become_images(make: Make) -> None:
    table = make().index()
    assert table["image_id"].tolist() == ["a", "b", "c", "d"]
    assert table["label"].tolist() == [0, 1, 0, 1]
    assert table["class"].tolist() == [DETAILED[name] for name in "abcd"]
    assert set(table["split"]) == set(table["view"]) == {""}


def test_index__boxes_are_corners(make: Make) -> None:
    boxes = make().index()["boxes"].tolist()
    assert boxes == [[], [[10, 20, 40, 60], [50.5, 0, 60, 8], [100, 200, 101, 201]], [], [[1, 2, 4, 6]]]


def test_index__labels_rewritten_as_numbers_with_a_point_count_alike(root: Path, make: Make) -> None:
    path = root / "stage_2_train_labels.csv"
    path.write_text(
        path.read_text().replace(",1\n", ",1.0\n").replace(",0\n", ",0.0\n").replace(",,,,,", ",nan,NaN,,,")
    )
    assert make().index()["label"].tolist() == [0, 1, 0, 1]
    assert [len(boxes) for boxes in make().index()["boxes"]] == [0, 3, 0, 1]


@pytest.mark.parametrize(("old", "new"), [("10,20", "ten,20"), (",,,,0", ",,,,"), (",,,,0", ",,,,no")])
def test_index__what_is_no_number_is_told(root: Path, make: Make, old: str, new: str) -> None:
    path = root / "stage_2_train_labels.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=r"stage_2_train_labels\.csv: a box or Target is no number"):
        make().index()


def test_three_class__labels_are_the_detailed_classes(make: Make) -> None:
    module = make(labels="three_class")
    assert [module.class_names[label] for label in module.index()["label"]] == [DETAILED[name] for name in "abcd"]
    assert module.class_names[0] == "Normal"


@pytest.mark.parametrize(("negatives", "kept"), [("all", "abcd"), ("normal", "abd"), ("not_normal", "bcd")])
def test_negatives__all_positives_stay(make: Make, negatives: str, kept: str) -> None:
    module = make(negatives=negatives)
    table = module.select(module.index())
    assert "".join(table["image_id"]) == kept
    assert table.index.tolist() == list(range(len(kept)))


@pytest.mark.parametrize("arguments", [{"labels": "three_class"}, {"negatives": "normal"}])
def test_detailed_classes__are_asked_for_only_where_needed(root: Path, make: Make, arguments: dict[str, str]) -> None:
    (root / "stage_2_detailed_class_info.csv").unlink()
    assert make().index()["label"].tolist() == [0, 1, 0, 1]
    with pytest.raises(DataError, match=r"stage_2_detailed_class_info\.csv.*need it"):
        make(**arguments).index()


def test_three_class__an_image_without_class_is_named(root: Path, make: Make, write_csv: Callable[..., Path]) -> None:
    write_csv(root / "stage_2_detailed_class_info.csv", [("patientId", "class"), ("a", CLASSES[0]), ("b", "Other")])
    with pytest.raises(DataError, match="3 images have no detailed class, such as b"):
        make(labels="three_class").index()


def test_patients__come_from_the_list_in_the_folder(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    assert make().index()["patient_id"].tolist() == ["1", "1", "2", "3"]
    assert not caplog.records


def test_patients__come_from_the_json_of_the_challenge(root: Path, make: Make) -> None:
    (root / "nih_source.csv").unlink()
    entries = [
        {"subset_img_id": name, "img_id": f"0000{patient}_00{name}.png", "orig_labels": ["x"]}
        for name, patient in zip("abcd", (7, 8, 8, 9), strict=True)
    ]
    (root / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(entries))
    assert make().index()["patient_id"].tolist() == ["00007", "00008", "00008", "00009"]


def test_patients__may_be_given(tmp_path: Path, make: Make, write_csv: Callable[..., Path]) -> None:
    path = write_csv(tmp_path / "mine.csv", [("nih_patient", "patientId"), *zip("wxyz", "abcd", strict=True)])
    assert make(patients=str(path)).index()["patient_id"].tolist() == ["w", "x", "y", "z"]
    with pytest.raises(DataError, match=r"data\.patients=/no/such\.csv: no such file"):
        make(patients="/no/such.csv").index()


@pytest.mark.parametrize("content", ["[", "{}x", '{"a": "00001"}', '[{"img_id": "00001_000.png"}]', "[1]"])
def test_patients__a_json_of_another_kind_is_told(tmp_path: Path, make: Make, content: str) -> None:
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(DataError, match=r"other\.json is no mapping with subset_img_id and img_id"):
        make(patients=str(tmp_path / "other.json")).index()


def test_patients__without_mapping_each_image_is_one_and_a_warning_tells(
    root: Path, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "nih_source.csv").unlink()
    assert make().index()["patient_id"].tolist() == ["a", "b", "c", "d"]
    assert "4 of 4 images have no patient mapping (data.patients=FILE)" in caplog.text


def test_patients__a_mapping_with_gaps_is_told(
    root: Path, make: Make, write_csv: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    write_csv(root / "nih_source.csv", [("patientId", "nih_patient"), ("a", 1), ("b", 1), ("other", 2)])
    assert make().index()["patient_id"].tolist() == ["1", "1", "c", "d"]
    assert "2 of 4 images have no patient mapping" in caplog.text


def test_images__of_one_name_the_dicom_holds(root: Path, make: Make) -> None:
    touch(root, "stage_2_train_images/a.png", "stage_2_train_images/a.jpg")
    (root / "stage_2_train_images/b.dcm").rename(root / "stage_2_train_images/b.png")
    assert [Path(path).name for path in make().index()["path"]] == ["a.dcm", "b.png", "c.dcm", "d.dcm"]


def test_images__absent_ones_are_counted(root: Path, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    (root / "stage_2_train_images/b.dcm").unlink()
    table = make().index()
    assert table["image_id"].tolist() == ["a", "c", "d"]
    assert table["boxes"].tolist() == [[], [], [[1, 2, 4, 6]]]
    assert f"1 of 4 listed images are not in {root}" in caplog.text


def test_images__none_there_is_an_error(root: Path, make: Make) -> None:
    for path in (root / "stage_2_train_images").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"none of the 4 images of stage_2_train_labels\.csv is in"):
        make().index()


def test_images__may_lie_in_the_root_beside_masks(root: Path, make: Make) -> None:
    for path in (root / "stage_2_train_images").iterdir():
        path.rename(root / path.name)
    (root / "stage_2_train_images").rmdir()
    touch(root, "A_masks/a.png", "A_masks/c.png")  # sorted before the images
    table = make(masks=str(root / "A_masks")).index()
    assert [Path(path).name for path in table["path"]] == ["a.dcm", "b.dcm", "c.dcm", "d.dcm"]
    assert [Path(mask).parent.name for mask in table["mask"]] == ["A_masks", "", "A_masks", ""]


def test_unlabelled__are_the_test_images(root: Path, make: Make) -> None:
    assert make().unlabelled() == []
    touch(root, "stage_2_test_images/z.dcm", "stage_2_test_images/y.dcm", "stage_2_test_images/readme.txt")
    assert [path.name for path in make().unlabelled()] == ["y.dcm", "z.dcm"]


def test_index__a_missing_list_is_named(root: Path, make: Make) -> None:
    (root / "stage_2_train_labels.csv").unlink()
    with pytest.raises(DataError, match=r"no file .*stage_2_train_labels\.csv"):
        make().index()
