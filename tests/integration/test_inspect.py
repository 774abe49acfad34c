"""`pulmo inspect` as a user types it, on phantoms with known flaws."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pulmo.cli import app
from pulmo.composition import composed
from pulmo.experiment import make

Inspect = Callable[..., tuple[int, str, Path]]


@pytest.fixture
def inspect(tmp_path: Path) -> Inspect:
    """Run the command; give its status, what it said, and the folder that it wrote."""

    def run(*arguments: str) -> tuple[int, str, Path]:
        out = tmp_path / "report"
        result = CliRunner().invoke(app, ["inspect", *arguments, "--out", str(out)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output, out

    return run


def counts_of(out: Path) -> dict[str, int]:
    return dict(json.loads((out / "summary.json").read_text())["counts"])


def write(path: Path, image: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())


@pytest.mark.parametrize("data", ["rsna", "kermany", "padchest", "folder"])
def test_inspect__counts_are_those_that_training_uses(inspect: Inspect, phantoms: Path, data: str) -> None:
    overrides = [f"data={data}", f"data.root={phantoms / data}", "data.split_seed=3"]
    status, said, out = inspect(*overrides)
    datamodule = make(composed([*overrides, "data.cache=off"]).data)
    datamodule.setup("fit")
    for split in ("train", "val", "test"):
        part = datamodule.table[datamodule.table["split"] == split]
        assert counts_of(out)[f"{split}/images"] == len(part)
        assert counts_of(out)[f"{split}/patients"] == part["patient_id"].nunique()
        for label, name in enumerate(datamodule.class_names):
            assert counts_of(out)[f"{split}/images/{name}"] == (part["label"] == label).sum()
    assert (status, said.strip().splitlines()[-1][:7]) == (0, "no leak")


@pytest.mark.parametrize("choice", ["preprocess=lung_crop", "preprocess=lungs"])
def test_inspect__of_a_data_set_without_lung_masks_says_what_training_would(
    inspect: Inspect, phantoms: Path, tmp_path: Path, choice: str
) -> None:
    place = ["data=kermany", f"data.root={phantoms / 'kermany'}", "--quick"]
    masked = [f"data.masks={phantoms / 'kermany_masks'}"]
    status, said, _ = inspect(*place, choice)
    assert status == 0
    assert "60 of 60 images have no lung mask, and training would refuse them" in said
    best = tmp_path / "lungs" / "checkpoints" / "best.ckpt"
    best.parent.mkdir(parents=True)
    best.touch()
    assert "no lung mask" not in inspect(*place, choice, f"preprocess.mask={tmp_path / 'lungs'}")[1]
    said = inspect(*place, choice, *masked)[1]
    assert "10 of 60 images have no lung mask" in said
    assert "with a lung mask" in said
    status, said, out = inspect(*place, choice, "preprocess.missing=skip")
    assert status == 0
    assert "training would refuse them: give data.masks=FOLDER" in said
    status, said, out = inspect(*place, choice, *masked, "preprocess.missing=skip")
    assert "training would refuse" not in said
    assert counts_of(out)["all/images"] == 50


def test_inspect__page_and_figures_stand_alone(inspect: Inspect, phantoms: Path) -> None:
    _, said, out = inspect("data=rsna", f"data.root={phantoms / 'rsna'}")
    page = (out / "inspect.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    names = {path.stem for path in (out / "figures").iterdir()}
    assert names == {"classes", "ages", "boxes", "mean_films"} | ({"sizes"} & names)
    assert page.count("<img") == len(names)
    for word in ("Verdict", "By sex", "By view", "By age", "Images by their number of boxes", "MONOCHROME1", "16"):
        assert word in page
        assert word in said or word == "Verdict"


@pytest.fixture(scope="module")
def leaking(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kermany with copies of training images in its test folder, one of another class, and files that are none."""
    root = tmp_path_factory.mktemp("leaking data") / "chest x-rays"
    shutil.copytree(phantoms / "kermany", root)
    sick = sorted((root / "train/PNEUMONIA").iterdir())[:3]
    images = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in sick]
    shutil.copy(sick[0], root / "test/PNEUMONIA/person900_virus_1.jpeg")
    write(root / "test/NORMAL/IM-9001-0001.jpeg", cv2.resize(images[1], None, fx=0.8, fy=0.8))
    write(root / "test/NORMAL/IM-9002-0001.png", images[2][:, ::-1])
    (root / "test/NORMAL/IM-9003-0001.jpeg").touch()
    (root / "test/NORMAL/IM-9004-0001.jpeg").write_bytes(sick[0].read_bytes()[:500])
    (root / "test/NORMAL/IM-9005-0001.dcm").write_text("no image")
    return root


@pytest.fixture(scope="module")
def flawed(leaking: Path) -> tuple[int, str, Path]:
    """Status, words and folder of one look at it."""
    out = leaking.parent / "report"
    result = CliRunner().invoke(app, ["inspect", "data=kermany", f"data.root={leaking}", "--out", str(out)])
    return result.exit_code, result.output, out


def test_inspect__copies_across_splits_are_a_leak(flawed: tuple[int, str, Path]) -> None:
    status, said, out = flawed
    assert status == 1
    assert said.strip().splitlines()[-1] == "leak: 3 films in more than one split (1 identical, 1 near, 1 mirrored)"
    found = pd.read_csv(out / "duplicates.csv")
    assert found.groupby("group")["split"].nunique().tolist() == [2, 2, 2]
    assert found.groupby("kind")["class"].nunique().to_dict() == {"identical": 1, "near": 2, "mirrored": 2}
    assert "2 films with images in two classes" in said
    assert (out / "figures/duplicates.png").stat().st_size > 1000


