"""`pulmo evaluate`, as a user types it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from typer.testing import CliRunner

from pulmo.cli import app
from tests.conftest import figures_of

QUICK = ["--resamples", "100"]


def evaluate(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments), *QUICK])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture
def drawn() -> None:
    """Asked for by the tests that look at figures."""


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing where nobody looks: ten figures take two seconds."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("pulmo.evaluation.folder.draw", lambda evaluation: {})


@pytest.fixture
def own(classifier: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be written into and broken."""
    return Path(shutil.copytree(classifier, tmp_path / "runs" / "copy"))


def facts_of(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "evaluation.json").read_text()))


def test_own_test_split__needs_neither_network_nor_images(own: Path, drawn: None) -> None:
    shutil.rmtree(own / "checkpoints")
    status, output = evaluate(own, "--prevalence", "0.05")
    assert status == 0
    folder = own / "evaluations" / "rsna_test"
    assert {path.name for path in folder.iterdir()} == {
        *("evaluation.json", "predictions.csv", "metrics.json", "intervals.csv", "figures", "evaluation.html")
    }
    figures = figures_of(own)
    assert figures_of(folder)["auroc"] == figures["test/auroc"]
    intervals = pd.read_csv(folder / "intervals.csv", index_col="figure")
    assert intervals.loc["sensitivity", "value"] == pytest.approx(figures["test/sensitivity"])
    assert intervals.loc["npv_at@own", "value"] <= 1
    facts = facts_of(folder)
    assert (facts["images"], facts["threshold"]) == (figures["test/images"], figures["threshold"])
    assert facts["phantom"]
    assert "not patients" in output
    assert "PPV at 5 %" in output


def test_own_test_split__by_the_network_again_gives_the_runs_predictions(own: Path) -> None:
    assert evaluate(own, "--again", "strategy=cpu")[0] == 0
    folder = own / "evaluations" / "rsna_test"
    again, before = pd.read_csv(folder / "predictions.csv"), pd.read_csv(own / "predictions_test.csv")
    assert list(again.columns) == list(before.columns)
    np.testing.assert_allclose(again["score"], before["score"], atol=1e-12)
    assert (again["prediction"] == before["prediction"]).all()
    figures = figures_of(own)
    assert {f"test/{name}": value for name, value in figures_of(folder).items()}.items() <= figures.items()


def test_own_test_split__is_found_where_the_data_has_moved(own: Path, phantoms: Path, tmp_path: Path) -> None:
    shutil.copytree(phantoms / "rsna", tmp_path / "moved here")
    assert evaluate(own, f"data.root={tmp_path / 'moved here'}", f"data.cache_dir={tmp_path}", "strategy=cpu")[0] == 0
    predictions = pd.read_csv(own / "evaluations" / "rsna_test" / "predictions.csv")
    assert sorted(predictions["image_id"]) == sorted(pd.read_csv(own / "predictions_test.csv")["image_id"])
    assert predictions["path"].str.contains("moved here").all()


