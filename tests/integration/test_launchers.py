"""Jobs of a sweep side by side: by joblib, and by submitit on this machine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from pytorch_lightning import Callback, LightningModule, Trainer

from tests.conftest import small_with

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


class EndsItsProcess(Callback):
    """As a machine without memory would."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def begin(phantoms: Path, folder: Path, *overrides: str) -> "subprocess.Popen[str]":
    places = ["data=kermany", f"data.root={phantoms / 'kermany'}", f"data.cache_dir={folder / 'cache'}"]
    given = small_with(*places, "callbacks.progress_bar=null", *overrides)
    command = [sys.executable, str(ROOT / "train.py"), "-m", *given]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    return subprocess.Popen(
        [*command, "hydra.sweep.dir=sweep"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def states(folder: Path) -> dict[str, str]:
    return dict(pd.read_csv(folder / "sweep" / "progress.csv")[["job", "state"]].itertuples(index=False))


def test_joblib__two_jobs_at_once_and_the_leaderboard(phantoms: Path, tmp_path: Path) -> None:
    process = begin(phantoms, tmp_path, "launcher=joblib", "trainer.max_epochs=2", "seed=0,1", "threshold=half,youden")
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert set(states(tmp_path).values()) == {"finished"}
    assert "mean ± SD over seeds" in told
    began = [
        pd.Timestamp(pd.read_json(path, typ="series")["began"]) for path in tmp_path.glob("sweep/*_half/state.json")
    ]
    ended = [
        pd.Timestamp(pd.read_json(path, typ="series")["ended"]) for path in tmp_path.glob("sweep/*_half/state.json")
    ]
    assert max(began) < min(ended)  # side by side


def test_joblib__a_killed_job_is_reported_and_the_others_come_to_their_end(phantoms: Path, tmp_path: Path) -> None:
    killer = "callbacks.killer={_target_: tests.integration.test_launchers.EndsItsProcess}"
    options = ["launcher=joblib", "hydra.launcher.n_jobs=2", "trainer.max_epochs=1"]
    process = begin(phantoms, tmp_path, *options, f"+{killer},null", "seed=0,1")
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    found = states(tmp_path)
    assert sorted(found.values()) == ["failed", "failed", "finished", "finished"], told
    assert all(("null" in name) is (state == "finished") for name, state in found.items())
    assert "its process was killed" in told
    assert "2 of 4 jobs failed" in told


def test_submitit__a_preempted_job_goes_on_from_its_checkpoint(phantoms: Path, tmp_path: Path) -> None:
    process = begin(
        phantoms, tmp_path, "launcher=submitit_local", "trainer.max_epochs=30", "data.batch_size=4", "seed=7"
    )
    history = tmp_path / "sweep" / "job" / "history.csv"
    until = time.monotonic() + 120
    while not (history.exists() and len(pd.read_csv(history)) >= 3):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    (job,) = (path.name for path in (tmp_path / "sweep" / ".submitit").iterdir() if path.name.isdigit())
    found = subprocess.run(
        ["pgrep", "-f", f"submitit.core._submit {tmp_path}"], capture_output=True, text=True, check=True
    )
    os.kill(int(found.stdout.split()[0]), signal.SIGUSR2)
    told, _ = process.communicate(timeout=300)
    log = (tmp_path / "sweep" / ".submitit" / job / f"{job}_0_log.out").read_text()
    assert process.returncode == 0, told + log
    assert "Requeued job" in log
    assert "going on from" in log
    assert states(tmp_path) == {"job": "finished"}
    assert pd.read_csv(history)["epoch"].tolist() == list(range(30))
