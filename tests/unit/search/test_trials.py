"""What becomes of trials: shared out, taken over after a kill, told."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.pruners import MedianPruner, NopPruner
from optuna.storages._rdb import storage
from optuna.study import Study
from optuna.trial import TrialState

from pulmo import run_state
from pulmo.errors import ConfigError
from pulmo.run_state import State
from pulmo.search.sampler import Seeded
from pulmo.search.space import Space
from pulmo.search.study import check_space, open_study, open_trial
from pulmo.search.trials import Job, Trials

TPE = "optuna.samplers.TPESampler"
SPACE = Space(["data=kermany"], {"lr": FloatDistribution(1e-5, 1e-2, log=True)})


def opened(folder: Path, seed: int = 0, direction: str = "max", **settings: Any) -> Study:
    sampler = Seeded(TPE, seed, n_startup_trials=2)
    return open_study(
        folder, name="study", storage=None, direction=direction, sampler=sampler, pruner=NopPruner(), **settings
    )


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[..., Trials]]:
    """What a process of its own would see; several may be had."""
    made: list[Trials] = []

    def begin(n_trials: int) -> Trials:
        made.append(Trials(opened(tmp_path), SPACE, tmp_path, n_trials))
        return made[-1]

    yield begin
    for trials in made:
        if trials._held.is_locked:
            trials.close()


def trained(job: Job, state: State, value: float | None = None, cause: str | None = None) -> None:
    """Leave in the trial's folder what a run leaves."""
    job.folder.mkdir(exist_ok=True)
    run_state.write(job.folder, State.RUNNING)
    config = {"callbacks": {"checkpoint": {"monitor": "val/auroc"}}, "trainer": {"precision": "32-true"}}
    (job.folder / "config.yaml").write_text(yaml.safe_dump(config))
    (job.folder / "metrics.json").write_text(json.dumps({"val/auroc": value, "test/auroc": 0.123}))
    if state is not State.CUT_OFF:
        run_state.write(job.folder, state, cause)
    (job.folder / run_state.LOCK).touch()


def test_trials__each_has_a_folder_of_its_own_and_is_told_its_number(process: Callable[..., Trials]) -> None:
    trials = process(3)
    jobs = trials.next(2)
    assert [job.number for job in jobs] == [0, 1]
    assert [job.folder.name for job in jobs] == ["trial_000", "trial_001"]
    assert "hydra.sweep.subdir=trial_001" in jobs[1].overrides
    assert "sweep.trial={study:'study',number:1}" in jobs[1].overrides
    assert "data=kermany" in jobs[1].overrides


def test_n_trials__failed_ones_do_not_count_and_the_validation_figure_is_told(process: Callable[..., Trials]) -> None:
    trials, outcomes = process(2), [(State.FAILED, None, "a defect"), (State.FINISHED, 0.7, None)]
    outcomes += [(State.FINISHED, None, None), (State.PRUNED, None, "pruned after epoch 3")]
    for state, value, cause in outcomes:
        (job,) = trials.next(1)
        trained(job, state, value, cause)
        assert trials.tell_folder(job.number, job.folder)
    assert trials.next(1) == []
    told = trials.study.get_trials()
    assert [trial.state.name for trial in told] == ["FAIL", "COMPLETE", "FAIL", "PRUNED"]
    assert told[1].value == 0.7
    assert told[0].user_attrs["cause"] == "a defect"
    assert "undefined" in told[2].user_attrs["cause"]
    assert trials.failures == 2


