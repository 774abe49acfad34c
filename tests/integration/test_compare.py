"""`pulmo compare RUNS…`: typed as a user would, on the folders of runs that phantoms were never needed for."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner, Result

from pulmo.cli import app
from pulmo.comparison.chosen import chosen
from pulmo.comparison.compare import compared
from pulmo.comparison.pairs import DECISIONS, apart_of, signed
from pulmo.comparison.telling import written
from pulmo.comparison.tested import tested as measured
from pulmo.finished import opened

SHORT = ["--resamples", "200"]


def run_folder(
    folder: Path,
    *,
    images: Sequence[str],
    noise: float = 0.6,
    choices: dict[str, str] | None = None,
    overrides: Sequence[str] = (),
    state: str | None = "finished",
    **config: object,
) -> Path:
    """A finished classifier's folder: half of its images positive, two images a patient, scores as good as `noise`."""
    rng = np.random.default_rng(sum(map(ord, folder.name)))
    labels = np.arange(len(images)) % 2
    scores = 1 / (1 + np.exp(-2 * (labels - 0.5 + rng.normal(0, noise, len(images)))))
    table = pd.DataFrame({"image_id": images, "patient_id": [f"p{n // 2}" for n in range(len(images))]})
    table = table.assign(label=labels, score=scores, prediction=(scores >= 0.5).astype(int))
    figures = {"test/accuracy": float((table["prediction"] == labels).mean()), "test/auroc": 0.8, "threshold": 0.5}
    folder.mkdir(parents=True)
    table.to_csv(folder / "predictions_test.csv", index=False)
    (folder / "metrics.json").write_text(json.dumps({**figures, "val/auroc": 1 - noise / 10, "test/loss": 0.3}))
    chosen = {"data": "kermany", "model": "resnet18", **(choices or {})}
    data = {"root": f"/data/{folder.name}", "folds": None, "fold": None, "batch_size": 8}
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"seed": 0, "run_dir": str(folder), "choices": chosen, "data": data, **config})
    )
    (folder / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    history = pd.DataFrame({"epoch": [0, 1], "val/loss": [0.7, 0.6], "val/auroc": [0.7, 0.8]})
    history.to_csv(folder / "history.csv", index=False)
    if state:
        known = {"state": state, "began": "2026-01-01T00:00:00+00:00", "ended": "2026-01-01T00:01:00+00:00"}
        (folder / "state.json").write_text(json.dumps({**known, "cause": "no space" if state == "failed" else None}))
    return folder


IMAGES = [f"image {n}" for n in range(60)]


def typed(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments), *SHORT])


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page" / "compare.html"


def test_compare__ranks_by_validation_and_tests_pairs_on_the_same_images(tmp_path: Path, page: Path) -> None:
    worse = run_folder(tmp_path / "worse", images=IMAGES, noise=2.0, choices={"model": "vgg16"})
    better = run_folder(tmp_path / "better", images=IMAGES[::-1], noise=0.4)  # in another order: paired by id
    # the order of the labels follows the ids, not the rows
    table = pd.read_csv(better / "predictions_test.csv").sort_values(
        "image_id", key=lambda ids: ids.str[6:].astype(int)
    )
    known = pd.read_csv(worse / "predictions_test.csv")["label"].to_numpy()
    table["score"] = np.where(known == 1, 0.9 - table.index / 1000, 0.1 + table.index / 1000)
    table = table.assign(
        label=known, prediction=known, patient_id=pd.read_csv(worse / "predictions_test.csv")["patient_id"]
    )
    table.sort_values("score").to_csv(better / "predictions_test.csv", index=False)

    result = typed(worse, better, "--out", page)
    assert result.exit_code == 0, result.output
    assert result.output.index("│ better") < result.output.index("│ worse")
    assert "1.000" in result.output  # the AUROC of the perfect one, which no resample changes: without an interval
    assert "McNemar's test" in result.output
    assert "60 images are of 30 patients" in result.output  # told where images of a patient are several
    assert result.output.strip().endswith(str(page))


