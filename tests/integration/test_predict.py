"""`pulmo predict`: the scores that a run gave itself, on any files, streamed, gone on with, by several runs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_curve
from typer.testing import CliRunner, Result

from pulmo import run
from pulmo.cli import app
from pulmo.data.reading import read_grey
from pulmo.tasks.base import Task
from tests.conftest import SMALL, compose_in, once
from tests.integration.conftest import dice_of, read_mask

SPLIT = ["data=rsna", "data.val_fraction=0.3", "data.test_fraction=0.3", "augment=none", "trainer.max_epochs=2"]


def classifiers(shared: Path, phantoms: Path) -> Path:
    """Folder of two classifiers that differ in their seed, `one` and `two`, and share their split."""

    def make(root: Path) -> None:
        for name, seed in (("one", 0), ("two", 1)):
            places = [f"data.root={phantoms / 'rsna'}", f"data.cache_dir={root / 'cache'}", f"seed={seed}"]
            split = [f"data.split={root / 'one' / 'split.csv'}"] if name == "two" else []
            overrides = [*SMALL, *SPLIT, *places, *split]
            run.train(compose_in(root / name, *overrides), root / name, overrides)

    return once(shared / "predicting", make)


def predicted(*arguments: object, status: int = 0) -> Result:
    """What the command answers; it decodes in this process unless the arguments say otherwise."""
    given = [str(argument) for argument in arguments]
    given += [] if "--workers" in given else ["--workers", "0"]
    given += [] if "--precision" in given else ["--precision", "32"]  # as the runs were trained
    result = CliRunner().invoke(app, ["predict", *given])
    assert result.exit_code == status, result.output + result.stderr + str(result.exception)
    return result


@pytest.fixture(scope="module")
def runs(shared: Path, phantoms: Path) -> Path:
    return classifiers(shared, phantoms)


@pytest.fixture
def table(tmp_path: Path) -> Callable[[], pd.DataFrame]:
    return lambda: pd.read_csv(tmp_path / "scores.csv")


@pytest.fixture
def mixed(phantoms: Path, tmp_path: Path) -> Path:
    """A folder of six DICOM files and six PNGs of others, in folders with spaces and other letters."""
    root = tmp_path / "in put"
    files = sorted((phantoms / "rsna" / "stage_2_train_images").glob("*.dcm"))
    for number, file in enumerate(files[:12]):
        place = root / ("" if number % 3 else "süb") / f"{file.stem}.{'png' if number % 2 else 'dcm'}"
        place.parent.mkdir(parents=True, exist_ok=True)
        if number % 2:
            cv2.imwrite(str(place), read_grey(file).image)
        else:
            shutil.copy(file, place)
    return root


def test_scores__are_those_that_the_run_has_written_of_its_test_images(
    runs: Path, tmp_path: Path, table: Callable[[], pd.DataFrame]
) -> None:
    known = pd.read_csv(runs / "one" / "predictions_test.csv").set_index("image_id")
    split = pd.read_csv(runs / "one" / "split.csv")
    (tmp_path / "list.txt").write_text("\n".join(split.loc[split["split"] == "test", "path"]))
    result = predicted(runs / "one", "--list", tmp_path / "list.txt", "--out", tmp_path / "scores.csv")
    scores = table()
    assert list(scores.columns) == ["path", "score", "decision", "threshold", "error", "width", "height"]
    found = scores.set_index(scores["path"].map(lambda path: Path(path).stem))
    assert set(found.index) == set(known.index)
    np.testing.assert_allclose(found["score"], known["score"].loc[found.index], atol=1e-5)
    task = Task.load_from_checkpoint(runs / "one" / "checkpoints" / "best.ckpt")
    assert (found["threshold"] == task.cut_off).all()
    names = np.array(task.class_names)[known["prediction"].loc[found.index]]
    assert found["decision"].tolist() == names.tolist()
    assert scores["error"].isna().all()
    assert f"{len(known)} images" in result.stdout


def test_paths__of_every_kind_are_taken_together_and_rows_come_in_their_order(
    runs: Path, mixed: Path, tmp_path: Path, table: Callable[[], pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = next(mixed.glob("*.png"))
    given = [first.relative_to(tmp_path), "in put/**/*.png", "in put", "absent.dcm"]
    predicted(runs / "one", *given, "--out", "scores.csv", "--batch-size", 5, "--workers", 1)
    paths = table()["path"].tolist()
    assert len(paths) == 13
    assert paths[0] == f"in put/{first.name}"
    assert paths[-1] == "absent.dcm"
    pngs = [path for path in paths[1:] if path.endswith(".png")]
    assert pngs == sorted(pngs)
    assert paths[1 : 1 + len(pngs)] == pngs
    errors = table().set_index("path")["error"]
    assert errors["absent.dcm"] == "No such file or directory"
    assert errors.notna().sum() == 1


def test_out__is_predictions_csv_here_and_is_not_written_over(
    runs: Path, mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    predicted(runs / "one", mixed)
    before = (tmp_path / "predictions.csv").read_bytes()
    result = predicted(runs / "one", mixed, status=1)
    assert result.stderr.startswith("pulmo: predictions.csv is there already: --resume goes on with it")
    assert (tmp_path / "predictions.csv").read_bytes() == before
    told = json.loads((tmp_path / "predictions.csv.json").read_text())
    assert told["threshold_is"] == "fitted by the run"
    assert told["runs"][0]["run"] == str((runs / "one").resolve())


def test_resume__gives_the_table_of_a_job_that_was_never_cut_off(runs: Path, mixed: Path, tmp_path: Path) -> None:
    straight, cut = tmp_path / "straight.csv", tmp_path / "cut.csv"
    predicted(runs / "one", mixed, "--out", straight)
    predicted(runs / "one", mixed, "--out", cut)
    lines = cut.read_bytes().splitlines(keepends=True)
    cut.write_bytes(b"".join(lines[:5]) + lines[5][:20])
    result = predicted(runs / "one", mixed, "--out", cut, "--resume")
    assert "8 images (and 4 before)" in result.stdout
    pd.testing.assert_frame_equal(pd.read_csv(cut), pd.read_csv(straight), rtol=1e-5)
    again = predicted(runs / "one", mixed, "--out", cut, "--resume")
    assert "0 images (and 12 before)" in again.stdout
    refused = predicted(runs / "two", mixed, "--out", cut, "--resume", status=1)
    assert "was begun with other runs, threshold" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_resume__goes_on_after_a_signal_in_the_midst(runs: Path, phantoms: Path, tmp_path: Path, number: int) -> None:
    files = sorted((phantoms / "rsna").rglob("*.dcm"))
    (tmp_path / "in").mkdir()
    for copy in range(2000):
        os.link(files[copy % len(files)], tmp_path / "in" / f"{copy:04d}.dcm")
    out = tmp_path / "scores.csv"
    answers = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # ignored in the background
    command = [sys.executable, "-c", f"{answers}; from pulmo.cli import app; app()", "predict", str(runs / "one")]
    command += [str(tmp_path / "in"), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not out.exists() or out.stat().st_size < 5000:
        time.sleep(0.01)
    process.send_signal(number)
    process.wait(60)
    assert len(out.read_bytes().splitlines()) < 2000
    subprocess.run([*command, "--resume"], check=True, capture_output=True)
    rows = pd.read_csv(out)
    assert rows["path"].is_unique
    assert len(rows) == 2000
    assert rows["error"].isna().all()


def test_parquet__has_the_rows_of_the_csv(runs: Path, mixed: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    predicted(runs / "one", mixed, "--out", tmp_path / "scores.parquet")
    predicted(runs / "one", mixed, "--out", tmp_path / "scores.csv")
    csv, parquet = pd.read_csv(tmp_path / "scores.csv"), pd.read_parquet(tmp_path / "scores.parquet")
    pd.testing.assert_frame_equal(parquet.drop(columns="error"), csv.drop(columns="error"), check_dtype=False)
    assert not list(tmp_path.glob("*unfinished*"))


def test_with__the_mean_of_the_runs_and_a_cut_off_fitted_on_their_shared_validation(
    runs: Path, mixed: Path, tmp_path: Path, table: Callable[[], pd.DataFrame]
) -> None:
    out = tmp_path / "scores.csv"
    result = predicted(runs / "one", mixed, "--with", runs / "two", "--out", out)
    both = table()
    alone = []
    for name in ("one", "two"):
        predicted(runs / name, mixed, "--out", tmp_path / f"{name}.csv")
        alone.append(pd.read_csv(tmp_path / f"{name}.csv")["score"].to_numpy())
        np.testing.assert_allclose(both[f"score@{runs.name}/{name}"], alone[-1], atol=1e-6)
    np.testing.assert_allclose(both["score"], np.mean(alone, axis=0), atol=1e-6)
    val = [pd.read_csv(runs / name / "predictions_val.csv").set_index("image_id") for name in ("one", "two")]
    mean = (val[0]["score"] + val[1]["score"].loc[val[0].index]) / 2
    false, true, _cuts = roc_curve(val[0]["label"], mean, drop_intermediate=False)
    chosen = float(both["threshold"][0])
    best = (true - false).max()
    decided = mean >= chosen
    labels = val[0]["label"] == 1
    assert decided[labels].mean() - decided[~labels].mean() == pytest.approx(best)
    assert "fitted on the validation images that the 2 runs share" in result.stdout


def test_with__runs_of_other_validation_images_take_the_mean_cut_off_and_say_why(
    runs: Path, mixed: Path, tmp_path: Path, table: Callable[[], pd.DataFrame]
) -> None:
    other = shutil.copytree(runs / "two", tmp_path / "other")
    val = pd.read_csv(other / "predictions_val.csv")
    val.iloc[1:].to_csv(other / "predictions_val.csv", index=False)
    result = predicted(runs / "one", mixed, "--with", other, "--out", tmp_path / "scores.csv")
    cuts = [Task.load_from_checkpoint(f / "checkpoints" / "best.ckpt").cut_off for f in (runs / "one", other)]
    assert table()["threshold"][0] == pytest.approx(np.mean(cuts))
    assert "mean of the 2 runs' cut-offs, since their validation images differ" in result.stdout
    whole = pd.read_csv(runs / "two" / "predictions_val.csv")
    whole.assign(label=1 - whole["label"]).to_csv(other / "predictions_val.csv", index=False)
    result = predicted(runs / "one", mixed, "--with", other, "--out", tmp_path / "labels.csv")
    assert "since their validation labels differ" in result.stdout
    (other / "predictions_val.csv").unlink()
    result = predicted(runs / "one", mixed, "--with", other, "--out", tmp_path / "again.csv")
    assert "has no predictions_val.csv" in result.stdout, "a run that lacks a part serves all the same"


def test_with__another_checkpoint_of_the_same_run_is_a_member_of_its_own(
    runs: Path, mixed: Path, tmp_path: Path, table: Callable[[], pd.DataFrame]
) -> None:
    run = Path(shutil.copytree(runs / "one", tmp_path / "a" / "run"))
    late = shutil.copy(runs / "two" / "checkpoints" / "best.ckpt", run / "checkpoints" / "late.ckpt")
    result = predicted(run, mixed, "--with", late, "--out", tmp_path / "scores.csv")
    assert f"by {run}\nby {run}, checkpoint late\n" in result.stdout
    both = table()
    for name, column in (("one", "score@a/run"), ("two", "score@a/run:late")):
        predicted(runs / name, mixed, "--out", tmp_path / f"{name}.csv")
        np.testing.assert_allclose(both[column], pd.read_csv(tmp_path / f"{name}.csv")["score"], atol=1e-6)
    assert "has predictions of best.ckpt alone" in result.stdout


def test_with__runs_that_answer_other_questions_are_refused(runs: Path, lungs: Path, mixed: Path) -> None:
    result = predicted(runs / "one", mixed, "--with", lungs, status=1)
    assert "different questions make no ensemble: where are the lungs? · which of" in result.stderr
    assert "a run is given twice" in predicted(runs / "one", mixed, "--with", runs / "one", status=1).stderr


def test_tta__is_the_mean_of_four_views_and_of_a_mirrored_image_the_same(
    runs: Path, mixed: Path, tmp_path: Path, table: Callable[[], pd.DataFrame]
) -> None:
    image = read_grey(next(mixed.rglob("*.png"))).image
    cv2.imwrite(str(tmp_path / "a.png"), image)
    cv2.imwrite(str(tmp_path / "b.png"), np.ascontiguousarray(image[:, ::-1]))
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    predicted(runs / "one", *files, "--tta", "--out", tmp_path / "scores.csv")
    predicted(runs / "one", *files, "--out", tmp_path / "plain.csv")
    scores = table()["score"]
    assert scores[0] == pytest.approx(scores[1], abs=2e-3), "whose mirror is among the views"
    plain = pd.read_csv(tmp_path / "plain.csv")["score"]
    assert abs(plain[0] - plain[1]) > abs(scores[0] - scores[1])


def test_threshold__given_decides(runs: Path, mixed: Path, tmp_path: Path, table: Callable[[], pd.DataFrame]) -> None:
    predicted(runs / "one", mixed, "--threshold", 0, "--out", tmp_path / "scores.csv")
    assert set(table()["decision"]) == {"Lung Opacity"}
    assert set(table()["threshold"]) == {0}
    result = predicted(runs / "one", mixed, "--threshold", 1.5, "--out", tmp_path / "x.csv", status=1)
    assert "--threshold 1.5: a score between 0 and 1" in result.stderr


def test_dicom_ids__are_columns_of_dicom_files_alone(
    runs: Path, mixed: Path, tmp_path: Path, table: Callable[[], pd.DataFrame]
) -> None:
    predicted(runs / "one", mixed, "--dicom-ids", "--out", tmp_path / "scores.csv")
    dicom = table()["path"].str.endswith(".dcm")
    assert table().loc[dicom, ["patient_id", "study_uid", "sop_uid"]].notna().all(axis=None)
    assert table().loc[~dicom, ["patient_id", "study_uid", "sop_uid"]].isna().all(axis=None)


def test_dicom__reports_for_dicom_files_and_a_clear_error_for_others(
    runs: Path, mixed: Path, tmp_path: Path, table: Callable[[], pd.DataFrame]
) -> None:
    hd = pytest.importorskip("highdicom")
    said = predicted(runs / "one", mixed, "--dicom", tmp_path / "sr", "--out", tmp_path / "scores.csv")
    rows = table().set_index("path")
    pictures = rows.index.str.endswith(".png")
    assert set(rows.loc[pictures, "no_dicom"]) == {"the image is no DICOM file"}
    assert f"no DICOM result for {pictures.sum()} that have their score: the image is no DICOM file" in said.stdout
    assert rows["score"].notna().all()
    assert rows["error"].isna().all()
    assert rows.loc[~pictures, "no_dicom"].isna().all()
    for path in rows.loc[~pictures, "dicom"]:
        report = hd.sr.srread(path)
        score = rows.loc[str(mixed / Path(path).relative_to(tmp_path / "sr")), "score"]
        (group,) = report.content.get_image_measurement_groups()
        assert group.get_measurements()[0].value == pytest.approx(100 * score, abs=1e-3)


def test_masks__of_lungs_are_those_of_the_network_in_each_files_own_size(
    lungs: Path, phantoms: Path, tmp_path: Path, table: Callable[[], pd.DataFrame]
) -> None:
    files = sorted((phantoms / "kermany" / "test").rglob("*.jpeg"))[:6]
    predicted(lungs, *files, "--out", tmp_path / "scores.csv", "--masks", tmp_path / "masks")
    for row in table().itertuples():
        mask = read_mask(Path(row.mask))
        assert mask.shape == (row.height, row.width) == read_grey(row.path).shape
        assert mask.mean() == pytest.approx(row.area)
        true = next((phantoms / "kermany_masks").rglob(f"{Path(row.path).stem}.png"), None)
        if true is not None:
            assert dice_of(mask, read_grey(true).image > 0) > 0.8
    assert set(table()["decision"]) == {"lungs"}


def test_masks__and_boxes_of_opacities_are_those_that_the_run_has_drawn(
    opacities: Path, phantoms: Path, tmp_path: Path, table: Callable[[], pd.DataFrame]
) -> None:
    folder = phantoms / "rsna" / "stage_2_test_images"
    predicted(opacities, folder, "--out", tmp_path / "scores.csv", "--dicom", tmp_path / "seg")
    known = pd.read_csv(opacities / "predictions_unlabelled.csv").set_index("image_id")
    rows = table().set_index(table()["path"].map(lambda path: Path(path).stem))
    np.testing.assert_allclose(rows["score"], known["score"].loc[rows.index], atol=1e-5)
    for stem, row in rows.iterrows():
        drawn = read_mask(opacities / "masks_unlabelled" / f"{stem}.png")
        np.testing.assert_array_equal(read_mask(Path(row["mask"])), drawn)
    boxes, theirs = pd.read_csv(tmp_path / "scores_boxes.csv"), pd.read_csv(opacities / "boxes_unlabelled.csv")
    order = {stem: place for place, stem in enumerate(rows.index)}
    theirs = theirs.sort_values("image_id", key=lambda ids: ids.map(order), kind="stable")
    assert boxes["path"].map(lambda path: Path(path).stem).tolist() == theirs["image_id"].tolist()
    np.testing.assert_allclose(boxes[["x1", "y1", "x2", "y2"]], theirs[["x1", "y1", "x2", "y2"]], atol=0.06)
    hd = pytest.importorskip("highdicom")
    for row in table().itertuples():
        assert hd.seg.segread(row.dicom).pixel_array.sum() == read_mask(Path(row.mask)).sum()


def test_lungs__drawn_by_another_run_or_from_a_folder_or_refused_before_anything_is_read(
    lungs: Path, phantoms: Path, tmp_path: Path, table: Callable[[], pd.DataFrame]
) -> None:
    places = ["data=kermany", f"data.root={phantoms / 'kermany'}", f"data.cache_dir={tmp_path / 'cache'}"]
    masked = ["preprocess=lung_crop", f"preprocess.mask={lungs}", "trainer.max_epochs=1"]
    folder = tmp_path / "cropped"
    overrides = [*SMALL, *places, *masked]
    run.train(compose_in(folder, *overrides), folder, overrides)
    known = pd.read_csv(folder / "predictions_test.csv").set_index("image_id")
    split = pd.read_csv(folder / "split.csv").set_index("image_id")
    files = split.loc[known.index[:7], "path"].tolist()
    out = ["--out", tmp_path / "scores.csv", "--batch-size", "3"]
    predicted(folder, *files, *out)
    np.testing.assert_allclose(table()["score"], known["score"][:7], atol=2e-4)

    refused = predicted(folder, *files, "--masks-from", tmp_path / "nowhere", "--out", tmp_path / "x.csv", status=1)
    assert "nowhere: no such folder" in refused.stderr
    assert not list(tmp_path.glob("x.*"))
    predicted(lungs, *files, "--out", tmp_path / "drawn.csv", "--masks", tmp_path / "masks")
    next((tmp_path / "masks").glob("*.png")).unlink()
    predicted(folder, *files, "--masks-from", tmp_path / "masks", "--out", tmp_path / "masked.csv")
    by_file = pd.read_csv(tmp_path / "masked.csv")
    assert by_file["error"].notna().sum() == 1
    assert by_file["error"].dropna().iloc[0].startswith("no lung mask ")
    kept = by_file["error"].isna()
    np.testing.assert_allclose(by_file.loc[kept, "score"], table().loc[kept, "score"], atol=1e-4)

    moved = shutil.copytree(folder, tmp_path / "moved")
    _point_to_no_lungs(moved / "checkpoints" / "best.ckpt")
    refused = predicted(moved, *files, "--out", tmp_path / "y.csv", status=1)
    assert "drawn by /of/another/machine, which is not here: give --lungs RUN or --masks-from FOLDER" in refused.stderr
    assert not (tmp_path / "y.csv").exists()
    predicted(moved, *files, "--lungs", lungs, "--out", tmp_path / "y.csv")
    np.testing.assert_allclose(pd.read_csv(tmp_path / "y.csv")["score"], table()["score"], atol=1e-6)


def _point_to_no_lungs(checkpoint: Path) -> None:
    import torch

    content = torch.load(checkpoint, weights_only=True)
    content["pulmo"]["origin"]["preprocess"]["mask"] = "/of/another/machine"
    torch.save(content, checkpoint)


def test_refusals__are_one_line_before_anything_is_written(
    runs: Path, mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, told in [
        ((tmp_path / "none", mixed), "no run"),
        ((runs / "one", mixed, "--masks", "m"), "draws none"),
        ((runs / "one",), "give images, folders or patterns, or --list FILE"),
        ((runs / "one", mixed, "--precision", "64"), "--precision 64: auto, 32 or bf16"),
        ((runs / "one", mixed, "--device", "tpu"), "--device tpu: auto, cpu or cuda"),
        ((runs / "one", mixed, "--batch-size", 0), "--batch-size is at least 1"),
        ((runs / "one", mixed, "--out", "scores.xlsx"), "ends in .csv or .parquet"),
        ((runs / "one", mixed, "--list", "none.txt"), "--list none.txt: No such file"),
    ]:
        result = predicted(*arguments, status=1)
        assert result.stderr.lstrip().startswith("pulmo: ")
        assert told in result.stderr
        assert "\n" not in result.stderr.strip()
    assert [path.name for path in tmp_path.iterdir()] == [mixed.name]