def test_n_trials__is_exact_where_two_processes_ask_at_the_same_moment(process: Callable[..., Trials]) -> None:
    both, barrier = [process(1), process(1)], threading.Barrier(2, timeout=30)
    jobs: list[Job] = []

    def ask(trials: Trials) -> None:
        asked = trials.study.ask

        def together(*arguments: Any) -> Any:
            barrier.wait()  # both have seen by now that one is lacking
            trial = asked(*arguments)
            barrier.wait()
            return trial

        trials.study.ask = together  # type: ignore[method-assign]
        jobs.extend(trials.next(1))

    threads = [threading.Thread(target=ask, args=(trials,)) for trials in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [job.number for job in jobs] == [0]
    (withdrawn,) = both[0].study.get_trials(states=(TrialState.FAIL,))
    assert "withdrawn" in withdrawn.user_attrs["cause"]


def test_living_process__keeps_its_trials(process: Callable[..., Trials]) -> None:
    one, other = process(3), process(3)
    (job,) = one.next(1)
    trained(job, State.CUT_OFF)
    (theirs,) = other.next(1)
    assert theirs.number == 1


def test_living_run__of_a_dead_process_is_left_alone(process: Callable[..., Trials]) -> None:
    one = process(2)
    (job,) = one.next(1)
    trained(job, State.CUT_OFF)
    one.close()
    with FileLock(job.folder / run_state.LOCK):
        (theirs,) = process(2).next(1)
    assert theirs.number == 1


def test_cut_off__goes_on_in_the_same_trial_from_its_checkpoint(process: Callable[..., Trials]) -> None:
    one = process(2)
    (job,) = one.next(1)
    trained(job, State.CUT_OFF)
    checkpoint = job.folder / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    one.close()
    (again, new) = process(2).next(5)
    assert (again.number, again.folder, new.number) == (0, job.folder, 1)
    assert again.overrides == job.overrides  # the run itself finds its checkpoint


def test_cut_off__before_a_checkpoint_its_values_are_tried_again(process: Callable[..., Trials]) -> None:
    one = process(1)
    assert [job.number for job in one.next(1)] == [0]
    one.close()
    other = process(1)
    (again,) = other.next(5)
    assert again.number == 1
    params = [trial.params for trial in other.study.get_trials()]
    assert params[0] == params[1]
    assert other.study.get_trials()[0].state is TrialState.FAIL


@pytest.mark.parametrize("checkpoint", [False, True])
def test_cut_off__a_second_time_is_a_failure(process: Callable[..., Trials], checkpoint: bool) -> None:
    for numbers in ([0], [0] if checkpoint else [1]):
        one = process(1)
        jobs = one.next(5)
        assert [job.number for job in jobs] == numbers
        trained(jobs[0], State.CUT_OFF)
        if checkpoint:
            (jobs[0].folder / "checkpoints").mkdir(exist_ok=True)
            (jobs[0].folder / "checkpoints" / "last.ckpt").touch()
        one.close()
    last = process(1)
    (new,) = last.next(5)
    trials = last.study.get_trials()
    assert new.number == numbers[0] + 1
    assert trials[new.number].params != trials[0].params
    assert "cut off 2 times" in trials[numbers[0]].user_attrs["cause"]
    assert last.failures == 1


def test_interrupted__as_often_as_one_likes_is_no_failure(process: Callable[..., Trials]) -> None:
    for _ in range(4):
        one = process(1)
        (job,) = one.next(5)
        assert job.number == 0
        trained(job, State.INTERRUPTED)
        (job.folder / "checkpoints").mkdir(exist_ok=True)
        (job.folder / "checkpoints" / "last.ckpt").touch()
        one.close()


def test_unsigned__is_tried_again_by_one_process_alone(
    process: Callable[..., Trials], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = process(2), process(2)
    one.study.ask(SPACE.searched)  # and its process was killed before it signed
    is_nobodys = Trials._is_nobodys

    def overtaken(trials: Trials, number: int, wait: float = 1.0) -> bool:
        answer = is_nobodys(trials, number, wait=0)
        return answer and not (trials is one and wait and list(other._cut_off()))  # which is quicker

    monkeypatch.setattr(Trials, "_is_nobodys", overtaken)
    assert list(one._cut_off()) == []
    assert [trial.state for trial in one.study.get_trials()] == [TrialState.FAIL, TrialState.WAITING]


def test_unsigned__is_left_to_a_process_whose_clock_is_of_another_zone(
    process: Callable[..., Trials], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Behind(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Behind":
            return cls.fromtimestamp(time.time() - 5 * 3600, tz)

    monkeypatch.setattr(storage, "datetime", Behind)
    one = process(2)
    asked = one.study.ask(SPACE.searched)
    signing = threading.Timer(0.3, one._signed, [asked.number], {"folder": "/of/another/machine"})
    signing.start()
    assert list(process(2)._cut_off()) == []
    signing.join()
    assert one.study.get_trials()[0].state is TrialState.RUNNING


def test_held__trials_of_another_process_are_told_at_the_end(
    process: Callable[..., Trials], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = process(2), process(2)
    one.next(1)
    other.tell_value(other.next(1)[0].number, 0.5)
    other.tell_held()
    assert "1 of 2 trials are still held elsewhere" in caplog.text


@pytest.mark.parametrize(("state", "told"), [(State.FINISHED, "COMPLETE"), (State.PRUNED, "PRUNED")])
def test_cut_off__after_a_runs_end_its_outcome_is_told(process: Callable[..., Trials], state: State, told: str) -> None:
    one = process(1)
    (job,) = one.next(1)
    trained(job, state, 0.8, "pruned")
    one.close()
    other = process(1)
    assert other.next(1) == []
    assert [trial.state.name for trial in other.study.get_trials()] == [told]


def test_sampler__draws_by_seed_and_number_whichever_process_asks(tmp_path: Path) -> None:
    def drawn(folder: Path, seed: int, processes: int) -> list[float]:
        studies = [opened(folder, seed) for _ in range(processes)]
        for number in range(6):
            study = studies[number % processes]
            trial = study.ask(SPACE.searched)
            study.tell(trial.number, -((trial.params["lr"] - 1e-3) ** 2))
        return [trial.params["lr"] for trial in studies[0].get_trials()]

    one = drawn(tmp_path / "one", 3, 1)
    assert one == drawn(tmp_path / "three", 3, 3)
    assert one != drawn(tmp_path / "seed", 4, 1)
    assert len(set(one)) == 6


def test_report__is_seen_by_the_pruner_of_another_process(process: Callable[..., Trials], tmp_path: Path) -> None:
    jobs, hopeless = process(3).next(3), []
    for job, figure in zip(jobs, (0.8, 0.9, 0.5), strict=True):
        pruner = MedianPruner(n_startup_trials=2, n_warmup_steps=0)
        trial, known = open_trial(job.number, tmp_path, name="study", storage=None, pruner=pruner)
        assert known == frozenset()
        trial.report(figure, 0)
        hopeless.append(trial.should_prune())
        trial.study.tell(job.number, figure)
    assert hopeless == [False, False, True]
    again = open_trial(jobs[0].number, tmp_path, name="study", storage=None, pruner=NopPruner())
    assert again[1] == {0}


def test_study__of_another_direction_or_other_choices_is_refused(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.ask({"model": CategoricalDistribution(["unet"])})
    with pytest.raises(ConfigError, match=r"begun to maximize: give another hydra\.sweeper\.study_name"):
        opened(tmp_path, direction="minimize")
    with pytest.raises(ConfigError, match="model: the study 'study' was begun with"):
        check_space(study, {"model": CategoricalDistribution(["unet", "unext"])})
    with pytest.raises(ConfigError, match="minimize or maximize"):
        opened(tmp_path, direction="up")


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("study.db", "is no URL of a database"),
        ("sqlite:////nowhere/at/all.db", "unable to open database file"),
        ("postgresql+pg8000://me:secret@host/x", r"postgresql\+pg8000://me:\*\*\*@host"),
    ],
)
def test_storage__that_cannot_be_had_is_told_without_its_password(tmp_path: Path, storage: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        open_study(tmp_path, name="s", storage=storage, direction="max", sampler=Seeded(TPE, 0), pruner=NopPruner())
    assert "secret" not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
