import json
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from filelock import FileLock
from rich.console import Console

from pulmo import run_state
from pulmo.errors import ConfigError
from pulmo.multirun import jobs, table
from pulmo.multirun.jobs import Job
from pulmo.run_state import State


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep of five jobs: one finished, one failed, one running, one killed, one that has not begun."""
    folder = tmp_path / "sweep"
    names = ("done", "bad", "busy", "killed", "later")
    jobs.begin(folder, ["-m", "seed=0,1,2,3,4"], [Job(name, (f"seed={n}",)) for n, name in enumerate(names)])
    for name in names[:4]:
        (folder / name).mkdir()
        run_state.write(folder / name, State.RUNNING)
    run_state.write(folder / "done", State.FINISHED)
    run_state.write(folder / "bad", State.FAILED, "no room")
    (folder / "done" / "metrics.json").write_text(json.dumps({"test/auroc": 0.9, "val/auroc": 0.8, "test/loss": None}))
    (folder / "done" / "overrides.yaml").write_text(yaml.safe_dump(["seed=0"]))
    pd.DataFrame({"epoch": [0, 1]}).to_csv(folder / "done" / "history.csv", index=False)
    return folder


def printed(shown: object) -> str:
    console = Console(width=150, record=True)
    console.print(shown)
    return console.export_text()


def test_progress__tells_of_each_job_where_it_stands(sweep: Path) -> None:
    with FileLock(sweep / "busy" / run_state.LOCK):
        found = table.progress(sweep).set_index("job")
    assert found["state"].tolist() == ["finished", "failed", "running", "cut off", "waiting"]
    assert found.loc["done", "epochs"] == 2
    assert found.loc["done", "auroc"] == 0.9
    assert found.loc["bad", "cause"] == "no room"


def test_progress__a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no sweep's folder"):
        table.progress(tmp_path)


def test_progress_table__counts_in_its_title_and_keeps_long_sweeps_short(sweep: Path) -> None:
    found = table.progress(sweep)
    assert "1 of 5 finished, 1 failed, 2 cut off, 1 waiting" in printed(table.progress_table(found))
    done = found.assign(state="finished", job="done")
    many = pd.concat([found.assign(state="waiting", job="later"), *[done] * 5, found[found["job"] == "bad"]])
    long = printed(table.progress_table(many.reset_index(drop=True)))
    assert "bad" in long, "what failed is never left out"
    assert f"{len(many) - table.MOST} further jobs: see progress.csv" in long


def test_tell_result__counts_failures_and_what_came_to_no_end(sweep: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert table.tell_result(sweep) == (1, 3)
    told = capfd.readouterr().out
    assert "failed: bad: no room" in told
    assert pd.read_csv(sweep / "comparison.csv")["run"].tolist() == ["done"]


def test_watched__tells_when_a_job_ends(sweep: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with table.watched(sweep, seconds=0.05):
        _wait_for("1 of 5 finished", capfd)
        run_state.write(sweep / "busy", State.FINISHED)
        _wait_for("2 of 5 finished", capfd)


def _wait_for(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    until, told = time.monotonic() + 10, ""
    while text not in told:
        assert time.monotonic() < until, told
        time.sleep(0.05)
        told += capfd.readouterr().out


def test_watch__ends_with_the_last_job(sweep: Path) -> None:
    run_state.write(sweep / "killed", State.FAILED, "killed")
    for name in ("busy", "later"):
        (sweep / name).mkdir(exist_ok=True)
        run_state.write(sweep / name, State.FINISHED)
    table.watch(sweep, seconds=0.01)


def test_newest_sweep__is_the_one_begun_last(sweep: Path, tmp_path: Path) -> None:
    assert table.newest_sweep(tmp_path) == sweep
    with pytest.raises(ConfigError, match="no sweep in"):
        table.newest_sweep(tmp_path / "outputs")
