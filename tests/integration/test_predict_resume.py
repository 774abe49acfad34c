"""`pulmo predict` beside what is there already: rows, masks and files of its own, of other jobs, of the user."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pulmo import execution
from tests.integration.conftest import read_mask
from tests.integration.test_predict import classifiers, predicted


@pytest.fixture(scope="module")
def runs(shared: Path, phantoms: Path) -> Path:
    return classifiers(shared, phantoms)


@pytest.fixture
def films(phantoms: Path, tmp_path: Path) -> Callable[..., Path]:
    """A folder of radiographs, one of those of the training for each name."""
    files = sorted((phantoms / "rsna" / "stage_2_train_images").glob("*.dcm"))

    def make(folder: str, first: int, *names: str) -> Path:
        (tmp_path / folder).mkdir()
        for number, name in enumerate(names, first):
            shutil.copy(files[number], tmp_path / folder / f"{name}.dcm")
        return tmp_path / folder

    return make


def masks_of(out: Path) -> dict[str, bytes]:
    return {row.path: read_mask(Path(row.mask)).tobytes() for row in pd.read_csv(out).itertuples()}


def test_resume__keeps_masks_of_rows_that_come_later_in_the_walk(
    lungs: Path, films: Callable[..., Path], tmp_path: Path
) -> None:
    late, early, out = films("b", 0, "x", "y"), films("a", 2, "x", "y"), tmp_path / "r.csv"
    predicted(lungs, late, "--out", out)
    before = masks_of(out)
    predicted(lungs, early, late, "--out", out, "--resume")
    after = masks_of(out)
    assert len(after) == 4
    assert before.items() <= after.items()
    assert pd.read_csv(out)["mask"].is_unique
    straight = tmp_path / "straight.csv"
    predicted(lungs, early, late, "--out", straight)
    assert masks_of(straight) == after


def test_masks__two_jobs_of_one_folder_keep_each_others(
    lungs: Path, films: Callable[..., Path], tmp_path: Path
) -> None:
    for name, first in (("a", 0), ("b", 1)):
        predicted(lungs, films(name, first, "x"), "--out", tmp_path / f"{name}.csv", "--masks", tmp_path / "m")
    (one,), (other,) = (masks_of(tmp_path / f"{name}.csv").values() for name in ("a", "b"))
    assert one != other
    assert len(list((tmp_path / "m").glob("*.png"))) == 2


@pytest.mark.parametrize("holds", [False, True])
def test_masks__in_a_folder_of_a_jobs_own_are_no_images_of_a_later_one(
    lungs: Path, films: Callable[..., Path], tmp_path: Path, holds: bool
) -> None:
    folder = films("in", 0, "x", "y")
    if holds:  # a user's film: then nobody can tell which are films
        (folder / "drawn").mkdir()
        (folder / "x.dcm").rename(folder / "drawn" / "x.dcm")
    predicted(lungs, folder / "y.dcm", "--out", tmp_path / "a.csv", "--masks", folder / "drawn")
    predicted(lungs, folder, "--out", tmp_path / "b.csv")
    drawn = [path for path in pd.read_csv(tmp_path / "b.csv")["path"] if "drawn" in path]
    assert len(drawn) == (2 if holds else 0)


def test_masks__beside_the_table_in_one_folder_are_known_as_well(
    lungs: Path, films: Callable[..., Path], tmp_path: Path
) -> None:
    folder = films("in", 0, "x")
    predicted(lungs, folder / "x.dcm", "--out", folder / "res" / "a.csv", "--masks", folder / "res")
    assert (folder / "res" / ".pulmo_results").is_file()
    for path in folder.glob("res/*"):
        path.unlink()
    predicted(lungs, folder / "x.dcm", "--out", folder / "res" / "a.csv", "--masks", folder / "res")
    assert json.loads((folder / "res" / "a.csv.json").read_text())["folders"] == [str((folder / "res").resolve())]


def test_description__writes_over_no_file_of_the_users(runs: Path, films: Callable[..., Path], tmp_path: Path) -> None:
    folder = films("in", 0, "x")
    for name in ("metrics.json", "new.csv.json"):
        (tmp_path / name).write_text('{"test/auroc": 0.9}')
    predicted(runs / "one", folder, "--out", tmp_path / "metrics.csv")
    assert (tmp_path / "metrics.csv.json").is_file()
    predicted(runs / "one", folder, "--out", tmp_path / "metrics.csv", "--resume")
    for more in ([], ["--resume"]):
        refused = predicted(runs / "one", folder, "--out", tmp_path / "new.csv", *more, status=1)
        assert "new.csv.json is there and was not written by pulmo predict" in refused.stderr
    (tmp_path / "none").mkdir()
    predicted(runs / "one", tmp_path / "none", "--out", tmp_path / "y.csv", status=1)
    assert not list(tmp_path.glob("y.*"))
    for name in ("metrics.json", "new.csv.json"):
        assert (tmp_path / name).read_text() == '{"test/auroc": 0.9}'


def test_boxes__are_not_written_over_those_of_another(
    opacities: Path, films: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    folder = films("in", 0, "x")
    (tmp_path / "s_submission.csv").write_text("my own")
    refused = predicted(opacities, folder, "--out", tmp_path / "s.csv", status=1)
    assert f"s_submission.csv is there and not of {tmp_path / 's.csv'}: give another --out" in refused.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "s_submission.csv"]
    predicted(opacities, folder, "--out", tmp_path / "t.csv")
    predicted(opacities, folder, "--out", tmp_path / "t.csv", "--resume")
    refused = predicted(opacities, folder, "--out", tmp_path / "t.parquet", status=1)
    assert "t_boxes.csv is there and not of" in refused.stderr


def test_submission__warns_of_files_with_one_name(
    opacities: Path, films: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predicted(opacities, films("a", 0, "x", "y"), films("b", 2, "x"), "--out", tmp_path / "s.csv")
    assert "s_submission.csv: 1 rows have the patientId of another" in caplog.text


def test_dicom__a_folder_that_is_a_file_is_told_in_a_line(
    runs: Path, films: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("highdicom")
    (tmp_path / "file").touch()
    folder, out = films("in", 0, "x"), tmp_path / "s.csv"
    refused = predicted(runs / "one", folder, "--out", out, "--dicom", tmp_path / "file", status=1)
    assert refused.stderr.lstrip().startswith(f"pulmo: cannot write to {tmp_path / 'file' / 'x.dcm'}: ")
    assert refused.stderr.strip().count("\n") == 0


def test_resume__in_another_precision_is_refused(runs: Path, films: Callable[..., Path], tmp_path: Path) -> None:
    folder, out = films("in", 0, "x", "y"), tmp_path / "s.csv"
    predicted(runs / "one", folder / "x.dcm", "--out", out)
    refused = predicted(runs / "one", folder, "--out", out, "--resume", "--precision", "bf16", status=1)
    assert "was begun with other precision" in refused.stderr
    predicted(runs / "one", folder, "--out", out, "--resume", "--precision", "auto")


@pytest.mark.parametrize(("recorded", "native", "used"), [
    ("32-true", True, "32-true"), ("bf16-mixed", True, "bf16-mixed"), ("bf16-mixed", False, "32-true"),
    ("16-mixed", True, "32-true"), (None, True, "32-true"),
])  # fmt: skip
def test_precision__is_the_runs_own_where_the_device_has_it(
    runs: Path,
    films: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recorded: str | None,
    native: bool,
    used: str,
) -> None:
    monkeypatch.setattr(execution, "_cpu_has_bf16", lambda: native)
    copy = Path(shutil.copytree(runs / "one", tmp_path / "copy"))
    config = (copy / "config.yaml").read_text()
    if recorded is None:
        (copy / "config.yaml").unlink()
    else:
        (copy / "config.yaml").write_text(config.replace("precision: 32-true", f"precision: {recorded}"))
    folder = films("in", 0, "x", "y", "z")
    given = ["--device", "cpu"]
    predicted(copy, folder, "--out", tmp_path / "auto.csv", "--precision", "auto", *given)
    explicit = {"32-true": "32", "bf16-mixed": "bf16"}[used]
    predicted(copy, folder, "--out", tmp_path / "own.csv", "--precision", explicit, *given)
    scores = [pd.read_csv(tmp_path / f"{name}.csv")["score"].tolist() for name in ("auto", "own")]
    assert scores[0] == scores[1]
    assert json.loads((tmp_path / "auto.csv.json").read_text())["runs"][0]["precision"] == used


def test_retry__images_that_failed_are_read_again_and_no_other(
    runs: Path, films: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out = films("in", 0, "x", "y"), tmp_path / "out.csv"
    whole = (folder / "y.dcm").read_bytes()
    (folder / "y.dcm").write_bytes(whole[:300])
    predicted(runs / "one", folder, "--out", out)
    first = pd.read_csv(out)
    assert first["error"].notna().tolist() == [False, True]
    (folder / "y.dcm").write_bytes(whole)
    assert "0 images (and 2 before)" in predicted(runs / "one", folder, "--out", out, "--resume").output
    assert "1 images (and 1 before)" in predicted(runs / "one", folder, "--out", out, "--resume", "--retry").output
    again = pd.read_csv(out)
    assert again["error"].isna().all()
    assert again["path"].tolist() == first["path"].tolist()
    assert "give --resume too" in predicted(runs / "one", folder, "--out", out, "--retry", status=1).stderr


@pytest.mark.parametrize("path", ["nowhere", "nothing/**/*.png"])
def test_paths__that_lead_nowhere_make_no_table(runs: Path, tmp_path: Path, path: str) -> None:
    refused = predicted(runs / "one", tmp_path / path, "--out", tmp_path / "out.csv", status=1)
    assert "no such file or folder" in refused.stderr or "no file matches this pattern" in refused.stderr
    assert not list(tmp_path.glob("out*"))


def test_lungs__given_where_no_network_wants_them_are_refused(
    runs: Path, lungs: Path, films: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out = films("in", 0, "x"), tmp_path / "out.csv"
    refused = predicted(runs / "one", folder, "--out", out, "--lungs", lungs, status=1)
    assert "needs no lung masks: leave it out" in refused.stderr


def test_phantoms__a_run_that_learnt_from_them_is_told(runs: Path, films: Callable[..., Path], tmp_path: Path) -> None:
    out = predicted(runs / "one", films("in", 0, "x"), "--out", tmp_path / "out.csv").output
    assert "trained on drawn phantoms" in out
