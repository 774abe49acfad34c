from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock
from omegaconf import DictConfig
from tests.conftest import SMALL

from pulmo import run_state
from pulmo.errors import ConfigError
from pulmo.multirun import jobs
from pulmo.multirun.jobs import Job
from pulmo.run_state import State

Composed = Callable[..., DictConfig]


@pytest.fixture
def of_each(composed: Composed) -> Callable[..., list[Job]]:
    def named(*combinations: list[str]) -> list[Job]:
        return jobs.jobs_of(combinations, lambda overrides: composed(*SMALL[1:], *overrides))

    return named


def test_jobs_of__a_folder_is_named_by_what_differs(of_each: Callable[..., list[Job]]) -> None:
    common = ["data=rsna", "model=custom_cnn"]
    found = of_each(
        [*common, "augment=light", "model.optimizer.lr=1e-3", "seed=0"],
        [*common, "augment=none", "model.optimizer.lr=-0.5", "seed=0"],
        [*common, "augment=none", "model.optimizer.lr=-0.5", "seed=1"],
    )
    assert [job.name for job in found] == ["light_lr=1e-3_seed=0", "none_lr=-0.5_seed=0", "none_lr=-0.5_seed=1"]


def test_jobs_of__keys_that_end_alike_are_told_apart_and_odd_values_make_a_folder(
    of_each: Callable[..., list[Job]],
) -> None:
    found = of_each(
        ["model=custom_cnn", "model.input.mean=[0.1,0.2,0.3]", "+a.x='one/two'", "+b.x=1"],
        ["model=custom_cnn", "model.input.mean=[0.4,0.5,0.6]", "+a.x='one two'", "+b.x=2"],
    )
    assert [job.name for job in found] == ["mean=0.1-0.2-0.3_a.x=one-two_b.x=1", "mean=0.4-0.5-0.6_a.x=one-two_b.x=2"]


def test_jobs_of__names_are_distinct_and_short_enough_for_a_folder(of_each: Callable[..., list[Job]]) -> None:
    found = of_each(
        *(["model=custom_cnn", f"+note={mark}"] for mark in ("a/b", "a b", "x" * 400 + "1", "x" * 400 + "2"))
    )
    names = [job.name for job in found]
    assert len(set(names)) == 4
    assert max(map(len, names)) < 150


def test_jobs_of__a_single_job_has_a_name(of_each: Callable[..., list[Job]]) -> None:
    assert [job.name for job in of_each(["model=custom_cnn"])] == ["job"]


def test_jobs_of__jobs_that_differ_by_the_threshold_alone_share_a_training(of_each: Callable[..., list[Job]]) -> None:
    found = of_each(
        *(
            ["model=custom_cnn", f"threshold={policy}", f"seed={seed}"]
            for policy in ("half", "youden")
            for seed in (0, 1)
        )
    )
    assert [(job.name, job.training) for job in found] == [
        ("half_seed=0", None),
        ("half_seed=1", None),
        ("youden_seed=0", "half_seed=0"),
        ("youden_seed=1", "half_seed=1"),
    ]


@pytest.mark.parametrize(
    "watching",
    [
        ["model=custom_cnn", "callbacks.checkpoint.monitor=val/accuracy"],
        ["model=custom_cnn", "model.task.monitor=val/f1"],
        ["model=unext", "model.input.size=64", "data.target=opacity"],  # chooses the epoch by Dice at the cut-off
    ],
)
def test_jobs_of__no_training_is_shared_where_it_watches_a_figure_at_the_cut_off(
    of_each: Callable[..., list[Job]], watching: list[str]
) -> None:
    found = of_each([*watching, "threshold=half"], [*watching, "threshold=f1"])
    assert [job.training for job in found] == [None, None]


