from pathlib import Path
from typing import Any

import yaml

from pulmo.comparison.settings import differing, labels_of, leaves_of, telling
from pulmo.finished import FinishedRun


def run(folder: Path, overrides: list[str] | None = None, **config: Any) -> FinishedRun:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"choices": {"model": "resnet18"}, **config}))
    (folder / "overrides.yaml").write_text(yaml.safe_dump(overrides or []))
    return FinishedRun(folder)


def test_leaves__of_paths_the_name_and_of_places_nothing(tmp_path: Path) -> None:
    one = run(
        tmp_path / "a",
        run_dir="/here/a",
        logger={"x": 1},
        data={"root": "/data", "cache_dir": "/c", "split": "/here/split.csv", "fold": None},
        callbacks={"checkpoint": {"dirpath": "/here/a/checkpoints", "mode": "max"}},
    )
    assert leaves_of(one) == {"data.split": "split.csv", "data.fold": "null", "callbacks.checkpoint.mode": "max"}
    assert leaves_of(run(tmp_path / "b", data={"split": "outputs/a/split.csv"})) == {"data.split": "split.csv"}


def test_differing__copies_of_a_value_are_told_once_by_their_shortest_key() -> None:
    settings = [{"preprocess.size": size, "data.preprocess.size": size, "seed": "0"} for size in ("64", "128")]
    assert differing(settings) == [{"preprocess.size": "64"}, {"preprocess.size": "128"}]


def test_telling__a_value_that_a_group_explains_is_not_repeated_unless_it_was_given(tmp_path: Path) -> None:
    def made(name: str, model: str, width: int, lr: float, given: list[str]) -> FinishedRun:
        net = {"width": width, "optimizer": {"lr": lr}}
        return run(tmp_path / name, given, choices={"model": model}, net=net)

    runs = [made("a", "resnet18", 64, 0.1, []), made("b", "vgg16", 32, 0.2, ["net.optimizer.lr=0.2"])]
    assert telling(runs) == [
        {"model": "resnet18", "net.optimizer.lr": "0.1"},
        {"model": "vgg16", "net.optimizer.lr": "0.2"},
    ]
    same = [made("c", "vgg16", 32, 0.1, []), made("d", "vgg16", 48, 0.1, [])]
    assert telling(same) == [{"net.width": "32"}, {"net.width": "48"}]


def test_labels__folders_name_runs_unless_they_are_times(tmp_path: Path) -> None:
    named = [run(tmp_path / name) for name in ("whole", "lungs")]
    assert labels_of(named, [{"preprocess": "plain"}, {"preprocess": "lungs"}]) == ["whole", "lungs"]
    timed = [run(tmp_path / "kermany" / f"2026-03-05_10-42-0{k}_123456", seed=k) for k in range(2)]
    assert labels_of(timed, [{"model": "vgg16", "seed": "0"}, {"model": "vgg16", "seed": "1"}]) == [
        "vgg16, seed 0",
        "vgg16, seed 1",
    ]
    assert labels_of(timed, [{}, {}]) == [one.name for one in timed]  # nothing tells them apart but their times
