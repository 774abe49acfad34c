from pathlib import Path

import pandas as pd
import pytest

from pulmo.phantom import sample, write_all, write_folder

SETS = ["rsna", "kermany_lung_masks", "kermany", "padchest"]


def write_small(root: Path) -> list[str]:
    return [path.name for path in write_all(root, rsna=4, kermany=12, padchest=4, size=64)]


def test_write_all__writes_what_is_absent_and_only_that(tmp_path: Path) -> None:
    assert write_small(tmp_path) == SETS
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(SETS)
    assert all((tmp_path / name / "PHANTOM.txt").is_file() for name in SETS)
    assert write_small(tmp_path) == []


def test_write_all__a_users_own_folders_stay(tmp_path: Path) -> None:
    for name in ("rsna", "kermany_lung_masks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").write_text("mine")
    assert write_small(tmp_path) == ["kermany", "padchest"]
    assert [path.name for path in (tmp_path / "rsna").iterdir()] == ["mine.txt"]
    assert [path.name for path in (tmp_path / "kermany_lung_masks").iterdir()] == ["mine.txt"]


def test_write_all__masks_without_their_images_are_written_anew(tmp_path: Path) -> None:
    write_small(tmp_path)
    (tmp_path / "kermany").rename(tmp_path / "elsewhere")
    (tmp_path / "kermany_lung_masks" / "train" / "stale.png").touch()
    assert write_small(tmp_path) == ["kermany_lung_masks", "kermany"]
    assert not (tmp_path / "kermany_lung_masks" / "train" / "stale.png").exists()


def test_write_all__a_killed_run_leaves_no_half_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(root: Path, **_: object) -> None:
        (root / "images").mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sample, "write_padchest", half)
        with pytest.raises(KeyboardInterrupt):
            write_small(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(set(SETS) - {"padchest"})
    assert write_small(tmp_path) == ["padchest"]


def test_write_folder__two_images_of_a_patient_share_class_and_split(tmp_path: Path) -> None:
    write_folder(tmp_path, images=40, size=64, table=True)
    table = pd.read_csv(tmp_path / "labels.csv")
    assert list(table.columns) == ["path", "label", "patient", "split", "mask"]
    assert all((tmp_path / path).is_file() for path in [*table["path"], *table["mask"]])
    assert (table["path"].str.split("/").str[0] == table["label"]).all()
    assert (table.groupby("patient").size() == 2).all()
    assert (table.groupby("patient")[["split", "label"]].nunique() == 1).all(axis=None)
    assert (table.groupby("split")["label"].nunique() == 2).all()
    assert set(table["split"]) == {"train", "val", "test"}


def test_write_folder__without_a_table_there_are_only_class_folders(tmp_path: Path) -> None:
    write_folder(tmp_path, images=8, size=64)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["PHANTOM.txt", "normal", "pneumonia"]
    assert len(list(tmp_path.glob("*/*.png"))) == 8
