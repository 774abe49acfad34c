"""`-m`: one folder a sweep, a job a folder, shared trainings, failures that end nothing, and going on."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from pulmo import launch, run_state
from pulmo.run_state import State
from pulmo.tasks.base import Task
from tests.conftest import SMALL

Sweep = Callable[..., Path]


@pytest.fixture
def sweep(phantoms: Path, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """Run `train.py -m` in this process; give the newest sweep's folder."""
    monkeypatch.chdir(tmp_path)

    def run(*overrides: str) -> Path:
        places = ["data=kermany", f"data.root={phantoms / 'kermany'}", f"data.cache_dir={cache_dir}"]
        quick = ["trainer.max_epochs=2", "callbacks.progress_bar=null", "logger=none"]
        monkeypatch.setattr(sys, "argv", ["train.py", "-m", *SMALL, *places, *quick, *overrides])
        launch.launch()
        return max((tmp_path / "outputs" / "multirun").iterdir(), key=lambda path: path.stat().st_mtime)

    return run


def test_sweep__a_failed_job_ends_no_other_and_shared_trainings_are_trained_once(
    sweep: Sweep, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = ["model.optimizer.lr=0.001,-1", "threshold=half,youden"]
    with pytest.raises(SystemExit) as ended:
        sweep(*asked)
    assert ended.value.code == 1
    told = capfd.readouterr()
    assert "failed: lr=-1_half: model.optimizer: Invalid learning rate: -1" in told.out
    assert "2 of 4 jobs failed" in told.err
    assert "Traceback" not in told.out + told.err
    assert "sweep.resume" in told.err
    (folder,) = (tmp_path / "outputs" / "multirun").iterdir()
    progress = pd.read_csv(folder / "progress.csv").set_index("job")
    assert progress["state"].to_dict() == {
        "lr=0.001_half": "finished",
        "lr=0.001_youden": "finished",
        "lr=-1_half": "failed",
        "lr=-1_youden": "failed",
    }
    places = [folder / f"lr=0.001_{name}" / "metrics.json" for name in ("half", "youden")]
    trained, shared = (json.loads(place.read_text()) for place in places)
    assert not (folder / "lr=0.001_youden" / "checkpoints" / "last.ckpt").exists()
    assert trained["test/auroc"] == shared["test/auroc"]
    assert shared["epochs"] == trained["epochs"] == 2
    assert trained["threshold"] == 0.5
    assert shared["threshold"] != 0.5
    comparison = pd.read_csv(folder / "comparison.csv")
    assert comparison["threshold"].tolist() == ["half", "youden"]
    assert set(comparison.columns) & {"trained_in", "sweep.resume"} == set()


def test_trained_in__leaves_what_a_training_of_its_own_would(sweep: Sweep, tmp_path: Path) -> None:
    balanced = "model.loss.class_weights=balanced"  # which the loss is told before it measures, too
    shared = sweep("threshold=half,youden", balanced) / "youden"
    alone = sweep("threshold=youden", balanced) / "job"
    theirs, own = (json.loads((folder / "metrics.json").read_text()) for folder in (shared, alone))
    differ = {name for name in {*theirs, *own} if theirs.get(name) != own.get(name)}
    assert differ <= {"data/prepare_seconds", "train/images_per_second"}
    for name in ("split.csv", "predictions_val.csv", "predictions_test.csv"):
        assert (shared / name).read_bytes() == (alone / name).read_bytes(), name
    history, whole = (pd.read_csv(folder / "history.csv") for folder in (shared, alone))
    pd.testing.assert_frame_equal(history, whole[list(history)])
    assert {"train/loss", "val/auroc", "val/accuracy@0.5"} <= set(history)
    assert "val/accuracy" not in history
    best = [folder / "checkpoints" / "best.ckpt" for folder in (shared, alone)]
    ours, other = map(Task.load_from_checkpoint, best)
    assert ours.threshold == other.threshold == own["threshold"]
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), other.parameters(), strict=True))


@pytest.mark.slow
def test_resume__skips_what_is_finished_goes_on_with_what_was_cut_off_and_retries_what_failed(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = ["seed=0,1,2"]
    whole = sweep(*asked)
    expected = {seed: (whole / f"seed={seed}" / "predictions_test.csv").read_bytes() for seed in range(3)}
    untouched = (whole / "seed=0" / "metrics.json").stat().st_mtime_ns
    # As a kill after the second epoch leaves a job, and a failure before the first.
    cut_off, failed = whole / "seed=1", whole / "seed=2"
    (cut_off / "metrics.json").unlink()
    run_state.write(cut_off, State.RUNNING)
    for path in (failed / "checkpoints").iterdir():
        path.unlink()
    (failed / "checkpoints").rmdir()
    (failed / "metrics.json").unlink()
    run_state.write(failed, State.FAILED, "no room")
    capfd.readouterr()
    assert sweep(*asked, "sweep.resume=true") == whole
    told = capfd.readouterr().out
    assert "job 1 of 3" not in told
    assert f"going on from {cut_off / 'checkpoints' / 'last.ckpt'}" in told
    assert (whole / "seed=0" / "metrics.json").stat().st_mtime_ns == untouched
    for seed, predictions in expected.items():
        assert (whole / f"seed={seed}" / "predictions_test.csv").read_bytes() == predictions
    assert set(pd.read_csv(whole / "progress.csv")["state"]) == {"finished"}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["-m", "seed=0,1", "sweep.resume=true"], "no sweep of this very command"),
        (["sweep.resume=true"], "give -m and the same overrides"),
        (["-m", "seed=0,1", "launcher=ray"], "pip install 'pulmo[ray]'"),
    ],
)
def test_sweep__mistakes_are_told(
    overrides: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", *SMALL, *overrides])
    with pytest.raises(SystemExit):
        launch.launch()
    error = capfd.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1