def test_own_test_split__of_another_machine_takes_this_ones_cache(
    own: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = OmegaConf.load(own / "config.yaml")
    config.data.root, config.data.cache_dir = "/elsewhere/rsna", "/elsewhere/cache"
    OmegaConf.save(config, own / "config.yaml")
    monkeypatch.setenv("PULMO_CACHE", str(tmp_path / "cache"))
    status, output = evaluate(own, "--again")
    assert status == 1
    assert "no folder /elsewhere/rsna: give data.root=FOLDER" in output
    assert evaluate(own, f"data.root={phantoms / 'rsna'}", "strategy=cpu")[0] == 0
    assert any((tmp_path / "cache").iterdir())


def test_phantoms__a_run_that_learnt_from_them_is_told_where_real_images_are_measured(
    own: Path, phantoms: Path, tmp_path: Path
) -> None:
    real = shutil.copytree(phantoms / "kermany", tmp_path / "real")
    (real / "PHANTOM.txt").unlink()
    status, output = evaluate(own, "data=kermany", f"data.root={real}", "data.cache=ram", "strategy=cpu")
    assert status == 0, output
    assert "the run was trained on drawn phantoms" in output


def test_all__leaves_out_what_the_run_has_seen(own: Path, phantoms: Path) -> None:
    status, output = evaluate(own, "--split", "all", "data=rsna", f"data.root={phantoms / 'rsna'}", "data.cache=ram")
    assert status == 0
    split = pd.read_csv(own / "split.csv")
    seen = split[split["split"] != "test"]
    predictions = pd.read_csv(own / "evaluations" / "rsna_all" / "predictions.csv")
    assert len(predictions) > 0
    assert not set(predictions["image_id"]) & set(seen["image_id"])
    assert not set(predictions["patient_id"].astype(str)) & set(seen["patient_id"].astype(str))
    assert f"left out: {len(seen)} images that the run was trained or chosen on" in output


def test_another_data_set__is_measured_whole_at_the_runs_cut_off(own: Path, phantoms: Path, drawn: None) -> None:
    status, output = evaluate(
        own, "data=kermany", f"data.root={phantoms / 'kermany'}", "data.cache=ram", "strategy=cpu"
    )
    assert status == 0
    folder = own / "evaluations" / "kermany_all"
    facts, figures = facts_of(folder), figures_of(own)
    assert (facts["data"], facts["split"], facts["trained_on"], facts["images"]) == ("kermany", "all", "rsna", 60)
    assert facts["threshold"] == figures["threshold"]
    assert "external: the run was trained on rsna" in output
    assert "NORMAL counts as No Lung Opacity" in output
    table = pd.read_csv(folder / "predictions.csv")
    assert (table["prediction"] == (table["score"] >= figures["threshold"])).all()
    assert (folder / "evaluation.html").read_text().count("<img") >= 5


def test_another_data_set__its_official_test_alone(own: Path, phantoms: Path) -> None:
    arguments = ["data=kermany", f"data.root={phantoms / 'kermany'}", "data.cache=ram", "--split", "test"]
    assert evaluate(own, *arguments)[0] == 0
    table = pd.read_csv(own / "evaluations" / "kermany_test" / "predictions.csv")
    assert 0 < len(table) < 60
    assert table["image_id"].str.startswith("test/").all()


def test_validation__is_measured_when_asked_for_and_told(own: Path) -> None:
    status, output = evaluate(own, "--split", "val")
    assert status == 0
    assert "its cut-offs were fitted on them" in output
    table = pd.read_csv(own / "evaluations" / "rsna_val" / "predictions.csv")
    assert len(table) == figures_of(own)["val/images"]


def test_cut_off__comes_from_the_checkpoint_where_the_figures_lack(own: Path) -> None:
    threshold = figures_of(own)["threshold"]
    (own / "metrics.json").write_text("{}")
    assert evaluate(own)[0] == 0
    assert facts_of(own / "evaluations" / "rsna_test")["threshold"] == pytest.approx(threshold)


@pytest.mark.parametrize("asked", ["0.25", "youden", "sensitivity"])
def test_threshold__decides_anew_without_the_network(own: Path, asked: str) -> None:
    shutil.rmtree(own / "checkpoints")
    assert evaluate(own, "--threshold", asked)[0] == 0
    folder = own / "evaluations" / f"rsna_test_threshold-{asked}"
    table, cut = pd.read_csv(folder / "predictions.csv"), facts_of(folder)["threshold"]
    assert isinstance(cut, float)
    assert (table["prediction"] == (table["score"] >= cut)).all()
    right = (table["prediction"] == table["label"]).mean()
    assert figures_of(folder)["accuracy"] == pytest.approx(right)
    assert pd.read_csv(folder / "intervals.csv", index_col="figure").loc["accuracy@asked", "value"] == pytest.approx(
        right
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--threshold", "best"], "youden, f1"),
        (["--threshold", "1.5"], "a score between 0 and 1"),
        (["--prevalence", "5"], "a share above 0, below 1"),
        (["model=resnet50"], "the run stays as it is"),
        (["data.split=auto"], "--split says which images"),
        (["data=rsnaa"], "no data=rsnaa; did you mean rsna?"),
        (["data.rooot=/x"], "did you mean data.root?"),
        (["data.root=/nowhere"], "no folder /nowhere"),
    ],
)
def test_mistakes__are_told_in_a_line(own: Path, arguments: list[str], said: str) -> None:
    status, output = evaluate(own, *arguments)
    assert status == 1
    assert said in output
    assert "Traceback" not in output


def test_other_classes__are_refused_with_the_remedy(own: Path, phantoms: Path) -> None:
    status, output = evaluate(own, "data=rsna", f"data.root={phantoms / 'rsna'}", "data.labels=three_class")
    assert status == 1
    assert "give data.labels=binary" in output


@pytest.mark.parametrize("names", ["[pneumonia,normal]", "['Lung Opacity','No Lung Opacity']"])
def test_classes_in_another_order__are_never_taken_by_their_place(
    own: Path, phantoms: Path, tmp_path: Path, names: str
) -> None:
    for label, old in (("No Lung Opacity", "NORMAL"), ("Lung Opacity", "PNEUMONIA")):
        shutil.copytree(phantoms / "kermany" / "test" / old, tmp_path / "folder" / label)
    status, output = evaluate(own, "data=folder", f"data.root={tmp_path / 'folder'}", f"data.classes={names}")
    assert status == 1
    assert "Traceback" not in output
    assert ("give data.classes in the run's order" in output) == names.startswith("['Lung")


def test_prevalence__of_several_classes_is_refused(own: Path) -> None:
    table = pd.read_csv(own / "predictions_test.csv").assign(score_a=0.2, score_b=0.3, score_c=0.5)
    table.to_csv(own / "predictions_test.csv", index=False)
    status, output = evaluate(own, "--prevalence", "0.1")
    assert status == 1
    assert "PPV and NPV are of two classes" in output