def test_begin__another_command_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    jobs.begin(tmp_path, ["-m", "seed=0,1", "model=vgg16"], [Job("seed=0", ("seed=0",))])
    jobs.begin(tmp_path, ["model=vgg16", "seed=0,1", "--multirun", "sweep.resume=true"], [Job("seed=0", ("seed=0",))])
    with pytest.raises(ConfigError, match=r"another command \(there seed=0,1; here seed=0,1,2\)"):
        jobs.begin(tmp_path, ["-m", "seed=0,1,2", "model=vgg16"], [])


def test_begin__how_the_jobs_are_run_may_change(tmp_path: Path) -> None:
    jobs.begin(tmp_path, ["-m", "seed=0,1", "hydra.sweeper.n_trials=6"], [])
    further = ["hydra.sweeper.n_trials=9", "launcher=joblib", "hydra.launcher.n_jobs=2"]
    jobs.begin(tmp_path, ["-m", "seed=0,1", *further], [])


def test_newest__finds_the_sweep_of_the_same_command(tmp_path: Path) -> None:
    for name, seeds in (("a", "0,1"), ("b", "0,1,2")):
        jobs.begin(tmp_path / name, ["-m", f"seed={seeds}"], [])
    assert jobs.newest(["-m", "seed=0,1", "sweep.resume=true"], tmp_path).name == "a"
    with pytest.raises(ConfigError, match="no sweep of this very command"):
        jobs.newest(["-m", "seed=0,1,2,3"], tmp_path)


@pytest.mark.parametrize(
    ("state", "left"),
    [(None, True), (State.FINISHED, False), (State.PRUNED, False), (State.FAILED, True), (State.INTERRUPTED, True)],
)
def test_left_to_do__what_is_done_is_skipped(tmp_path: Path, state: State | None, left: bool) -> None:
    (tmp_path / "job").mkdir()
    if state is not None:
        run_state.write(tmp_path / "job", state)
    overrides = jobs.left_to_do(tmp_path, Job("job", ("seed=0",)))
    assert overrides == (["seed=0", "hydra.sweep.subdir='job'"] if left else None)


def test_left_to_do__a_job_that_another_process_runs_is_left_to_it_and_one_that_was_killed_is_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "job").mkdir()
    run_state.write(tmp_path / "job", State.RUNNING)
    with FileLock(tmp_path / "job" / run_state.LOCK):
        assert jobs.left_to_do(tmp_path, Job("job", ())) is None
    assert run_state.read(tmp_path / "job")["state"] is State.CUT_OFF
    assert jobs.left_to_do(tmp_path, Job("job", ())) is not None


def test_has_its_training__a_shared_training_that_failed_fails_the_job(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    sharing = Job("second", (), training="first")
    assert not jobs.has_its_training(tmp_path, sharing)
    assert jobs.state_of(tmp_path, sharing) is None, "it may wait in a queue"
    run_state.write(tmp_path / "first", State.FAILED, "no room")
    assert not jobs.has_its_training(tmp_path, sharing)
    assert "first, whose training it shares" in run_state.read(tmp_path / "second")["cause"]
    run_state.write(tmp_path / "first", State.FINISHED)
    assert jobs.has_its_training(tmp_path, sharing)


def test_note_failure__what_a_job_said_itself_stands_and_what_an_earlier_one_said_does_not(tmp_path: Path) -> None:
    began = datetime.now(UTC)
    run_state.write(tmp_path, State.FAILED, "its own words")
    jobs.note_failure(tmp_path, "others' words", began)
    assert run_state.read(tmp_path)["cause"] == "its own words"
    jobs.note_failure(tmp_path, "of a later try", began + timedelta(minutes=1))
    assert run_state.read(tmp_path)["cause"] == "of a later try"
    jobs.note_failure(tmp_path / "silent", ValueError("first\nlast"), began)
    assert run_state.read(tmp_path / "silent")["cause"] == "last"
    run_state.write(tmp_path, State.FINISHED)
    jobs.note_failure(tmp_path, "too late", began + timedelta(minutes=2))
    assert run_state.read(tmp_path)["state"] is State.FINISHED
