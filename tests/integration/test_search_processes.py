"""A search that is killed, shared by two processes, or whose trial is trained by two."""

import subprocess
import sys
import time
from pathlib import Path

import optuna
import pandas as pd
import pytest

from pulmo import run_state
from pulmo.run_state import State
from tests.conftest import SMALL, command_line

TRAIN = Path(__file__).parents[2] / "train.py"
pytestmark = pytest.mark.slow


@pytest.fixture
def command(phantoms: Path, tmp_path: Path) -> list[str]:
    """The command of a search in `tmp_path/search`, without -m."""
    places = [f"data.root={phantoms / 'rsna'}", f"data.cache_dir={tmp_path / 'cache'}"]
    search = ["sweep=optuna_classification", f"hydra.sweep.dir={tmp_path / 'search'}", "hydra.sweeper.n_trials=3"]
    return [sys.executable, str(TRAIN), *search, *SMALL, *places, "logger=none", "trainer.max_epochs=4"]


def test_killed__the_same_command_ends_the_search_in_the_same_trials(command: list[str], tmp_path: Path) -> None:
    trial = tmp_path / "search" / "trial_001"
    with subprocess.Popen([*command, "-m"], cwd=tmp_path, stdout=subprocess.DEVNULL) as first:
        while not (trial / "checkpoints" / "last.ckpt").is_file():
            assert first.poll() is None
            time.sleep(0.02)
        first.kill()
    assert run_state.read(trial)["state"] is State.CUT_OFF
    epochs = len(pd.read_csv(trial / "history.csv"))
    again = subprocess.run([*command, "-m"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "trial 1 was cut off: it goes on from its last checkpoint" in again.stdout
    table = pd.read_csv(tmp_path / "search" / "trials.csv")
    assert sorted(table["trial"]) == [0, 1, 2]
    assert set(table["state"]) == {"complete"}
    assert pd.read_csv(trial / "history.csv")["epoch"].tolist() == [0, 1, 2, 3]
    assert f"epoch {epochs + 1} of 4" in again.stdout + again.stderr


def test_two_searches__share_the_trials_out(command: list[str], tmp_path: Path) -> None:
    both = [subprocess.Popen([*command, "-m"], cwd=tmp_path, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [search.wait(timeout=300) for search in both] == [0, 0]
    table = pd.read_csv(tmp_path / "search" / "trials.csv")
    assert (table["state"] == "complete").sum() == 3


def test_two_ranks__are_pruned_together(command: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "search"
    folder.mkdir()
    storage = f"sqlite:///{folder / 'study.db'}"
    study = optuna.create_study(study_name="optuna_classification", storage=storage, direction="maximize")
    study.ask()
    pruner = ["hydra/sweeper/pruner=none", "hydra.sweeper.pruner._target_=optuna.pruners.ThresholdPruner"]
    trial = ["sweep.trial={study:optuna_classification,number:0}", f"run_dir={folder / 'trial_000'}"]
    asked = command_line(*command[2:], *trial, *pruner, "+hydra.sweeper.pruner.lower=1.1", "strategy=ddp_cpu")
    ended = subprocess.run([*command[:2], *asked], cwd=tmp_path, timeout=300, check=False)
    assert ended.returncode == 0
    assert run_state.read(folder / "trial_000")["state"] is State.PRUNED
    assert list(study.get_trials()[0].intermediate_values) == [0]
