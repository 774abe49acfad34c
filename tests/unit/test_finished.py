"""What a run's folder says of itself, and what is said where a part lacks."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from pulmo import run_state
from pulmo.errors import RunError
from pulmo.finished import FinishedRun, opened
from pulmo.run_folders import newest
from pulmo.run_state import State


def _run(folder: Path, *, state: State | None = State.FINISHED) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").touch()
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": 3}))
    if state is not None:
        run_state.write(folder, state)
    return folder


def test_opened__last_is_the_newest_with_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("rsna_vgg16/a", "multirun/b/job", "rsna_vgg16/c", "mine", "a/b/c/deep")
    folders = [_run(tmp_path / "outputs" / name) for name in names]
    (tmp_path / "outputs" / "rsna_vgg16" / "begun").mkdir()
    for newest_one in range(len(folders)):  # wherever run_dir= has put it
        for number, folder in enumerate(folders):
            time = 300 if number == newest_one else 100
            os.utime(folder / "checkpoints" / "best.ckpt", (time, time))
        assert opened("last").folder.resolve() == folders[newest_one]


def test_opened__last_goes_by_the_runs_own_record_which_a_copy_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, began, written in (("new", "2026-03-02", 100), ("copied", "2026-03-01", 300)):
        folder = _run(tmp_path / "outputs" / name)
        (folder / "state.json").write_text(json.dumps({"state": "finished", "began": f"{began}T10:00:00+00:00"}))
        os.utime(folder / "checkpoints" / "best.ckpt", (written, written))
    assert opened("last").folder.name == "new"


def test_newest__without_any_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=str(tmp_path / "outputs")):
        newest()


@pytest.mark.parametrize("given", ["folder", "folder/checkpoints/best.ckpt"])
def test_opened__takes_a_folder_or_its_checkpoint(tmp_path: Path, given: str) -> None:
    _run(tmp_path / "folder")
    run = opened(tmp_path / given)
    assert run.folder == tmp_path / "folder"
    assert run.config.seed == 3


def test_opened__a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no config\.yaml"):
        opened(tmp_path)
    with pytest.raises(RunError, match="no run"):
        opened(tmp_path / "missing")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (State.INTERRUPTED, "the run is interrupted; `pulmo train resume="),
        (State.RUNNING, "the run is cut off"),  # no process holds its lock
        (State.FINISHED, "give the folder of a run that was trained and tested"),
        (None, "give the folder of a run that was trained and tested"),
    ],
)
def test_parts__a_missing_one_is_named_with_the_reason(tmp_path: Path, state: State | None, said: str) -> None:
    run = opened(_run(tmp_path / "run", state=state))
    with pytest.raises(RunError, match=f"has no metrics.json: {said}"):
        _ = run.metrics
    with pytest.raises(RunError, match=r"has no predictions_test\.csv"):
        run.predictions("test")


def test_metrics__of_a_figure_without_a_value_is_none(tmp_path: Path) -> None:
    (_run(tmp_path / "run") / "metrics.json").write_text(json.dumps({"test/auroc": None}))
    assert opened(tmp_path / "run").metrics == {"test/auroc": None}


def test_predictions__ids_are_text(tmp_path: Path) -> None:
    text = "image_id,patient_id,label,score,prediction\n001,007,1,0.5,1\n"
    (_run(tmp_path / "run") / "predictions_test.csv").write_text(text)
    table = opened(tmp_path / "run").predictions("test")
    assert table.iloc[0][["image_id", "patient_id"]].tolist() == ["001", "007"]


def test_predictions__ids_that_read_like_nothing_are_names(tmp_path: Path) -> None:
    text = "image_id,patient_id,label,score,prediction\nNA,None,1,,1\nnull,,0,0.5,1\n"
    folder = _run(tmp_path / "run")
    for name in ("predictions_test.csv", "boxes_test.csv"):
        (folder / name).write_text(text)
    (folder / "split.csv").write_text("image_id,patient_id,split,path\nNA,None,test,\nnull,,test,x\n")
    run = opened(folder)
    for table in (run.predictions("test"), run.boxes("test"), run.split):
        assert table is not None
        assert table[["image_id", "patient_id"]].to_numpy().tolist() == [["NA", "None"], ["null", ""]]
    assert run.predictions("test")["score"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read"),
        ("label,score\n1,7\n", "no score between 0 and 1"),
        ("label,score\n-1,0.5\n", "no image with a label"),
        (None, r"no predictions_val\.csv"),
    ],
)
def test_validation__that_cannot_be_used_is_none_with_the_reason(tmp_path: Path, text: str | None, said: str) -> None:
    folder = _run(tmp_path / "run")
    if text is not None:
        (folder / "predictions_val.csv").write_text(text)
    table, lacking = opened(folder).validation()
    assert table is None
    assert re.search(said, lacking)


def test_validation__of_another_checkpoint_is_not_that_of_the_best(tmp_path: Path) -> None:
    folder = _run(tmp_path / "run")
    (folder / "predictions_val.csv").write_text("label,score\n1,0.5\n")
    (folder / "checkpoints" / "last.ckpt").touch()
    assert opened(folder / "checkpoints" / "best.ckpt").validation()[1] == ""
    assert "predictions of best.ckpt alone" in opened(folder / "checkpoints" / "last.ckpt").validation()[1]


def test_config__damaged_yaml_is_told_with_its_path(tmp_path: Path) -> None:
    (_run(tmp_path / "run") / "config.yaml").write_text("a: [1,")
    with pytest.raises(RunError, match=r"config\.yaml cannot be read"):
        _ = opened(tmp_path / "run").config


@pytest.mark.parametrize(
    ("config", "overrides", "name"),
    [
        (
            {"choices": {"data": "folder", "scheduler": None}, "data": {"_target_": "pulmo.data.rsna.Rsna"}},
            [],
            "folder",
        ),
        ({"data": {"_target_": "pulmo.data.rsna.Rsna"}}, ["data=kermany", "seed=1"], "kermany"),
        ({"data": {"_target_": "pulmo.data.rsna.Rsna"}}, ["seed=1"], "rsna"),
        (None, [], ""),
    ],
)
def test_data_name__is_the_choice_or_what_else_the_folder_knows(
    tmp_path: Path, config: dict[str, object] | None, overrides: list[str], name: str
) -> None:
    if config is not None:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    run = FinishedRun(tmp_path)
    assert run.data_name == name
    assert "scheduler" not in run.choices


def test_opened__a_folder_of_runs_names_its_newest(tmp_path: Path) -> None:
    _run(tmp_path / "rsna_vgg16" / "b")
    with pytest.raises(RunError, match=f"the newest of the runs in it is {tmp_path / 'rsna_vgg16' / 'b'}"):
        opened(tmp_path / "rsna_vgg16")


def test_opened__tells_a_mistyped_name_without_loading_torch() -> None:
    code = "import sys, pulmo.finished; sys.exit(any(name in sys.modules for name in ('torch', 'pandas', 'hydra')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("given", "found"),
    [([], "there/data"), (["data.root=data"], "data")],
    ids=["as the run had it", "as the user says now"],
)
def test_place__a_folder_named_from_where_the_run_was_started_is_found_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], found: str
) -> None:
    (tmp_path / "there" / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    run = opened(_run(tmp_path / "run"))
    (run.folder / "environment.json").write_text(json.dumps({"folder": str(tmp_path / "there")}))
    config = OmegaConf.create({"data": {"root": "data", "masks": None}})
    run.place(config, given)
    assert (tmp_path / config.data.root) == tmp_path / found
    (tmp_path / "data").mkdir()  # what is here goes first
    config = OmegaConf.create({"data": {"root": "data", "masks": None}})
    run.place(config, [])
    assert config.data.root == "data"


BROKEN = {
    "metrics.json": ("{", "[1]", '{"test/auroc": "0,5"}', "null", ""),
    "environment.json": ("{", "", "[]"),
    "overrides.yaml": ("a: [", "a: 1"),
    "config.yaml": ("a: [", "", "- a"),
    "state.json": ("{", "[]", '{"state": "gone"}'),
    "split.csv": ("", "a,b\n1,2\n"),
    "predictions_test.csv": ("", "image_id,score\n1,2\n", "image_id,label\n1,PNEUMONIA\n"),
}


@pytest.mark.parametrize(("name", "content"), [(name, text) for name, texts in BROKEN.items() for text in texts])
def test_parts__one_that_is_broken_is_named(tmp_path: Path, name: str, content: str) -> None:
    (_run(tmp_path / "run") / name).write_text(content)
    run = opened(tmp_path / "run")
    read = {
        "metrics.json": lambda: run.metrics,
        "environment.json": lambda: run.environment,
        "overrides.yaml": lambda: run.overrides,
        "config.yaml": lambda: run.config,
        "state.json": lambda: run.state,
        "split.csv": lambda: run.split,
        "predictions_test.csv": lambda: run.predictions("test"),
    }
    with pytest.raises(RunError, match=rf"{re.escape(name)} (cannot be read|has no column)"):
        read[name]()


def test_predictions__labels_are_whole_numbers_though_some_lack(tmp_path: Path) -> None:
    (_run(tmp_path / "run") / "predictions_test.csv").write_text("image_id,label,score\na,1,0.5\nb,,0.5\n")
    assert opened(tmp_path / "run").predictions("test")["label"].tolist() == [1, -1]