def test_run_without_validation__measures_the_rest_and_says_so(own: Path) -> None:
    (own / "predictions_val.csv").unlink()
    status, output = evaluate(own)
    assert status == 0
    assert "predictions_val.csv" in output
    assert "Youden, best F1, 95 % sensitivity: no validation predictions to fit it on" in output
    status, output = evaluate(own, "--threshold", "youden")
    assert status == 1
    assert "give a number" in output


def test_run_without_parts__says_which(own: Path, phantoms: Path) -> None:
    (own / "predictions_test.csv").unlink()
    (own / "split.csv").unlink()
    status, output = evaluate(own)
    assert status == 1
    assert "no split.csv" in output
    place = ["data=kermany", f"data.root={phantoms / 'kermany'}", "data.cache=ram"]
    status, output = evaluate(own, *place)
    assert status == 0
    assert "nobody knows whether it was trained on some of these images" in output
    shutil.rmtree(own / "checkpoints")
    status, output = evaluate(own, *place)
    assert status == 1
    assert "checkpoints/best.ckpt" in output


@pytest.mark.parametrize("name", ["metrics.json", "checkpoints/best.ckpt"])
def test_part_that_breaks_off__is_told(own: Path, phantoms: Path, name: str) -> None:
    whole = (own / name).read_bytes()
    (own / name).write_bytes(whole[: len(whole) // 2])
    status, output = evaluate(own, "data=kermany", f"data.root={phantoms / 'kermany'}", "data.cache=ram")
    assert status == 1
    assert name in output


def test_checkpoint_of_another_version__is_told(own: Path) -> None:
    path = own / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["pulmo"]["origin"]["task"]["threshold"] = {"_target_": "pulmo.thresholds.Gone"}
    torch.save(content, path)
    status, output = evaluate(own, "--again")
    assert status == 1
    assert "cannot be rebuilt by this version of pulmo: Error locating target 'pulmo.thresholds.Gone'" in output


def test_spoilt_predictions__are_told(own: Path) -> None:
    table = pd.read_csv(own / "predictions_test.csv")
    table.assign(score=np.nan).to_csv(own / "predictions_test.csv", index=False)
    status, output = evaluate(own)
    assert status == 1
    assert "no score between 0 and 1" in output
    (own / "predictions_test.csv").write_text("")
    status, output = evaluate(own)
    assert status == 1
    assert "predictions_test.csv cannot be read: No columns" in output
    assert "--again computes it anew" in output


def test_lungs__have_a_sheet_of_masks(lungs: Path, tmp_path: Path, drawn: None) -> None:
    assert evaluate(lungs, "--out", tmp_path)[0] == 0
    intervals = pd.read_csv(tmp_path / "intervals.csv", index_col="figure")
    figures = figures_of(lungs)
    for name in ("dice", "iou", "dice_with_empty", "pixel_accuracy"):
        assert intervals.loc[name, "value"] == pytest.approx(figures[f"test/{name}"], abs=1e-6)
    assert (tmp_path / "figures" / "dice.png").is_file()


def test_opacities__have_sheets_of_masks_boxes_and_images(opacities: Path, tmp_path: Path, drawn: None) -> None:
    assert evaluate(opacities, "--out", tmp_path)[0] == 0
    intervals = pd.read_csv(tmp_path / "intervals.csv", index_col="figure")
    figures = figures_of(opacities)
    for name in ("dice", "auroc", "box_sensitivity", "false_positives_per_image", "froc_score"):
        assert intervals.loc[name, "value"] == pytest.approx(figures[f"test/{name}"], abs=1e-4), name
    assert evaluate(opacities, "--threshold", "0.3", "strategy=cpu", "--out", tmp_path / "other")[0] == 0
    assert figures_of(tmp_path / "other")["dice"] != figures["test/dice"]
    status, output = evaluate(opacities, "--threshold", "youden")
    assert status == 1
    assert "give a number" in output


def test_three_classes__have_a_sheet_of_their_own(train: Callable[..., Path], tmp_path: Path, drawn: None) -> None:
    folder = train("data.labels=three_class", "trainer.max_epochs=1", "logger=csv", data="kermany")
    status, output = evaluate(folder, "--out", tmp_path / "out")
    assert status == 0
    intervals = pd.read_csv(tmp_path / "out" / "intervals.csv", index_col="figure")
    figures = figures_of(folder)
    assert intervals.loc["accuracy", "value"] == pytest.approx(figures["test/accuracy"])
    assert intervals.loc["sensitivity/VIRUS", "value"] == pytest.approx(figures["test/sensitivity/VIRUS"])
    assert "the likeliest class" in output
    for asked in ("0.3", "youden"):
        status, output = evaluate(folder, "--threshold", asked)
        assert status == 1
        assert "without a cut-off" in output
    (folder / "predictions_val.csv").unlink()
    status, output = evaluate(folder, "--threshold", "0.3")
    assert status == 1
    assert "without a cut-off" in output
