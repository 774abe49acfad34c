"""A search by the command line: trials pruned, failed, interrupted and gone on with, and what it leaves behind."""

import json
import math
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import optuna
import pandas as pd
import pytest
import yaml
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from pulmo import launch, run, run_state
from pulmo.errors import ConfigError
from pulmo.run_state import State
from tests.conftest import SMALL, small_with

Search = Callable[..., Path]
PLAIN = ["model.optimizer.weight_decay=0", "model.net.dropout=0", "augment=none", "scheduler=constant"]


@pytest.fixture
def search(phantoms: Path, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    """Search in `tmp_path/search` by the command line; give the folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "search"
    places = ["data=rsna", f"data.root={phantoms / 'rsna'}", f"data.cache_dir={cache_dir}", f"hydra.sweep.dir={folder}"]

    def run_search(*overrides: str, sweep: str = "optuna_classification") -> Path:
        command = ["train.py", "-m", f"sweep={sweep}", *small_with("logger=none", *places, *overrides)]
        monkeypatch.setattr(sys, "argv", command)
        launch.launch()
        return folder

    return run_search


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> list[DictConfig]:
    """Runs that train nothing: AUROC is best at a rate of 1e-3, and the test says the opposite. Gives what was run."""
    ran: list[DictConfig] = []

    def train(config: DictConfig, folder: Path, overrides: list[str]) -> float:
        ran.append(config)
        run_state.write(folder, State.RUNNING)
        (folder / run_state.LOCK).touch()
        OmegaConf.save(config, folder / "config.yaml", resolve=True)
        if config.data.batch_size == 1:
            raise ConfigError("data.batch_size=1: a defect")
        if config.data.batch_size == 2 and not config.resume:
            (folder / "checkpoints").mkdir()
            (folder / "checkpoints" / "last.ckpt").touch()
            raise SystemExit(1)
        value = 0.9 - 0.1 * abs(math.log10(config.model.optimizer.lr) + 3)
        figures = {"val/auroc": value, "val/loss": 1 - value, "test/auroc": 1 - value}
        (folder / "metrics.json").write_text(json.dumps(figures))
        run_state.write(folder, State.FINISHED)
        return value

    monkeypatch.setattr(run, "train", train)
    return ran


def enqueue(folder: Path, direction: Literal["minimize", "maximize"], *params: dict[str, Any]) -> None:
    """Begin the study by hand with values to try first, as Optuna's users do."""
    folder.mkdir()
    storage = f"sqlite:///{folder / 'study.db'}"
    study = optuna.create_study(study_name="optuna_classification", storage=storage, direction=direction)
    for values in params:
        study.enqueue_trial(values)


def states(folder: Path) -> list[str]:
    """States of the study's trials, in their order."""
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'study.db'}")
    return [trial.state.name for trial in study.get_trials()]


def test_search__a_hopeless_rate_is_pruned_and_the_good_one_is_tested(search: Search, tmp_path: Path) -> None:
    enqueue(tmp_path / "search", "minimize", {"model.optimizer.lr": 1e-3}, {"model.optimizer.lr": 0.3})
    folder = search(
        *(
            *PLAIN,
            "data.batch_size=8",
            "model.optimizer.lr=interval(1e-3,0.3)",
            "callbacks.checkpoint.monitor=val/loss",
        ),
        *("hydra.sweeper.n_trials=2", "trainer.max_epochs=3"),
        *("hydra/sweeper/pruner=none", "hydra.sweeper.pruner._target_=optuna.pruners.ThresholdPruner"),
        "+hydra.sweeper.pruner.upper=0.8",
    )
    table = pd.read_csv(folder / "trials.csv")
    assert table["state"].tolist() == ["complete", "pruned"]
    assert table["model.optimizer.lr"].tolist() == [1e-3, 0.3]
    good, bad = map(Path, table["folder"])
    assert (run_state.read(good)["state"], run_state.read(bad)["state"]) == (State.FINISHED, State.PRUNED)
    assert table["value"][0] == json.loads((good / "metrics.json").read_text())["val/loss"]
    assert run_state.read(bad)["cause"] == table["cause"][1]
    assert len(pd.read_csv(bad / "history.csv")) < 3
    assert not (bad / "metrics.json").exists()


