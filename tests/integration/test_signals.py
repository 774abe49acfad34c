"""What a user finds who presses Ctrl-C, and a scheduler that sends SIGTERM: real processes, real signals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from pulmo import run_state
from pulmo.run_state import State
from tests.conftest import small_with

TRAIN = Path(__file__).parents[2] / "train.py"
ENDLESS = ["trainer.max_epochs=500", "data.batch_size=2"]


@pytest.fixture
def begin(phantoms: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start train.py in a process group of its own, in the run folder `tmp_path/run`."""

    def start(*overrides: str, cache: str = "cache") -> subprocess.Popen[str]:
        places = [f"data.root={phantoms / 'rsna'}", f"data.cache_dir={tmp_path / cache}", f"run_dir={tmp_path / 'run'}"]
        return subprocess.Popen(
            [sys.executable, TRAIN, *places, *small_with(*overrides)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores it
        )

    return start


def ended(process: subprocess.Popen[str], shown: Path, number: signal.Signals, group: bool = False) -> tuple[str, str]:
    """Send the signal as soon as a file is `shown`; give what the process then said, out and err."""
    try:
        deadline = time.monotonic() + 120
        while not any(shown.parent.glob(shown.name)):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, f"{shown} did not come"
            time.sleep(0.02)
        (os.killpg if group else os.kill)(process.pid, number)
        return process.communicate(timeout=60)
    finally:
        process.kill()


def gone(group: int) -> bool:
    """Whether nothing of a process group is left; a killed child may take a moment."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(
    ("number", "workers"),
    [pytest.param(signal.SIGINT, 1, id="ctrl-c"), pytest.param(signal.SIGTERM, 0, id="sigterm")],
)
def test_signal__in_training_saves_the_step_and_says_how_to_go_on(
    begin: Callable[..., subprocess.Popen[str]], tmp_path: Path, number: signal.Signals, workers: int
) -> None:
    folder = tmp_path / "run"
    process = begin(*ENDLESS, f"data.num_workers={workers}")
    out, err = ended(process, folder / "history.csv", number, group=number is signal.SIGINT)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in out + err
    said = out.splitlines()
    assert said[-1] == str(folder)
    assert said[-2] == f"to go on: python {TRAIN} resume={folder}"
    assert said[-3].startswith(f"interrupted by {number.name} in ")
    state = run_state.read(folder)
    assert state["state"] is State.INTERRUPTED
    assert state["cause"] in said[-3]
    history = pd.read_csv(folder / "history.csv")
    known = json.loads((folder / "metrics.json").read_text())
    assert known["epochs"] == len(history)
    assert not [name for name in known if name.startswith("test/")]
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["epoch"] == len(history), "inside the epoch that follows those of history.csv"
    assert not list(folder.rglob("*.part"))


def test_signal__while_images_are_prepared_leaves_nothing_half_written(
    begin: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = begin(*ENDLESS, cache="fresh")
    out, err = ended(process, tmp_path / "fresh" / "*", signal.SIGINT, group=True)
    assert process.returncode == 128 + signal.SIGINT, err
    assert "Traceback" not in out + err
    assert "there is no checkpoint yet: begin anew by the same command" in out
    assert out.splitlines()[-1] == str(tmp_path / "run")
    assert run_state.read(tmp_path / "run")["cause"] == "SIGINT before the first step"
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("group", [False, True], ids=["one", "group"])
@pytest.mark.parametrize("shown", ["history.csv", "predictions_val.csv", "config.yaml"])
def test_signal__ends_two_processes_with_one_checkpoint_and_one_message(
    begin: Callable[..., subprocess.Popen[str]], tmp_path: Path, shown: str, group: bool
) -> None:
    epochs = "trainer.max_epochs=1" if shown == "predictions_val.csv" else "trainer.max_epochs=500"
    process = begin("strategy=ddp_cpu", "data.batch_size=2", epochs)
    out, err = ended(process, tmp_path / "run" / shown, signal.SIGTERM, group)
    assert process.returncode == 128 + signal.SIGTERM, out + err
    assert "Traceback" not in out + err
    assert (out + err).count("interrupted by SIGTERM") == 1
    assert out.splitlines()[-1] == str(tmp_path / "run")
    saved = ["best.ckpt", "last.ckpt"] if shown != "config.yaml" else []
    assert sorted(path.name for path in tmp_path.glob("run/checkpoints/*")) == saved
    assert gone(process.pid)


@pytest.mark.slow
def test_ctrl_c__ends_the_whole_sweep(begin: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    process = begin("seed=0,1", "trainer.max_epochs=500", f"hydra.sweep.dir={sweep}", "-m")
    _, err = ended(process, sweep / "seed=0" / "history.csv", signal.SIGINT, group=True)
    assert process.returncode == 128 + signal.SIGINT, err
    assert "Traceback" not in err
    assert run_state.read(sweep / "seed=0")["state"] is State.INTERRUPTED
    assert not (sweep / "seed=1").exists()
