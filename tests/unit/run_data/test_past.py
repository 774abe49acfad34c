"""What a run has seen, by its folder and those of the runs whose networks are in it."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from pulmo.finished import opened
from pulmo.run_data.past import earlier_pasts, past_of

KIND = "pulmo.data.kermany.Kermany"


def run_folder(folder: Path, images: str, **config: Any) -> Path:
    """A run that was trained on the first of the images, and tested on the others."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").touch()
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": {"_target_": KIND}, **config}))
    splits = ["train", *["test"] * (len(images) - 1)]
    table = pd.DataFrame({"image_id": list(images), "patient_id": [f"p{name}" for name in images], "split": splits})
    table.to_csv(folder / "split.csv", index=False)
    return folder


def test_past__is_its_split_and_what_it_left_out(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", "abc")
    (folder / "skipped.csv").write_text("image_id,path,split,cause\ns,s.png,,gone\n")
    past = past_of(opened(folder))
    assert past.kind == KIND
    assert past.roles.to_dict() == {"a": "train", "b": "test", "c": "test"}
    assert (past.seen_patients, past.left_out) == ({"pa"}, {"s"})


def test_earlier__are_the_runs_behind_weights_masks_and_gate_and_behind_those(tmp_path: Path) -> None:
    lungs = run_folder(tmp_path / "lungs", "lm")
    first = run_folder(tmp_path / "first", "fg", preprocess={"mask": str(lungs)})
    gate = run_folder(tmp_path / "gate", "hi", model={"weights": "none", "task": {"gate": None}})
    networks = {"weights": str(first / "checkpoints" / "best.ckpt"), "task": {"gate": str(gate)}}
    run = run_folder(tmp_path / "run", "abc", model=networks, preprocess={"mask": "dataset"})
    found = {past.who.partition(",")[0].rpartition("/")[2]: past for past in earlier_pasts(opened(run))}
    assert set(found) == {"first", "gate", "lungs"}
    assert [found[name].learnt for name in ("first", "gate", "lungs")] == [True, True, False]
    assert "whose weights it began with" in found["first"].who
    assert found["lungs"].roles.to_dict() == {"l": "train", "m": "test"}


def test_earlier__are_found_where_the_run_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_folder(tmp_path / "there" / "outputs" / "first", "fg")
    weights = {"weights": "outputs/first/checkpoints/best.ckpt"}
    run = run_folder(tmp_path / "run", "abc", model=weights)
    (run / "environment.json").write_text(json.dumps({"folder": str(tmp_path / "there")}))
    monkeypatch.chdir(tmp_path)
    assert [past.who.partition(",")[0] for past in earlier_pasts(opened(run))] == [str(first)]


def test_earlier__a_run_that_names_itself_or_is_gone_ends_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_folder(folder, "abc", model={"task": {"gate": str(folder)}}, preprocess={"mask": "/gone"})
    (past,) = earlier_pasts(opened(folder))
    assert past.split is None
    assert past.who.startswith("/gone, the run which drew its lungs")


@pytest.mark.parametrize("weights", ["none", "default", "resnet50.pth"])
def test_earlier__weights_of_no_run_are_none(tmp_path: Path, weights: str) -> None:
    (tmp_path / "resnet50.pth").touch()
    assert earlier_pasts(opened(run_folder(tmp_path / "run", "abc", model={"weights": weights}))) == []
