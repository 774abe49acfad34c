"""Where `pulmo evaluate` writes: a folder for each kind of measurement, of one measurement each."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.conftest import figures_of
from tests.integration.test_evaluate import evaluate, facts_of


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take two seconds, and nobody looks at them here."""
    monkeypatch.setattr("pulmo.evaluation.folder.draw", lambda evaluation: {})


@pytest.fixture
def own(classifier: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be written into."""
    return Path(shutil.copytree(classifier, tmp_path / "runs" / "copy"))


def folders_of(own: Path) -> set[str]:
    return {path.name for path in (own / "evaluations").iterdir()}


def test_another_checkpoint__is_measured_at_its_own_cut_off_with_nothing_fitted_on_the_best(own: Path) -> None:
    content = torch.load(own / "checkpoints" / "best.ckpt", weights_only=True)
    key = next(name for name in content["state_dict"] if name.endswith("weight"))
    content["state_dict"][key] *= 0.5
    torch.save(content, own / "checkpoints" / "last.ckpt")
    assert evaluate(own)[0] == 0
    status, output = evaluate(own / "checkpoints" / "last.ckpt", "strategy=cpu")
    assert status == 0
    assert ", checkpoint last on rsna" in output
    assert "checkpoint last's own" in output
    assert "predictions of best.ckpt alone" in output
    assert "Youden, best F1, 95 % sensitivity: no validation predictions" in output
    assert folders_of(own) == {"rsna_test", "rsna_test_last"}
    folder = own / "evaluations" / "rsna_test_last"
    assert facts_of(folder)["checkpoint"] == "last"
    assert "at_temperature" not in (folder / "intervals.csv").read_text()
    status, output = evaluate(own / "checkpoints" / "last.ckpt", "--threshold", "youden")
    assert (status, "give a number" in output) == (1, True)
    assert evaluate(own / "checkpoints" / "best.ckpt")[0] == 0
    assert folders_of(own) == {"rsna_test", "rsna_test_last"}


def test_another_measurement__has_a_folder_of_its_own_and_the_same_one_is_replaced(
    own: Path, phantoms: Path, tmp_path: Path
) -> None:
    assert evaluate(own)[0] == 0
    assert evaluate(own, "--threshold", "0.9")[0] == 0
    moved = shutil.copytree(phantoms / "rsna", tmp_path / "moved")
    for _ in range(2):
        assert evaluate(own, f"data.root={moved}", "data.cache=ram", "strategy=cpu")[0] == 0
    assert folders_of(own) == {"rsna_test", "rsna_test_threshold-0.9", "rsna_test_2"}
    assert facts_of(own / "evaluations" / "rsna_test")["threshold"] == figures_of(own)["threshold"]
    assert facts_of(own / "evaluations" / "rsna_test_threshold-0.9")["threshold_given"] == "0.9"
    assert facts_of(own / "evaluations" / "rsna_test_2")["root"] == str(moved)


def test_same_measurement__leaves_nothing_of_the_earlier_one(own: Path) -> None:
    assert evaluate(own)[0] == 0
    folder = own / "evaluations" / "rsna_test"
    (folder / "boxes.csv").touch()
    (folder / "figures").mkdir()
    (folder / "figures" / "froc.png").touch()
    (folder / "my notes.txt").touch()
    assert evaluate(own, "--prevalence", "0.1")[0] == 0
    assert not (folder / "boxes.csv").exists()
    assert not any((folder / "figures").iterdir())
    assert (folder / "my notes.txt").exists()
    assert facts_of(folder)["prevalence"] == 0.1


def test_page_that_cannot_be_drawn__leaves_the_earlier_evaluation_whole(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate(own)[0] == 0
    folder = own / "evaluations" / "rsna_test"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fails(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pulmo.evaluation.folder.page_of", fails)
    status, output = evaluate(own, "--prevalence", "0.1")
    assert (status, "No space left on device" in output) == (1, True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_folder_that_cannot_be_written__names_the_remedy(own: Path, tmp_path: Path) -> None:
    (own / "evaluations").write_text("a file where the folder should be")
    status, output = evaluate(own)
    assert status == 1
    assert "give --out FOLDER" in output
    assert evaluate(own, "--out", tmp_path / "elsewhere")[0] == 0
    assert (tmp_path / "elsewhere" / "evaluation.html").is_file()


@pytest.mark.parametrize("out", [".", "evaluations"])
def test_out__that_holds_other_files_is_refused(own: Path, out: str) -> None:
    before = (own / "metrics.json").read_bytes()
    (own / "evaluations").mkdir()
    (own / "evaluations" / "mine.txt").touch()
    status, output = evaluate(own, "--out", own / out)
    assert status == 1
    assert "holds other files, and no earlier evaluation: give an empty folder" in output
    assert (own / "metrics.json").read_bytes() == before


def test_intervals__stand_in_their_columns_and_the_page_warns(own: Path) -> None:
    assert evaluate(own, "--split", "val")[0] == 0
    folder = own / "evaluations" / "rsna_val"
    table = pd.read_csv(folder / "intervals.csv").dropna()
    assert (table["low"] <= table["value"] + 1e-9).all()
    assert (table["value"] <= table["high"] + 1e-9).all()
    assert (table["low"] < table["high"]).any()
    page = (folder / "evaluation.html").read_text()
    assert 'class="warning">these are the run&#39;s validation images' in page
    assert "on these very images" in page
    assert "never on these images" not in page
    assert evaluate(own)[0] == 0
    assert "never on these images" in (own / "evaluations" / "rsna_test" / "evaluation.html").read_text()


def test_stored_predictions__that_lack_images_are_told_and_measured_as_they_are(own: Path) -> None:
    table = pd.read_csv(own / "predictions_test.csv", dtype={"image_id": str})
    kept = table.drop(index=table.index[table["label"] == 0][:2])
    kept.to_csv(own / "predictions_test.csv", index=False)
    status, output = evaluate(own)
    assert status == 0
    assert f"2 of {len(table)} test images of the run are not there, such as " in output
    figures = figures_of(own / "evaluations" / "rsna_test")
    assert figures["accuracy"] == pytest.approx((kept["prediction"] == kept["label"]).mean())
    intervals = pd.read_csv(own / "evaluations" / "rsna_test" / "intervals.csv", index_col="figure")
    assert intervals.loc["auroc", "value"] == pytest.approx(figures["auroc"], abs=1e-6)


def test_validation__that_is_spoilt_costs_what_is_fitted_alone(own: Path) -> None:
    table = pd.read_csv(own / "predictions_val.csv")
    table.drop(columns="label").to_csv(own / "predictions_val.csv", index=False)
    status, output = evaluate(own, "--threshold", "0.3")
    assert status == 0
    assert "predictions_val.csv has no column label" in output


def test_run_without_its_configuration__is_measured_on_another_data_set(own: Path, phantoms: Path) -> None:
    for name in ("config.yaml", "composed.yaml", "overrides.yaml"):
        (own / name).unlink()
    place = ["data=kermany", f"data.root={phantoms / 'kermany'}", "data.cache=ram", "strategy=cpu"]
    status, output = evaluate(own, *place)
    assert status == 0, output
    assert "60 images" in output


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+data=rsnaa", "no data=rsnaa"),
        ("data.preprocess.size=64", "how they are prepared is the run's"),
        ("data.split_seed=3", "--split says which images"),
        ("~data.root", "is no option"),
    ],
)
def test_overrides__are_taken_or_refused_and_never_passed_over(own: Path, override: str, said: str) -> None:
    status, output = evaluate(own, override)
    assert status == 1
    assert said in output


def test_overrides__with_a_plus_name_the_data_all_the_same(own: Path, phantoms: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(phantoms / "rsna", tmp_path / "moved")
    assert evaluate(own, f"++data.root={moved}", "data.cache=ram", "strategy=cpu")[0] == 0
    assert facts_of(own / "evaluations" / "rsna_test")["root"] == str(moved)


def test_weights_of_a_run__that_has_learnt_the_test_images_are_told(own: Path, tmp_path: Path) -> None:
    split = pd.read_csv(own / "split.csv", dtype=str)
    earlier = tmp_path / "earlier"
    (earlier / "checkpoints").mkdir(parents=True)
    shutil.copy(own / "checkpoints" / "best.ckpt", earlier / "checkpoints")
    shutil.copy(own / "config.yaml", earlier)
    split.assign(split="train").to_csv(earlier / "split.csv", index=False)
    config = (own / "config.yaml").read_text()
    assert "weights: none" in config
    weights = f"weights: {earlier / 'checkpoints' / 'best.ckpt'}"
    (own / "config.yaml").write_text(config.replace("weights: none", weights, 1))
    status, output = evaluate(own)
    assert status == 0
    assert "test images are ones that" in output
    assert "the run whose weights it began with, was trained or chosen on: the figures are too good" in output


def test_skipped_images__are_counted_where_they_would_have_been_measured(
    own: Path, phantoms: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(phantoms / "kermany", tmp_path / "moved"))
    film = next((moved / "test").rglob("*.jpeg"))
    film.write_bytes(b"")
    place = ["data=kermany", f"data.root={moved}", "data.cache=ram", "data.on_error=skip", "strategy=cpu"]
    status, output = evaluate(own, *place)
    assert status == 0
    assert "left out: 1 images that cannot be read" in output


def test_another_hospital__numbered_alike_in_part_is_measured_whole(own: Path, phantoms: Path, tmp_path: Path) -> None:
    split = pd.read_csv(own / "split.csv", dtype=str)
    pd.concat([split[:2], split.assign(image_id=split["image_id"] + "b", patient_id=split["patient_id"] + "b")]).to_csv(
        own / "split.csv", index=False
    )
    place = ["data=rsna", f"data.root={phantoms / 'rsna'}", "data.cache=ram", "strategy=cpu"]
    status, output = evaluate(own, *place)
    assert status == 0
    facts = facts_of(own / "evaluations" / "rsna_all")
    assert facts["own"] is False
    assert facts["images"] == len(split)
    assert f"2 of {len(split)} image ids are the run's" in output
    assert "copies under other names were not looked for" in str(facts["told_apart"])


def test_masks__unlabelled_images_are_no_second_class(lungs: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lungs, tmp_path / "lungs"))
    table = pd.read_csv(folder / "predictions_test.csv").assign(label=1, score=0.5)
    table.loc[:1, "label"] = -1
    table.to_csv(folder / "predictions_test.csv", index=False)
    status, output = evaluate(folder, "--out", tmp_path / "out")
    assert status == 0
    assert "AUROC" not in output
    assert facts_of(tmp_path / "out")["images"] == len(table) - 2


def test_stored_predictions__of_training_patients_are_told(own: Path) -> None:
    split = pd.read_csv(own / "split.csv", dtype=str)
    tested = split.index[split["split"] == "test"][0]
    split.loc[split.index[split["split"] == "train"][0], "patient_id"] = split.loc[tested, "patient_id"]
    split.to_csv(own / "split.csv", index=False)
    status, output = evaluate(own)
    assert status == 0
    assert "test images are of patients that the run was trained or chosen on" in output


def test_moved_data__that_lacks_test_images_is_told(own: Path, phantoms: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(phantoms / "rsna", tmp_path / "moved"))
    split = pd.read_csv(own / "split.csv", dtype=str)
    lost = split.loc[split["split"] == "test", "image_id"].iloc[0]
    labels = pd.read_csv(moved / "stage_2_train_labels.csv", dtype=str)
    labels[labels["patientId"] != lost].to_csv(moved / "stage_2_train_labels.csv", index=False)
    status, output = evaluate(own, f"data.root={moved}", "data.cache=ram", "strategy=cpu")
    assert status == 0
    count = (split["split"] == "test").sum()
    assert f"1 of {count} test images of the run are not there, such as {lost}" in output
