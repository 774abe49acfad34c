"""Which runs `pulmo compare` lays beside each other: whose images, whose patients, which folds, which evaluations."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pulmo.comparison.chosen import chosen
from pulmo.comparison.compare import compared
from pulmo.comparison.matrix import one_by_one
from pulmo.comparison.pairs import apart_of
from pulmo.comparison.telling import written
from pulmo.comparison.tested import grouped
from pulmo.comparison.tested import tested as measured
from pulmo.evaluation.evaluation import Wish, evaluated
from pulmo.finished import opened
from pulmo.pages.measured import Measured
from tests.integration.test_compare import IMAGES, run_folder, typed

Change = Callable[[pd.DataFrame], pd.DataFrame]


def twice(folder: Path, change: Change) -> tuple[Path, Path]:
    """A run, and another with the same predictions, changed."""
    first, second = run_folder(folder / "a", images=IMAGES), run_folder(folder / "b", images=IMAGES)
    table = pd.read_csv(first / "predictions_test.csv", dtype={"image_id": str})
    change(table).to_csv(second / "predictions_test.csv", index=False)
    return first, second


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.sample(frac=1, random_state=0),
        lambda table: table.assign(patient_id="other " + table["patient_id"]),
    ],
)
def test_compare__a_run_differs_from_itself_by_nothing_in_every_resample(tmp_path: Path, change: Change) -> None:
    runs = [measured(opened(folder), folder.name, 200) for folder in twice(tmp_path, change)]
    (group,) = grouped(runs)
    for name, drawn in group[0].resampled.drawn.items():
        np.testing.assert_array_equal(drawn, group[1].resampled.drawn[name])
    assert {name: str(apart) for name, apart in apart_of(*group).items()} == dict.fromkeys(group[0].values, "0.000")
    assert apart_of(group[0], group[0])["auroc"] == (0, 0, 0)


def test_compare__runs_that_know_other_patients_are_not_paired(tmp_path: Path) -> None:
    first, second = twice(tmp_path, lambda table: table.assign(patient_id=table["image_id"]))
    told = typed(first, second).stderr
    assert "of 30 patients in a and of 60 patients in b, and nothing can be paired by patient" in told
    asked = typed(first, second, "--any").output
    assert "60 images of 30 patients" in asked
    assert "60 images of 60 patients" in asked
    assert "McNemar" not in asked


def test_compare__a_test_set_of_one_class_does_not_end_the_comparison(tmp_path: Path) -> None:
    first, second = twice(tmp_path, lambda table: table[table["label"] == 1])
    result = typed(first, second, "--any")
    assert result.exit_code == 0, result.output
    assert f"left out: {second}: {second}/predictions_test.csv has images of one class alone" in result.output


def test_compare__an_image_whose_label_lacks_is_not_labelled(tmp_path: Path) -> None:
    first, second = twice(tmp_path, lambda table: table.assign(label=table["label"].where(table.index != 7, np.nan)))
    assert "1 images only in the test set of a, such as image 7" in typed(first, second).stderr
    assert typed(first, second, "--any").exit_code == 0


@pytest.mark.parametrize("noise", [0.0, 0.6])
def test_compare__prints_the_intervals_that_evaluate_and_report_print(tmp_path: Path, noise: float) -> None:
    run = opened(run_folder(tmp_path / "a", images=IMAGES, noise=noise))
    ours = {name: str(value) for name, value in measured(run, "a", 300).intervals.items()}
    evaluation, report = evaluated(run, Wish(resamples=300)).sheets.images, Measured(run, 300).sheets.images
    assert evaluation is not None
    assert report is not None
    for name in ("auroc", "accuracy", "sensitivity", "specificity", "brier"):
        assert ours[name] == str(evaluation.figures[name]) == str(report.figures[name])
    assert (ours["accuracy"] == "1.000 (0.884–1.000)") == (noise == 0)  # 0.025^(1/30): exact, over 30 patients


def test_compare__prints_the_intervals_of_masks_that_evaluate_prints(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "a", images=IMAGES)
    table = pd.read_csv(folder / "predictions_test.csv").assign(
        dice=0.5 + np.arange(60) / 200, iou=1.0, true_area=0.3, predicted_area=0.3, pixel_accuracy=0.9, label=1
    )
    table.to_csv(folder / "predictions_test.csv", index=False)
    masks = evaluated(opened(folder), Wish(resamples=300)).sheets.masks
    assert masks is not None
    ours = measured(opened(folder), "a", 300).intervals
    for name in ("dice", "iou"):
        assert str(ours[name]) == str(masks.figures[name])
    assert str(ours["iou"]) == "1.000 (0.884–1.000)"


def folds_in(folder: Path, numbers: tuple[int, ...], seed: int, data: str = "rsna") -> list[Path]:
    """Runs of these folds of three; another seed deals the images out otherwise."""
    images = np.random.default_rng(seed).permutation(IMAGES)
    return [
        run_folder(
            folder / f"seed {seed} fold {k}",
            images=images[20 * k : 20 * k + 20],
            choices={"data": data},
            data={"folds": 3, "fold": k, "split_seed": seed},
        )
        for k in numbers
    ]


def test_compare__folds_of_two_partitions_do_not_come_together(tmp_path: Path) -> None:
    runs = folds_in(tmp_path, (0, 1), 0) + folds_in(tmp_path, (0,), 1)
    told = typed(*runs).stderr
    assert "folds cut with seeds 0 and 1; " in told
    boards = compared(chosen([str(tmp_path)]), resamples=100).boards
    assert [board.title for board in boards][:1] == ["rsna: 2 of 3 folds, 40 test images together"]
    assert [len(board.runs) for board in boards] == [2, 1]
    assert typed(*runs[:2]).exit_code == 0


def test_compare__folds_that_overlap_are_of_no_one_partition(tmp_path: Path) -> None:
    fold = {"folds": 3, "split_seed": 0}
    first = run_folder(tmp_path / "a", images=IMAGES[:20], data={**fold, "fold": 0})
    second = run_folder(tmp_path / "b", images=IMAGES[10:30], data={**fold, "fold": 1})
    assert "10 images only in the test set of a" in typed(first, second).stderr


def evaluated_on(run: Path, name: str, images: list[str], value: float, **told: object) -> None:
    """A folder as `pulmo evaluate` writes it."""
    folder = run / "evaluations" / name
    folder.mkdir(parents=True)
    facts = {"data": "rsna", "split": "test", "root": "/rsna", "checkpoint": "best", "threshold_given": None, **told}
    (folder / "evaluation.json").write_text(json.dumps(facts))
    (folder / "metrics.json").write_text(json.dumps({"auroc": value, "dice": value}))
    low, high = value - 0.03, value + 0.03
    (folder / "intervals.csv").write_text(
        f"figure,value,low,high\nauroc,{value},{low},{high}\ndice,{value},{low},{high}"
    )
    table = pd.DataFrame({"image_id": images, "label": np.arange(len(images)) % 2})
    table.to_csv(folder / "predictions.csv", index=False)


def matrix_of(*runs: Path) -> pd.DataFrame:
    return compared(chosen([str(run) for run in runs]), anyway=True, resamples=100).matrix.set_index("run")


OTHERS = [f"other {n}" for n in range(1234)]


def test_compare__evaluations_on_other_data_make_a_matrix(tmp_path: Path) -> None:
    first, second = run_folder(tmp_path / "a", images=IMAGES), run_folder(tmp_path / "b", images=IMAGES)
    evaluated_on(first, "rsna_test", OTHERS, 0.61)
    evaluated_on(first, "rsna_val", OTHERS[:100], 0.99, split="val")  # chosen on them: no test
    result = typed(first, second, "--out", tmp_path / "page.html")
    assert "rsna test (1,234)" in result.output
    assert "0.610 (0.580–0.640)" in result.output
    assert "0.990" not in result.output


def test_compare__test_sets_of_one_size_are_columns_of_their_own(tmp_path: Path) -> None:
    first, second = run_folder(tmp_path / "a", images=IMAGES[:30]), run_folder(tmp_path / "b", images=IMAGES[30:])
    cells = matrix_of(first, second)
    assert list(cells)[2:] == ["kermany test (30), set 1", "kermany test (30), set 2"]
    assert (cells == "").to_numpy().tolist()[0][2:] == [False, True]


def test_compare__evaluations_of_equal_ids_in_two_folders_are_columns_of_their_own(tmp_path: Path) -> None:
    first, second = run_folder(tmp_path / "a", images=IMAGES), run_folder(tmp_path / "b", images=OTHERS[:60])
    evaluated_on(first, "here", OTHERS[:60], 0.61, root="/data/b")  # where the second was trained
    evaluated_on(first, "elsewhere", OTHERS[:60], 0.62, root="/hospital")
    evaluated_on(second, "elsewhere", OTHERS[:60], 0.63, root="/hospital")
    cells = matrix_of(first, second)
    assert list(cells)[2:] == ["kermany test (60), set 1", "kermany test (60), set 2", "rsna test (60)"]
    assert cells.loc["a"].iloc[3] == "0.610 (0.580–0.640)"
    assert cells["rsna test (60)"].tolist() == ["0.620 (0.590–0.650)", "0.630 (0.600–0.660)"]


def test_compare__a_given_cut_off_or_checkpoint_is_never_the_runs_own_figure(tmp_path: Path) -> None:
    run, other = run_folder(tmp_path / "a", images=IMAGES), run_folder(tmp_path / "b", images=IMAGES)
    evaluated_on(run, "kermany_test_last", IMAGES, 0.99, root="/data/a", checkpoint="last")
    evaluated_on(run, "rsna_test_last", OTHERS, 0.61, checkpoint="last")
    evaluated_on(other, "rsna_test_last", OTHERS, 0.62, checkpoint="last")
    evaluated_on(other, "rsna_test_threshold", OTHERS, 0.63, threshold_given="0.3", threshold=0.3)
    cells = matrix_of(run, other)
    assert not cells.map(lambda cell: "0.99" in cell).to_numpy().any()
    assert cells["rsna test (1,234)"].tolist() == ["0.610 (0.580–0.640), checkpoint last", "0.630 (0.600–0.660)"]

    table = pd.read_csv(run / "predictions_test.csv").assign(dice=0.5, iou=0.4, true_area=0.3)
    table.to_csv(run / "predictions_test.csv", index=False)
    evaluated_on(run, "padchest_test", OTHERS[:9], 0.7, data="padchest", threshold_given="0.3", threshold=0.3)
    assert matrix_of(run)["padchest test (9)"].item() == "0.700 (0.670–0.730), cut-off 0.3"


def known_as(run: Path, images: Sequence[str], val: Sequence[str] = ()) -> Path:
    """The run with a split.csv of all the images of its data."""
    table = pd.DataFrame({"image_id": images, "patient_id": images, "label": 0})
    splits = ["val" if image in val else "train" for image in images]
    table.assign(split=splits, path=[f"/x/{image}" for image in images]).to_csv(run / "split.csv", index=False)
    return run


def test_compare__folds_of_other_images_under_one_name_do_not_come_together(tmp_path: Path) -> None:
    first, second, third = folds_in(tmp_path, (0, 1, 2), 0)
    for run, images in ((first, IMAGES), (second, IMAGES[::-1]), (third, [*IMAGES, "one more"])):
        known_as(run, images)
    boards = compared(chosen([str(tmp_path)]), resamples=100).boards
    assert [len(board.runs) for board in boards] == [2, 1]


def test_compare__of_a_cross_validation_of_models_the_mean_of_each_is_told(tmp_path: Path) -> None:
    for model, noise in (("vgg16", 0.2), ("unlucky", 2.0)):
        for k in range(3):
            run_folder(
                tmp_path / f"{model} {k}",
                images=IMAGES[20 * k : 20 * k + 20],
                noise=noise,
                choices={"model": model},
                data={"folds": 3, "fold": k},
            )
    comparison = compared(chosen([str(tmp_path)]), resamples=100)
    (board,) = comparison.boards
    told = written(comparison, tmp_path / "page.html").read_text()
    lead = told[told.index("In short") :]
    for model, cells in board.spread.set_index("model").iterrows():
        assert f"{model}: {cells['AUROC']} (3 runs)" in lead
    assert "The best on validation" not in lead


def test_compare__test_sets_of_one_title_are_numbered(tmp_path: Path) -> None:
    run_folder(tmp_path / "a", images=IMAGES[:30])
    run_folder(tmp_path / "b", images=IMAGES[30:])
    boards = compared(chosen([str(tmp_path)]), resamples=100).boards
    assert [board.title[-7:] for board in boards] == [", set 1", ", set 2"]


def test_compare__sections_of_test_sets_of_one_title_are_told_apart(tmp_path: Path) -> None:
    for name, images in (("a", IMAGES[:30]), ("b", IMAGES[30:])):
        run_folder(tmp_path / name, images=images)
    page = written(compared(chosen([str(tmp_path)]), resamples=100), tmp_path / "page.html").read_text()
    titles = re.findall(r"<h2>(Leaderboard.*?)</h2>", page)
    assert titles == [f"Leaderboard · kermany, test set: 30 images, set {number}" for number in (1, 2)]


def test_compare__folds_that_overlap_have_titles_of_their_own(tmp_path: Path) -> None:
    for name, start in (("a", 0), ("b", 10)):
        fold = {"folds": 5, "split_seed": 1, "fold": start // 10}
        run_folder(tmp_path / name, images=IMAGES[start : start + 20], data=fold)
    titles = [board.title for board in compared(chosen([str(tmp_path)]), resamples=100).boards]
    assert len(titles) == len({*titles}) == 2


def test_compare__best_checkpoints_of_other_test_sets_are_refused_as_their_folders_are(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / name, images=images) for name, images in (("a", IMAGES[:30]), ("b", IMAGES[30:]))]
    for run in runs:
        (run / "checkpoints").mkdir()
        (run / "checkpoints" / "best.ckpt").touch()
    told = typed(*(run / "checkpoints" / "best.ckpt" for run in runs))
    assert told.exit_code == 1
    assert "were tested on different images or patients" in told.stderr


def test_compare__a_ranking_across_validation_sets_is_told(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / name, images=IMAGES) for name in "ab"]
    rest = [f"rest {n}" for n in range(40)]
    for run in runs:
        known_as(run, [*IMAGES, *rest], val=rest[:10])
    assert "validated on different images" not in typed(*runs, "--out", tmp_path / "page.html").output
    known_as(runs[1], [*IMAGES, *rest], val=rest[10:20])
    assert "validated on different images" in " ".join(typed(*runs, "--out", tmp_path / "page.html").output.split())
    assert "validated on different images" in (tmp_path / "page.html").read_text()


def test_compare__another_checkpoint_than_the_best_is_refused(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "a", images=IMAGES)
    (run / "checkpoints").mkdir()
    for name in ("best", "last"):
        (run / "checkpoints" / f"{name}.ckpt").touch()
    result = typed(run / "checkpoints" / "last.ckpt")
    assert result.exit_code == 1
    assert "are of best.ckpt alone" in result.stderr
    assert typed(run / "checkpoints" / "best.ckpt", "--out", tmp_path / "page.html").exit_code == 0


def test_compare__the_matrix_on_a_screen_has_a_row_a_figure(tmp_path: Path) -> None:
    first, second = (run_folder(tmp_path / name, images=IMAGES) for name in "ab")
    for n in range(6):
        evaluated_on(first, f"hospital {n}", OTHERS[: 100 + n], 0.6 + n / 100, data=f"hospital {n}")
    cells = matrix_of(first, second).reset_index()
    rows = one_by_one(cells)
    assert list(rows["run"]) == ["a"] * 7 + ["b"]
    assert rows.iloc[3].tolist() == ["a", "kermany", "AUROC", "hospital 2 test (102)", "0.620 (0.590–0.650)"]
    result = typed(first, second, "--out", tmp_path / "page.html")
    assert all(f"hospital {n} test (10{n})" in result.output for n in range(6))