def test_inspect__unreadable_files_are_listed_each_with_its_cause(flawed: tuple[int, str, Path]) -> None:
    _, said, out = flawed
    causes = dict(pd.read_csv(out / "unreadable.csv")[["image_id", "cause"]].to_numpy())
    assert causes.keys() == {f"test/NORMAL/IM-{number}-0001" for number in (9003, 9004, 9005)}
    assert causes["test/NORMAL/IM-9003-0001"] == "the file is empty"
    assert causes["test/NORMAL/IM-9004-0001"].startswith("cut short")
    assert causes["test/NORMAL/IM-9005-0001"].startswith("not a DICOM")
    assert "3 files cannot be read: data.on_error=skip leaves them out" in said


def test_inspect__files_that_cannot_be_read_are_not_called_free_of_leaks(
    inspect: Inspect, phantoms: Path, tmp_path: Path
) -> None:
    shutil.copytree(phantoms / "kermany", tmp_path / "data")
    test = [path for path in (tmp_path / "data" / "test").rglob("*.*") if path.is_file()]
    for path in test:
        path.write_bytes(b"junk")
    status, said, out = inspect("data=kermany", f"data.root={tmp_path / 'data'}")
    last, of = said.strip().splitlines()[-1], counts_of(out)["all/images"]
    assert status == 0
    told = f"none by duplicates of {of - len(test)} of {of} images; the others have no file or cannot be read"
    assert last.startswith("no leak by patient")
    assert last.endswith(told)
    assert f"<p>{last[0].upper()}{last[1:]}." in (out / "inspect.html").read_text()


def test_inspect__quick_reads_no_file(inspect: Inspect, leaking: Path) -> None:
    status, said, out = inspect("data=kermany", f"data.root={leaking}", "--quick")
    assert status == 0
    assert "duplicates were not looked for" in said.splitlines()[-1]
    assert ("drawn phantoms" in said) == (leaking / "PHANTOM.txt").exists()
    assert pd.read_csv(out / "unreadable.csv").empty
    assert counts_of(out)["all/images"] == 66
    assert "unreadable" not in counts_of(out), "which is not known"


def test_inspect__a_patient_in_two_splits_is_told_where_training_would_refuse(
    inspect: Inspect, phantoms: Path, tmp_path: Path
) -> None:
    paths = sorted(path.relative_to(phantoms / "folder") for path in (phantoms / "folder").rglob("*.png"))
    rows = [
        (str(path), ("normal", "pneumonia")[i % 2], f"p{i // 3}", ("train", "val", "test")[i % 3])
        for i, path in enumerate(paths)
    ]
    pd.DataFrame(rows, columns=["path", "label", "patient", "split"]).to_csv(tmp_path / "list.csv", index=False)
    status, said, out = inspect(
        "data=folder", f"data.root={phantoms / 'folder'}", f"data.csv={tmp_path / 'list.csv'}", "data.split=official"
    )
    assert status == 1
    assert re.search(r"^leak: \d+ patients in more than one split \(p0, p1, p2, …\)$", said, re.MULTILINE)
    assert counts_of(out)["patients_across_splits"] == -(-len(paths) // 3)


def test_inspect__lists_alone_are_counted(inspect: Inspect, phantoms: Path, tmp_path: Path) -> None:
    """The challenge's csv has a row for each box, and may be all that one has."""
    (tmp_path / "rsna").mkdir()
    shutil.copy(phantoms / "rsna/stage_2_train_labels.csv", tmp_path / "rsna")
    table = pd.read_csv(tmp_path / "rsna/stage_2_train_labels.csv")
    status, said, out = inspect("data=rsna", f"data.root={tmp_path / 'rsna'}")
    counts, images = counts_of(out), table["patientId"].nunique()
    assert status == 0
    assert f"{len(table)} rows of stage_2_train_labels.csv" in said
    assert counts["listed/rows of stage_2_train_labels.csv"] == len(table)
    assert (counts["all/images"], counts["absent"]) == (images, images)
    assert counts["all/images/Lung Opacity"] == table.groupby("patientId")["Target"].max().sum()
    assert counts["boxes"] == (table["Target"] == 1).sum()
    assert f"{images} of {images} listed images have no file below" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=rsna", "data.root=/nowhere"], "no folder /nowhere: give data.root=FOLDER"),
        (["data=rnsa"], "rsna"),
        (["data=rsna", "data.rot=/x"], "did you mean data.root?"),
        (["data=rsna,kermany"], "data=rsna,kermany"),
        (["data=rsna", "data.val_fraction=much"], "data.val_fraction=much: a number expected"),
        (["data=rsna", "data.val_fraction=1.5"], "data.val_fraction=1.5: a share above 0, below 1"),
    ],
)
def test_inspect__a_mistake_is_one_line(inspect: Inspect, arguments: list[str], message: str) -> None:
    status, said, _ = inspect(*arguments)
    assert status == 1
    assert message in said
    assert len(said.strip().splitlines()) <= 2


def test_inspect__takes_what_belongs_to_another_machine(inspect: Inspect, phantoms: Path) -> None:
    status, _, out = inspect(
        "data=rsna",
        f"data.root={phantoms / 'rsna'}",
        "strategy=gpu",
        "model=mask_rcnn",
        "data.val_fraction=0.3",
        "--quick",
    )
    assert status == 0
    assert counts_of(out)["val/images"] == pytest.approx(0.3 * 36, abs=2)


def test_inspect__a_place_that_cannot_be_written_is_told(phantoms: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    arguments = ["inspect", "data=folder", f"data.root={phantoms / 'folder'}", "--quick", "--out", f"{tmp_path}/file/x"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "give --out FOLDER" in result.output