def test_search__leaves_a_table_the_best_and_figures(search: Search, untrained: list[DictConfig]) -> None:
    folder = search("hydra.sweeper.n_trials=6", "trainer.max_epochs=1")
    table, best = pd.read_csv(folder / "trials.csv"), yaml.safe_load((folder / "best.yaml").read_text())
    assert sorted(table["trial"]) == list(range(6))
    assert table["value"].is_monotonic_decreasing
    rate = float(table["model.optimizer.lr"][0])
    assert table["value"][0] == pytest.approx(0.9 - 0.1 * abs(math.log10(rate) + 3))
    assert best["trial"] == table["trial"][0]
    written = pd.read_csv(folder / "trials.csv", dtype=str)["model.optimizer.lr"][0]  # each digit, of any pandas
    assert f"model.optimizer.lr={written}" in best["overrides"]
    assert "trainer.max_epochs=1" in best["overrides"]
    assert not [item for item in best["overrides"] if item.startswith("sweep")]
    assert best["command"] == shlex.join(["python", "train.py", *best["overrides"]])
    for name in ("search_history.png", "search_importance.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert len({config.model.optimizer.lr for config in untrained}) == 6
    assert not list((folder / ".processes").iterdir())


def test_search__the_same_command_goes_on_with_what_was_cut_off(search: Search, untrained: list[DictConfig]) -> None:
    command = ["hydra.sweeper.n_trials=2", "data.batch_size=range(2,3)"]  # 2 is the one that is cut off, once
    for _ in range(2):
        with pytest.raises(SystemExit):
            search(*command)
    folder = search(*command)
    assert states(folder) == ["COMPLETE"] * 2
    resumed = [config for config in untrained if config.resume]
    assert [config.sweep.trial.number for config in resumed] == [0, 1]
    assert resumed[1].resume == str(folder / "trial_001" / "checkpoints" / "last.ckpt")
    assert len(untrained) == 4
    assert search(*command) == folder
    assert len(untrained) == 4, "nothing is left to do"


def test_search__goes_on_after_a_failed_trial_and_names_its_cause(
    search: Search, untrained: list[DictConfig], tmp_path: Path
) -> None:
    enqueue(tmp_path / "search", "maximize", {"data.batch_size": 4}, {"data.batch_size": 1})
    folder = search(*PLAIN, "data.batch_size=range(1,9)", "model.optimizer.lr=1e-3", "hydra.sweeper.n_trials=2")
    assert states(folder) == ["COMPLETE", "FAIL", "COMPLETE"]
    table = pd.read_csv(folder / "trials.csv")
    assert table["trial"][2] == 1, "failed ones stand at the foot"
    assert table["cause"][2] == "data.batch_size=1: a defect"


def test_search__goes_on_where_a_launcher_gives_up(
    search: Search, untrained: list[DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    def instantiate(self: Plugins, **given: Any) -> Any:
        launcher = instantiated(self, **given)
        launched = launcher.launch

        def launch(job_overrides: Any, initial_job_idx: int) -> Any:
            results = launched(job_overrides, initial_job_idx)
            if initial_job_idx == 0:
                Path("search/trial_000", run_state.FILE).unlink()
                raise RuntimeError("a worker was killed")
            return results

        launcher.launch = launch
        return launcher

    instantiated = Plugins.instantiate_launcher
    monkeypatch.setattr(Plugins, "instantiate_launcher", instantiate)
    folder = search("hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2")
    assert states(folder) == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    causes = pd.read_csv(folder / "trials.csv").set_index("trial")["cause"]
    assert causes[0] == "its process was killed (a worker was killed)"


def test_launcher__of_many_jobs_that_is_given_one_at_a_time_is_told(
    search: Search, untrained: list[DictConfig], capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs pulmo[joblib]")
    threads = ["hydra.launcher.backend=threading", "hydra.launcher.n_jobs=1"]
    search("launcher=joblib", *threads, "hydra.sweeper.n_trials=0")
    assert "one trial is trained at a time: hydra.sweeper.n_jobs=N" in capfd.readouterr().out


def test_search__ends_where_too_many_fail(
    search: Search, untrained: list[DictConfig], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        search("data.batch_size=1", "hydra.sweeper.n_trials=2")
    assert "2 trials failed, more than hydra.sweeper.max_failure_rate=0.5 of 2" in capfd.readouterr().err
    assert len(untrained) == 2


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["callbacks.checkpoint.monitor=train/loss"],
            "goes by callbacks.checkpoint.monitor, a figure of the validation",
        ),
        (["model.optimizer.lr=tag(log,interval(0,1))"], "model.optimizer.lr=tag(log,interval(0,1))"),
        (["augment=none,heavy"], "no augment=heavy; there are"),
        (["hydra.sweeper.direction=up"], "hydra.sweeper.direction=up: minimize or maximize"),
        (["hydra.sweeper.sampler._target_=optuna.samplers.NoSampler"], "hydra.sweeper.sampler"),
        (["hydra.sweeper.storage=nowhere"], "hydra.sweeper.storage is no URL"),
    ],
)
def test_mistake__is_told_in_a_line_and_nothing_is_trained(
    search: Search, untrained: list[DictConfig], capfd: pytest.CaptureFixture[str], overrides: list[str], said: str
) -> None:
    with pytest.raises(SystemExit):
        search(*overrides)
    error = capfd.readouterr().err.strip()
    assert said in error.splitlines()[-1]
    assert "Traceback" not in error
    assert not untrained


def test_shared_settings__in_params_say_which_way_the_study_looks(search: Search, untrained: list[DictConfig]) -> None:
    folder = search("+hydra.sweeper.params={callbacks.checkpoint.monitor:val/loss}", "hydra.sweeper.n_trials=1")
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'study.db'}")
    assert study.direction.name == "MINIMIZE"


def test_models__that_go_by_different_figures_are_not_compared(
    search: Search, untrained: list[DictConfig], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    enqueue(tmp_path / "search", "maximize", {"model": "resnet18"}, {"model": "unet"})
    with pytest.raises(SystemExit):
        search("model=choice(resnet18,unet)", "model.optimizer.lr=1e-3", "model.net.dropout=0", "model.input.size=32")
    assert "trial 1 goes by val/dice_pooled, the others by val/auroc" in capfd.readouterr().err
    assert len(untrained) == 1
    assert states(tmp_path / "search") == ["COMPLETE", "FAIL"]


def test_optuna__missing_is_told_with_the_command_that_installs_it(
    search: Search, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        search()
    assert capfd.readouterr().err.strip() == "pulmo: a search needs Optuna: pip install 'pulmo[optuna]'"


def test_single_run__of_a_search_is_refused(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    places = [f"data.root={phantoms / 'rsna'}", f"data.cache_dir={tmp_path / 'cache'}"]
    monkeypatch.setattr(sys, "argv", ["train.py", "sweep=optuna_classification", *SMALL, *places])
    with pytest.raises(SystemExit):
        launch.launch()
    assert "sweep=optuna_classification searches over many runs: add -m" in capfd.readouterr().err
