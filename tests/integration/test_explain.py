"""`pulmo explain RUN`: heat maps, where the heat lies, and the shortcut probe, as a user types it."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from pulmo import execution, run
from pulmo.cli import app
from pulmo.data.reading import read_grey
from tests.conftest import SMALL, boxes_of, compose_in, once

QUICK = ["trainer.max_epochs=2", "callbacks.progress_bar=null", "logger=csv", "augment=none"]


@pytest.fixture(scope="module")
def trained(shared: Path, phantoms: Path) -> Path:
    """A classifier of Kermany's phantoms, of which 50 of 60 have lung masks."""
    places = ["data=kermany", f"data.root={phantoms / 'kermany'}", f"data.masks={phantoms / 'kermany_masks'}"]
    overrides = [*SMALL, *places, *QUICK, f"data.cache_dir={shared / 'explain_cache'}"]
    return once(shared / "explained", lambda folder: run.train(compose_in(folder, *overrides), folder, overrides))


@pytest.fixture
def finished(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, as on another machine."""
    return Path(shutil.copytree(trained, tmp_path / "elsewhere"))


def explain(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["explain", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result.output


def test_explain__draws_the_worst_of_the_test_split_and_measures_all(finished: Path) -> None:
    told = explain(finished, "--worst", 3)
    folder = finished / "explanations" / "gradcam_test"
    assert f"page: {folder / 'explain.html'}" in told
    recorded = pd.read_csv(finished / "predictions_test.csv").set_index("image_id")
    table = pd.read_csv(folder / "images.csv").set_index("image_id")
    np.testing.assert_allclose(table["score"], recorded.loc[table.index, "score"], atol=1e-4)
    assert set(table.index) == set(recorded.index)
    truth = np.where(recorded["label"] == 1, recorded["score"], 1 - recorded["score"])
    worst = recorded.index[np.argsort(truth, kind="stable")[:3]]
    drawn = sorted(path.name for path in (folder / "images").glob("*_overlay.png"))
    assert [name[4:-12] for name in drawn] == [name.replace("/", "_") for name in worst]
    for image_id, name in zip(worst, drawn, strict=True):
        film = cv2.imread(str(recorded.loc[image_id, "path"]), cv2.IMREAD_UNCHANGED)
        heat = cv2.imread(str(folder / "images" / name.replace("overlay", "heat")), cv2.IMREAD_UNCHANGED)
        assert heat.shape == film.shape[:2]
    localisation = json.loads((folder / "localisation.json").read_text())
    assert localisation["layer"].startswith("features.block3.relu (128 × 8 × 8)")
    row = localisation["rows"][0]
    assert row["region"] == "lungs"
    assert row["images"] == table["heat_lungs"].notna().sum() + row["without_heat"] <= len(table)
    assert row["heat"][0] == pytest.approx(table["heat_lungs"].mean())
    assert row["heat"][1] <= row["heat"][0] <= row["heat"][2]
    page = (folder / "explain.html").read_text()
    assert "Where the heat lies" in page
    assert "trained on drawn phantoms" in page
    assert f"<dt>cut-off</dt><dd>{json.loads((finished / 'metrics.json').read_text())['threshold']:.4g}" in page
    assert 'src="data:image/png' in page
    assert (folder / "figures" / "sheet_01.png").is_file()


def test_explain__pictures_of_an_earlier_call_are_taken_away_and_nothing_else(finished: Path) -> None:
    folder = finished / "explanations" / "gradcam_test"
    explain(finished, "--worst", 3)
    (folder / "images" / "mine.png").touch()
    (folder / "figures" / "sheet_02.png").touch()
    explain(finished, "--best", 1)
    assert len(list((folder / "images").iterdir())) == 3
    assert (folder / "images" / "mine.png").exists()
    assert sorted(path.name for path in (folder / "figures").iterdir()) == ["localisation.png", "sheet_01.png"]


def test_explain__scores_are_in_the_runs_own_precision(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "_cpu_has_bf16", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    whole = pd.read_csv(finished / "predictions_test.csv").set_index("image_id")["score"]
    config = finished / "config.yaml"
    config.write_text(config.read_text().replace("precision: 32-true", "precision: bf16-mixed"))
    explain(finished, "--worst", 1, "--out", finished / "x")
    table = pd.read_csv(finished / "x" / "images.csv").set_index("image_id")
    assert 1e-4 < (table["score"] - whole.loc[table.index]).abs().max() < 0.05


def test_explain__draws_the_image_that_is_named_with_a_layers_feature_maps(finished: Path) -> None:
    image_id = pd.read_csv(finished / "predictions_val.csv")["image_id"].iloc[2]
    layer = ["--layer", "features.block1.conv", "--feature-maps", "--method", "hirescam"]
    explain(finished, "--split", "val", "--image", image_id, *layer)
    folder = finished / "explanations" / "hirescam_val"
    name = f"001_{image_id.replace('/', '_')}"
    assert [path.name for path in (folder / "features").iterdir()] == [f"{name}.png"]
    assert sorted(path.name for path in (folder / "images").iterdir()) == [f"{name}_heat.png", f"{name}_overlay.png"]
    assert "Feature maps of features.block1.conv" in (folder / "explain.html").read_text()


def test_explain__of_another_data_set_measures_its_boxes(finished: Path, phantoms: Path) -> None:
    told = explain(finished, "data=rsna", f"data.root={phantoms / 'rsna'}", "--errors")
    assert "true boxes" in told
    assert "classes by their place" in told
    folder = finished / "explanations" / "gradcam_rsna_all"  # as `pulmo evaluate` does: the run has seen none of them
    table = pd.read_csv(folder / "images.csv")
    assert len(table) == len(list((phantoms / "rsna" / "stage_2_train_images").glob("*.dcm")))
    assert table["area_boxes"].notna().sum() == (table["label"] == 1).sum() > 0
    wrong = table["label"] != table["prediction"]
    assert len(list((folder / "images").glob("*_overlay.png"))) == wrong.sum() > 0


def test_explain__shares_of_true_boxes_are_those_of_the_challenges_csv(finished: Path, phantoms: Path) -> None:
    """Of images that are stretched to a square a box keeps its share of the area."""
    explain(finished, "data=rsna", f"data.root={phantoms / 'rsna'}", "--best", 2, "--out", finished / "x")
    table = pd.read_csv(finished / "x" / "images.csv").set_index("image_id")
    boxes, checked = boxes_of(phantoms / "rsna"), 0
    for image_id, drawn in boxes.items():
        if len(drawn) != 1:  # two may lie over each other
            continue
        path = phantoms / "rsna" / "stage_2_train_images" / f"{image_id}.dcm"
        height, width = read_grey(path).shape
        x1, y1, x2, y2 = drawn[0] / [width, height, width, height]
        assert table.loc[image_id, "area_boxes"] == pytest.approx((x2 - x1) * (y2 - y1), abs=0.03)
        checked += 1
    assert checked > 3
    best = [name[4:-12] for name in sorted(path.name for path in (finished / "x" / "images").glob("*_overlay.png"))]
    assert best == list(table["of_truth"].nlargest(2, keep="last").index)


def test_explain__of_files_leaves_out_what_cannot_be_read(
    finished: Path, phantoms: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    films = tmp_path / "films ü"
    films.mkdir()
    dicom = sorted((phantoms / "rsna" / "stage_2_train_images").glob("*.dcm"))[0]
    shutil.copy(dicom, films / "a film.dcm")
    (films / "text.dcm").write_text("no image")
    cv2.imwrite(str(tmp_path / "wide.png"), np.full((30, 90), 7, np.uint8))
    told = explain(finished, films, tmp_path / "wide.png", "--out", tmp_path / "out")
    assert "where the heat lies" not in told
    assert sorted(path.name for path in (tmp_path / "out" / "images").iterdir()) == [
        *("001_a_film_heat.png", "001_a_film_overlay.png", "002_wide_heat.png", "002_wide_overlay.png"),
    ]
    assert cv2.imread(str(tmp_path / "out" / "images" / "002_wide_overlay.png")).shape == (30, 90, 3)
    assert "text.dcm" in caplog.text


def test_explain__of_files_takes_lungs_from_a_folder(finished: Path, phantoms: Path, tmp_path: Path) -> None:
    masks = {path.stem for path in (phantoms / "kermany_masks").rglob("*.png")}
    films = [path for path in sorted((phantoms / "kermany").rglob("*.jpeg")) if path.stem in masks][:2]
    told = explain(finished, *films, "--lungs", phantoms / "kermany_masks", "--out", tmp_path / "out")
    assert "where the heat lies: files: 2" in told
    assert pd.read_csv(tmp_path / "out" / "images.csv")["heat_lungs"].notna().all()


def test_explain__of_files_takes_lungs_that_a_run_draws(
    finished: Path, lungs: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULMO_CACHE", str(tmp_path / "cache"))
    film = sorted((phantoms / "rsna" / "stage_2_train_images").glob("*.dcm"))[0]
    explain(finished, film, "--lungs", lungs, "--out", tmp_path / "out")
    assert len(list((tmp_path / "cache" / "lung_masks").rglob("*.png"))) == 1
    assert "heat_lungs" in pd.read_csv(tmp_path / "out" / "images.csv")


def test_explain__of_files_asks_a_run_on_lungs_for_masks(finished: Path, phantoms: Path) -> None:
    best = finished / "checkpoints" / "best.ckpt"
    content = torch.load(best, weights_only=True)
    content["pulmo"]["origin"]["preprocess"]["use"] = "lungs"
    torch.save(content, best)
    told = explain(finished, phantoms / "rsna" / "stage_2_train_images", status=1)
    assert "give --lungs=FOLDER" in told


@pytest.mark.parametrize("by_run", [False, True])
def test_explain__of_a_run_on_lungs_takes_those_of_another_data_set_that_are_given(
    finished: Path, lungs: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_run: bool
) -> None:
    monkeypatch.setenv("PULMO_CACHE", str(tmp_path / "cache"))
    best = finished / "checkpoints" / "best.ckpt"
    content = torch.load(best, weights_only=True)
    content["pulmo"]["origin"]["preprocess"]["use"] = "lungs"
    torch.save(content, best)
    of_test = phantoms / "kermany_masks" / "test"  # of the others nobody asks
    assert "where the heat lies: kermany test: 12" in explain(finished, "--lungs", of_test, "--worst", 1)
    (tmp_path / "one").mkdir()
    shutil.copy(next(of_test.rglob("*.png")), tmp_path / "one")
    assert f"--lungs={tmp_path / 'one'} has none for them" in explain(finished, "--lungs", tmp_path / "one", status=1)
    films = sorted((phantoms / "rsna" / "stage_2_train_images").glob("*.dcm"))
    masks = tmp_path / "masks"
    masks.mkdir()
    for film in films:
        cv2.imwrite(str(masks / f"{film.stem}.png"), np.pad(np.full((48, 48), 255, np.uint8), 24))
    given = lungs if by_run else masks
    explain(finished, "data=rsna", f"data.root={phantoms / 'rsna'}", "--lungs", given, "--worst", 2)
    table = pd.read_csv(finished / "explanations" / "gradcam_rsna_all" / "images.csv")
    assert table["heat_lungs"].notna().all()
    assert len(table) == len(films)


def test_explain__of_files_here_and_elsewhere_finds_their_masks(
    finished: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = sorted((phantoms / "kermany").rglob("*.jpeg"))[:2]
    monkeypatch.chdir(films[0].parent)
    for film in films:
        cv2.imwrite(str(tmp_path / f"{film.stem}.png"), np.full((96, 96), 255, np.uint8))
    explain(finished, films[0].name, films[1], "--lungs", tmp_path, "--out", tmp_path / "out")
    assert pd.read_csv(tmp_path / "out" / "images.csv")["heat_lungs"].notna().all()


def test_explain__of_masks_draws_those_that_fit_worst(lungs: Path, tmp_path: Path) -> None:
    recorded = pd.read_csv(lungs / "predictions_test.csv").set_index("image_id")
    told = explain(lungs, "--worst", 2, "--out", tmp_path / "out")
    assert "page: " in told
    table = pd.read_csv(tmp_path / "out" / "images.csv").set_index("image_id")
    np.testing.assert_allclose(table["dice"], recorded.loc[table.index, "dice"], atol=0.005)
    drawn = sorted(path.name[4:-12] for path in (tmp_path / "out" / "images").glob("*_overlay.png"))
    assert drawn == sorted(name.replace("/", "_") for name in table["dice"].nsmallest(2).index)
    assert "by the Dice of their masks: 2" in (tmp_path / "out" / "explain.html").read_text()


def test_explain__of_masks_of_files_tells_their_dice_where_masks_are_given(
    lungs: Path, phantoms: Path, tmp_path: Path
) -> None:
    masks = {path.stem for path in (phantoms / "kermany_masks").rglob("*.png")}
    films = [path for path in sorted((phantoms / "kermany").rglob("*.jpeg")) if path.stem in masks][:3]
    explain(lungs, *films, "--lungs", phantoms / "kermany_masks", "--worst", 1, "--out", tmp_path / "out")
    assert pd.read_csv(tmp_path / "out" / "images.csv")["dice"].between(0, 1).all()
    assert "--worst needs labels" in explain(lungs, *films, "--worst", 1, "--out", tmp_path / "two", status=1)
    explain(lungs, *films, "--out", tmp_path / "two")
    assert pd.read_csv(tmp_path / "two" / "images.csv")["dice"].isna().all()


def test_explain__of_another_checkpoint_has_its_own_folder(finished: Path) -> None:
    later = shutil.copy(finished / "checkpoints" / "best.ckpt", finished / "checkpoints" / "later.ckpt")
    explain(later, "--worst", 1)
    folder = finished / "explanations" / "gradcam_test_later"
    assert "checkpoint later" in (folder / "explain.html").read_text()
    assert not (finished / "explanations" / "gradcam_test").exists()


def test_probe__prints_its_table_and_a_verdict(finished: Path) -> None:
    told = explain(finished, "--probe")
    folder = finished / "explanations" / "probe_test"
    names = [
        "whole image",
        "lungs only",
        "centre only",
        "lungs removed",
        "lung box removed",
        "borders only",
        "outline alone",
    ]
    for name in names:
        assert name in told
    content = json.loads((folder / "probe.json").read_text())
    assert list(content["rows"]) == names
    assert ("told on: " in told) == content["told_on"]
    recorded = json.loads((finished / "metrics.json").read_text())
    assert content["rows"]["whole image"]["auroc"][0] == pytest.approx(recorded["test/auroc"], abs=1e-6)
    page = (folder / "explain.html").read_text()
    assert content["verdict"][0][1:] in page
    assert len(pd.read_csv(folder / "probe_scores.csv")) == content["rows"]["whole image"]["images"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--worst", "3", "--errors"], "--worst and --errors: give one of them"),
        (["--layer", "block9"], "layer block9 gives no map"),
        (["--method", "gradcamm"], "no method 'gradcamm'; there are gradcam"),
        (["--image", "nobody"], "no image nobody in kermany test; ids are such as"),
        (["nowhere.png"], "no file or folder nowhere.png"),
        (["data.rooot=x"], "did you mean data.root?"),
        (["model=resnet50"], "the run stays as it is"),
        (["--lungs", "nowhere"], "--lungs=nowhere: no such folder"),
        (["data=rsna", "data.labels=three_class"], "give data.labels=binary"),
    ],
)
def test_explain__tells_a_mistake_in_a_line(finished: Path, phantoms: Path, arguments: list[str], said: str) -> None:
    given = [*arguments, f"data.root={phantoms / 'rsna'}"] if "data=rsna" in arguments else arguments
    told = explain(finished, *given, status=1)
    assert said in told
    assert len(told.strip().splitlines()) == 1


def test_explain__of_files_has_no_worst(finished: Path, phantoms: Path) -> None:
    told = explain(finished, phantoms / "rsna" / "stage_2_train_images", "--worst", 3, status=1)
    assert "--worst needs labels" in told


def test_explain__of_a_folder_without_its_parts_says_which(finished: Path) -> None:
    (finished / "split.csv").unlink()
    assert "has no split.csv" in explain(finished, status=1)
    shutil.rmtree(finished / "checkpoints")
    assert "has no checkpoints/best.ckpt" in explain(finished, status=1)


def test_explain__of_a_read_only_folder_asks_for_another(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "give another --out" in explain(finished, "--out", tmp_path / "file" / "below", status=1)
