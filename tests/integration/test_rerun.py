"""`pulmo rerun RUN`: the same run again, from its folder alone."""

import json
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pulmo import environment, run
from pulmo.composition import CONF
from pulmo.errors import RunError
from pulmo.finished import opened
from pulmo.rerun import comparison, differences_of_environment, main, rerun
from tests.conftest import SMALL, compose_in

QUICK = ["trainer.max_epochs=2", "callbacks.progress_bar=null", "logger=csv"]


@pytest.fixture(scope="module")
def earlier(phantoms: Path, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with dropout, augmentation and folds."""
    folder = tmp_path_factory.mktemp("runs") / "earlier"
    places = ["data=kermany", f"data.root={phantoms / 'kermany'}", f"data.cache_dir={cache_dir}"]
    overrides = [*SMALL, *places, *QUICK, "data.folds=3", "data.fold=1", "seed=3"]
    run.train(compose_in(folder, *overrides), folder, overrides)
    return folder


def test_rerun__a_moved_run_comes_out_the_same_bit_for_bit(
    earlier: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in earlier.rglob("*")}
    moved = tmp_path / "elsewhere" / "moved"
    shutil.copytree(earlier, moved)
    rerun(moved, tmp_path / "again", [])
    told = capfd.readouterr().out
    assert "figures equal to the last digit; best weights equal bit for bit" in told
    assert told.strip().splitlines()[-1] == str(tmp_path / "again")
    for name in ("predictions_test.csv", "predictions_val.csv", "split.csv", "history.csv", "overrides.yaml"):
        assert (tmp_path / "again" / name).read_bytes() == (moved / name).read_bytes(), name
    assert {path: path.stat().st_mtime_ns for path in earlier.rglob("*")} == before  # where the run once was


def test_rerun__a_changed_value_is_taken_and_what_differs_is_told(
    earlier: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rerun(earlier, tmp_path / "again", ["model.optimizer.lr=0.02"])
    told = capfd.readouterr().out
    assert "figures differ; best weights not equal" in told
    then = json.loads((earlier / "metrics.json").read_text())["val/loss"]
    assert f"  val/loss: {then} then, " in told


@pytest.mark.parametrize("override", ["model.optimizer.lrr=1", "model.optimizer", "optimizers=sgd"])
def test_recorded__an_override_must_name_a_value(earlier: Path, tmp_path: Path, override: str) -> None:
    with pytest.raises(RunError, match="no such key"):
        opened(earlier).recorded(tmp_path / "again", [override])


def test_recorded__a_trial_of_a_search_reports_to_no_study(earlier: Path, tmp_path: Path) -> None:
    trial = shutil.copytree(earlier, tmp_path / "trial")
    config = OmegaConf.load(trial / "composed.yaml")
    config.sweep.trial = {"study": "s", "number": 3}
    OmegaConf.save(config, trial / "composed.yaml")
    assert opened(trial).recorded(tmp_path / "again", []).sweep.trial is None


@pytest.mark.parametrize("logger", sorted(file.stem for file in (CONF / "logger").glob("*.yaml")))
def test_composed__stands_without_hydra(tmp_path: Path, logger: str) -> None:
    environment.write(compose_in(tmp_path, *SMALL, f"logger={logger}"), tmp_path, [])
    assert "${hydra:" not in (tmp_path / "composed.yaml").read_text()


def test_recorded__a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is no run's folder"):
        opened(tmp_path).recorded(tmp_path / "again", [])


def test_differences_of_environment__names_what_changed(earlier: Path, tmp_path: Path) -> None:
    assert differences_of_environment(earlier) == []
    path = shutil.copy(earlier / "environment.json", tmp_path)
    known = json.loads(Path(path).read_text())
    known["packages"]["torch"], known["threads"] = "1.0", 64
    Path(path).write_text(json.dumps(known))
    packages, threads = differences_of_environment(tmp_path)
    assert packages.endswith("was 1.0")
    assert threads.endswith("was 64")


def test_comparison__undefined_figures_are_equal_and_times_are_left_out(tmp_path: Path) -> None:
    figures = {"then": {"a": 1.0, "b": None, "data/prepare_seconds": 1}, "now": {"a": 1.0, "b": None, "x_seconds": 2}}
    for name, content in figures.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(content))
    assert comparison(tmp_path / "then", tmp_path / "now").startswith("2 figures equal to the last digit")


def test_main__tells_a_mistake_in_a_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(tmp_path / "none", tmp_path / "again", [])
    assert ended.value.code == 1
    error = capfd.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert "give the folder of a run" in error
    assert not (tmp_path / "again").exists()
