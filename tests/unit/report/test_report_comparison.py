import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from pulmo.report.comparison import compared, comparison_tables, leaderboard, repeated


def finished(folder: Path, overrides: list[str], **figures: float | None) -> Path:
    folder.mkdir(parents=True)
    (folder / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    (folder / "metrics.json").write_text(json.dumps({f"test/{name}": value for name, value in figures.items()}))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    base = ["data=rsna", "model=resnet18"]
    return [
        finished(tmp_path / "0", [*base, "threshold=half", "seed=0"], auroc=0.8, accuracy=0.7),
        finished(tmp_path / "1", [*base, "threshold=half", "seed=1"], auroc=0.9, accuracy=0.7),
        finished(tmp_path / "2", [*base, "threshold=youden", "seed=0"], auroc=0.8, accuracy=None),
        finished(tmp_path / "3", [*base, "threshold=youden", "seed=1"], auroc=0.6, accuracy=0.5),
    ]


def test_compared__shows_what_differs_and_the_figures_that_there_are(runs: list[Path]) -> None:
    table = compared(runs)
    assert list(table.columns) == ["run", "threshold", "seed", "auroc", "accuracy"]
    assert table["threshold"].tolist() == ["half", "half", "youden", "youden"]
    assert table["auroc"].tolist() == [0.8, 0.9, 0.8, 0.6]


def test_compared__a_failed_run_is_left_out(runs: list[Path], tmp_path: Path) -> None:
    failed = tmp_path / "4"
    failed.mkdir()
    (failed / "overrides.yaml").write_text("[]")
    assert compared([*runs, failed])["run"].tolist() == ["0", "1", "2", "3"]
    assert compared([failed]).empty


def test_repeated__mean_and_sd_over_seeds_alone(runs: list[Path]) -> None:
    summary = repeated(compared(runs))
    assert summary.index.get_level_values(0).tolist() == ["half", "youden"]
    assert summary["runs"].tolist() == [2, 2]
    assert summary[("auroc", "mean")].tolist() == pytest.approx([0.85, 0.7])
    assert summary[("auroc", "sd")].tolist() == pytest.approx([0.05 * 2**0.5, 0.1 * 2**0.5])


def test_repeated__is_empty_where_runs_are_different_experiments(tmp_path: Path) -> None:
    runs = [finished(tmp_path / name, [f"preprocess.mask={name}"], auroc=0.5) for name in ("dataset", "none")]
    assert repeated(compared(runs)).empty


def test_repeated__folds_of_one_experiment_need_no_other_difference(tmp_path: Path) -> None:
    runs = [finished(tmp_path / str(k), [f"data.fold={k}"], rsna_score=0.1 * k) for k in range(3)]
    summary = repeated(compared(runs))
    assert summary[("rsna_score", "mean")].tolist() == pytest.approx([0.1])
    assert summary[("rsna_score", "sd")].tolist() == pytest.approx([0.1])


def test_comparison_tables__says_what_is_undefined(runs: list[Path]) -> None:
    console = Console(width=150, record=True)
    console.print(*comparison_tables(compared(runs)))
    text = console.export_text()
    assert "undefined" in text
    assert "0.8500 ± 0.0707" in text


@pytest.mark.parametrize(
    ("watched", "title", "first"),
    [
        (["val/rsna_score", "val/rsna_score"], "validation RSNA score", "boxes"),
        (["val/loss", "val/loss"], "validation loss", "boxes"),  # the lower the better
        (["val/rsna_score", "val/auroc"], "validation AUROC", "images"),
        (["val/map", "val/map"], "validation AUROC", "images"),  # not written down
    ],
)
def test_leaderboard__ranks_by_the_figure_that_the_runs_watched(
    tmp_path: Path, watched: list[str], title: str, first: str
) -> None:
    figures = {
        "images": {"val/auroc": 0.9, "val/rsna_score": 0.1, "val/loss": 0.5, "test/auroc": 0.9},
        "boxes": {"val/auroc": 0.8, "val/rsna_score": 0.2, "val/loss": 0.4, "test/auroc": 0.8},
    }
    for (name, known), monitor in zip(figures.items(), watched, strict=True):
        finished(tmp_path / name, [f"seed={monitor}"])
        (tmp_path / name / "metrics.json").write_text(json.dumps(known))
        (tmp_path / name / "config.yaml").write_text(
            yaml.safe_dump({"callbacks": {"checkpoint": {"monitor": monitor}}})
        )
    table = compared([tmp_path / name for name in figures])
    ranked = leaderboard(table)
    assert title in ranked
    assert table.loc[ranked.index[0], "run"] == first