def test_compare__the_page_needs_no_network_and_says_what_differs(tmp_path: Path, page: Path) -> None:
    first = run_folder(tmp_path / "a", images=IMAGES, choices={"model": "vgg16"}, optimizer={"lr": 0.1})
    second = run_folder(tmp_path / "b", images=IMAGES, optimizer={"lr": 0.2})
    assert typed(first, second, "--out", page).exit_code == 0
    text = page.read_text()
    assert "http" not in text.replace("http-equiv", "")
    assert 'src="data:image/png;base64,' in text
    for told in ("optimizer.lr", "0.1", "0.2", "DeLong", "McNemar", "by epoch", "Leaderboard"):
        assert told.lower() in text.lower()
    assert "data.root" not in text  # where the data lie is no difference
    assert "run_dir" not in text


def test_compare__runs_tested_on_different_images_are_refused_with_the_reason(tmp_path: Path, page: Path) -> None:
    first, second = run_folder(tmp_path / "a", images=IMAGES), run_folder(tmp_path / "b", images=IMAGES[4:])
    result = typed(first, second, "--out", page)
    assert result.exit_code == 1
    told = result.stderr
    assert "tested on different images" in told
    assert "4 images only in the test set of a, such as image 0" in told
    assert f"data.split={first}/split.csv" in told
    assert not page.exists()

    asked = typed(first, second, "--any", "--out", page)
    assert asked.exit_code == 0
    assert "kermany, test set: 60 images" in asked.output
    assert "kermany, test set: 56 images" in asked.output
    assert "McNemar" not in asked.output  # nothing that could be paired


def test_compare__another_label_is_another_test_set(tmp_path: Path) -> None:
    first, second = run_folder(tmp_path / "a", images=IMAGES), run_folder(tmp_path / "b", images=IMAGES)
    table = pd.read_csv(second / "predictions_test.csv")
    table.loc[7, "label"] = 1 - table.loc[7, "label"]
    table.to_csv(second / "predictions_test.csv", index=False)
    assert "1 images with another label, such as image 7" in typed(first, second).stderr


@pytest.mark.parametrize("argument", ["outputs", "outputs/**", "outputs/*/*", "outputs/multirun/2026-03-05_10-42-07"])
def test_compare__folders_patterns_and_sweeps_stand_for_their_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = tmp_path / "outputs" / "multirun" / "2026-03-05_10-42-07"
    for seed in range(2):
        run_folder(sweep / f"resnet18_seed={seed}", images=IMAGES, seed=seed, overrides=[f"seed={seed}"])
    run_folder(sweep / "resnet18_seed=9", images=IMAGES, seed=9, state="failed")
    (evaluation := sweep / "resnet18_seed=0" / "evaluations" / "rsna_test").mkdir(parents=True)
    (evaluation / "metrics.json").write_text('{"auroc": 0.6}')
    result = typed(argument)
    assert result.exit_code == 0, result.output
    assert "mean ± SD over seeds" in result.output
    assert "resnet18_seed=1" in result.output
    assert result.output.count("left out") == 1  # what a run keeps inside is none
    assert "failed: no space" in result.output
    assert (tmp_path / "outputs" / "compare.html").is_file()


def test_compare__folds_are_no_common_test_set_and_yet_belong_together(tmp_path: Path, page: Path) -> None:
    folds = [
        run_folder(tmp_path / f"fold {k}", images=IMAGES[20 * k : 20 * k + 20], data={"folds": 3, "fold": k})
        for k in range(3)
    ]
    result = typed(*folds, "--out", page)
    assert result.exit_code == 0, result.stderr
    assert "3 of 3 folds, 60 test images together" in result.output
    assert "mean ± SD over folds" in result.output
    assert "nothing can be paired" in page.read_text()


def test_compare__segmentations_are_paired_by_their_dice(tmp_path: Path, page: Path) -> None:
    folders = []
    for name, quality in (("good", 0.9), ("poor", 0.6)):
        folder = run_folder(tmp_path / name, images=IMAGES)
        table = pd.read_csv(folder / "predictions_test.csv").assign(
            dice=quality, iou=quality - 0.1, true_area=0.3, label=1
        )
        table.assign(dice=table["dice"] + np.arange(60) / 1000).to_csv(folder / "predictions_test.csv", index=False)
        folders.append(folder)
    result = typed(*folders, "--out", page)
    assert "Dice, mean over images" in result.output
    assert "+0.300 (+0.300 to +0.300)" in result.output
    assert "DeLong" not in result.output  # all have lungs: there is nothing to rank


