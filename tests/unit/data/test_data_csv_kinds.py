"""The csv of every data module as spreadsheets and hands write it: it works, or one line says what is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pulmo.data.datamodule import ChestDataModule
from pulmo.data.folder import Folder
from pulmo.data.kermany import Kermany
from pulmo.data.padchest import PadChest
from pulmo.data.rsna import RSNA
from pulmo.errors import DataError
from pulmo.transforms.preprocess import Preprocess

NAMES = [f"Ünï {number}" for number in range(8)]  # a space and two letters of Latin-1
Rows = list[tuple[str, ...]]

RSNA_ROWS: Rows = [("patientId", "x", "y", "width", "height", "Target")]
RSNA_ROWS += [(name, *(("1", "2", "3", "4", "1") if i % 2 else ("", "", "", "", "0"))) for i, name in enumerate(NAMES)]
PADCHEST_ROWS: Rows = [("ImageID", "PatientID", "Projection", "MethodLabel", "Labels")]
PADCHEST_ROWS += [
    (f"{name}.png", f"p{i}", "PA", "Physician", "['pneumonia']" if i % 2 else "['normal']")
    for i, name in enumerate(NAMES)
]
FOLDER_ROWS: Rows = [("path", "label", "patient")]
FOLDER_ROWS += [(f"a b/{name}.png", ("normal", "pneumonia")[i % 2], f"p{i}") for i, name in enumerate(NAMES)]
SPLIT_ROWS: Rows = [("image_id", "split")]
SPLIT_ROWS += [(f"train/NORMAL/{name}", ("train", "train", "val", "test")[i % 4]) for i, name in enumerate(NAMES)]

KINDS: dict[str, tuple[Rows, type[ChestDataModule], str, dict[str, Any]]] = {
    "rsna": (RSNA_ROWS, RSNA, "stage_2_train_labels.csv", {}),
    "padchest": (PADCHEST_ROWS, PadChest, "PADCHEST.csv", {}),
    "folder": (FOLDER_ROWS, Folder, "list.csv", {"csv": "list.csv"}),
    "kermany": (SPLIT_ROWS, Kermany, "split.csv", {}),  # its only csv is that of data.split
}


@pytest.fixture
def listed(tmp_path: Path) -> Callable[..., ChestDataModule]:
    """A data module of eight images in a folder with a space and an accent, whose csv has the given rows."""

    def make(kind: str, rows: Rows, separator: str = ",", encoding: str = "utf-8") -> ChestDataModule:
        _, data, name, arguments = KINDS[kind]
        root = tmp_path / "mes données"
        folder = {"rsna": ".", "padchest": ".", "folder": "a b", "kermany": "train/NORMAL"}[kind]
        (root / folder).mkdir(parents=True)
        for image in NAMES:
            (root / folder / f"{image}.png").write_bytes(cv2.imencode(".png", np.zeros((20, 20), np.uint8))[1])
        text = "\n".join(separator.join(row) for row in rows) + "\n"
        (root / name).write_bytes(text.encode(encoding))
        if kind == "kermany":
            arguments = {"split": str(root / name)}
        return data(root=str(root), preprocess=Preprocess(size=16), val_fraction=0.25, test_fraction=0.25, **arguments)

    return make


@pytest.mark.parametrize(
    ("separator", "encoding"),
    [(",", "utf-8"), (";", "latin-1"), ("\t", "utf-16"), (";", "utf-8-sig"), (",", "utf-16-le")],
)
@pytest.mark.parametrize("kind", list(KINDS))
def test_csv__any_separator_and_encoding_gives_the_same_split(
    listed: Callable[..., ChestDataModule], kind: str, separator: str, encoding: str
) -> None:
    data = listed(kind, KINDS[kind][0], separator, encoding)
    table = data.listed()
    assert sorted(Path(path).stem for path in table["path"]) == NAMES
    assert all(Path(path).is_file() for path in table["path"])
    assert table["split"].value_counts().to_dict() == {"train": 4, "val": 2, "test": 2}
    if kind != "kermany":
        assert sorted(table["label"]) == [0] * 4 + [1] * 4


@pytest.mark.parametrize("kind", list(KINDS))
def test_csv__rows_that_stand_there_twice_count_once(listed: Callable[..., ChestDataModule], kind: str) -> None:
    rows = KINDS[kind][0]
    table = listed(kind, [*rows, rows[1], rows[2]]).listed()
    assert len(table) == 8
    assert table["boxes"].map(len).max() == (1 if kind == "rsna" else 0)  # nor does a box stand there twice


@pytest.mark.parametrize("kind", list(KINDS))
def test_csv__rows_that_contradict_each_other_are_one_line(listed: Callable[..., ChestDataModule], kind: str) -> None:
    rows = KINDS[kind][0]
    other = {
        "rsna": (NAMES[1], "", "", "", "", "0"),
        "padchest": (f"{NAMES[1]}.png", "p1", "PA", "Physician", "['normal']"),
        "folder": (f"a b/{NAMES[1]}.png", "normal", "p1"),
        "kermany": (f"train/NORMAL/{NAMES[1]}", "test"),
    }[kind]
    with pytest.raises(DataError, match=f"contradicts itself about 1 of its .*{NAMES[1]}") as error:
        listed(kind, [*rows, other]).listed()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: [], "is no csv: "),
        (lambda rows: rows[:1], "no image|no row|names none"),
        (lambda rows: [row[:-1] for row in rows], "has no column "),
        (lambda rows: [*rows, ("",) * len(rows[0])], "rows have no "),
    ],
    ids=["empty", "header alone", "a column less", "a blank row"],
)
def test_csv__what_cannot_be_used_is_one_line(
    listed: Callable[..., ChestDataModule], kind: str, spoil: Callable[[Rows], Rows], message: str
) -> None:
    rows = KINDS[kind][0]
    if kind == "folder":
        rows = [row[:2] for row in rows]  # the patient may be left out
    with pytest.raises(DataError, match=message) as error:
        listed(kind, spoil(rows)).listed()
    assert "\n" not in str(error.value)