def test_compare__what_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert "no run there" in typed(tmp_path / "nowhere").stderr
    unfinished = tmp_path / "early"
    unfinished.mkdir()
    (unfinished / "config.yaml").write_text("seed: 0")
    assert "it has no metrics.json" in typed(unfinished).stderr
    broken = run_folder(tmp_path / "broken", images=IMAGES)
    (broken / "predictions_test.csv").write_text("image_id,score\n1,0.5\n")
    result = typed(broken)
    assert result.exit_code == 1
    assert "predictions_test.csv" in result.stderr


def test_compare__several_classes_are_paired_by_the_bootstrap(tmp_path: Path, page: Path) -> None:
    folders = []
    for name, sure in (("sharp", 0.9), ("vague", 0.5)):
        folder = run_folder(tmp_path / name, images=IMAGES)
        table = pd.read_csv(folder / "predictions_test.csv").assign(label=np.arange(60) % 3)
        rng = np.random.default_rng(0)
        scores = (1 - sure) * rng.random((60, 3)) + sure * rng.random((60, 1)) * np.eye(3)[table["label"]]
        scores /= scores.sum(axis=1, keepdims=True)
        table[["score_a", "score_b", "score_c"]] = scores
        table.assign(prediction=scores.argmax(1)).to_csv(folder / "predictions_test.csv", index=False)
        folders.append(folder)
        expected = roc_auc_score(table["label"], scores, multi_class="ovr")
        assert measured(opened(folder), name, 100).values["auroc"] == pytest.approx(expected)
    result = typed(*folders, "--out", page)
    assert "AUROC, mean over classes" in result.output
    assert "DeLong's test" not in result.output.partition("Decisions")[0]


def test_compare__phantoms_are_told(tmp_path: Path, page: Path) -> None:
    runs = [run_folder(tmp_path / name, images=IMAGES) for name in ("a", "b")]
    assert "drawn phantoms" not in typed(*runs, "--out", page).output
    for run in runs:
        (run / "environment.json").write_text(json.dumps({"phantom": True}))
    assert "drawn phantoms, not patients" in " ".join(typed(*runs, "--out", page).output.split())


def test_compare__says_in_short_whether_the_best_on_validation_differs_from_the_next(tmp_path: Path) -> None:
    weak = run_folder(tmp_path / "weak", images=IMAGES, noise=3.0)
    strong = run_folder(tmp_path / "strong", images=IMAGES, noise=0.1)
    comparison = compared(chosen([str(weak), str(strong)]), resamples=500)
    (board,) = comparison.boards
    assert [run.label for run in board.ranked] == ["strong", "weak"]
    told = written(comparison, tmp_path / "page.html").read_text()
    assert "The best on validation, by AUROC, is strong: test AUROC 1.000" in told
    apart = signed(apart_of(board.ranked[0], board.ranked[1])["auroc"])
    assert f"Less the next, weak, on the same images: {apart}; the interval leaves 0 out." in told
    right = {
        run.name: (table["prediction"] == table["label"]).to_numpy()
        for run in (weak, strong)
        for table in [pd.read_csv(run / "predictions_test.csv")]
    }
    (row,) = board.tests[0][0][DECISIONS].to_dict("records")
    assert (row["first"], row["second"]) == ("strong", "weak")
    assert row["only first right"] == str((right["strong"] & ~right["weak"]).sum()) != "0"
    assert row["only second right"] == str((right["weak"] & ~right["strong"]).sum())


@pytest.mark.parametrize("part", ["predictions_test.csv", "metrics.json"])
def test_compare__a_run_that_was_named_and_cannot_be_read_is_refused(tmp_path: Path, page: Path, part: str) -> None:
    runs = [run_folder(tmp_path / name, images=IMAGES) for name in "ab"]
    (runs[0] / part).write_text("")
    result = typed(*runs, "--out", page)
    assert result.exit_code == 1
    assert f"{runs[0]}: " in result.stderr
    assert "--any leaves it out" in result.stderr
    assert typed(*runs, "--any", "--out", page).exit_code == 0
    assert typed(tmp_path, "--out", page).exit_code == 0, "of a sweep the others are ranked"


def test_compare__says_in_short_that_an_interval_holds_no_difference(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / name, images=IMAGES, noise=1.5) for name in ("a", "b")]
    comparison = compared(chosen(list(map(str, runs))), resamples=500)
    told = written(comparison, tmp_path / "page.html").read_text()
    assert "; the interval holds 0." in told
