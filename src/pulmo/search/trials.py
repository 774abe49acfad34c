"""The trials of a study: asked for, taken over where a process was killed, and told what came out."""

import json
import logging
import math
import os
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock
from hydra.core.override_parser.types import Quote, QuotedString
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from pulmo import run_state
from pulmo.run_state import State
from pulmo.search.space import Space
from pulmo.search.study import LOCK, running

log = logging.getLogger(__name__)

COUNTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
ATTEMPTS = 2
"""Processes that may be killed in a trial: what takes too much memory would end every one."""
UNOWNED = 60.0
"""A trial is asked for, then signed by its process, in less than a second; one unsigned for as many has nobody."""


@dataclass(frozen=True)
class Job:
    """A trial to be trained now."""

    number: int
    folder: Path
    overrides: list[str] = field(repr=False)


class Trials:
    """The trials of `study` as one process of the search sees them; other processes may work on it too.

    A process signs each of its trials with a file that it holds locked, so that others tell a trial of a living
    process from one that was cut off. `close` lets go of it.
    """

    def __init__(self, study: Study, space: Space, folder: Path, n_trials: int) -> None:
        self.study, self.space, self.folder, self.n_trials = study, space, folder.resolve(), n_trials
        self.failures = 0
        self._mark = self.folder / ".processes" / f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        self._mark.mkdir(parents=True)
        self._held = FileLock(self._mark / run_state.LOCK)
        self._held.acquire()

    def close(self) -> None:
        """Let go of the trials of this process."""
        self._held.release()
        for path in self._mark.iterdir():
            path.unlink()
        self._mark.rmdir()

    def next(self, most: int) -> list[Job]:
        """Up to `most` trials to train side by side: those that were cut off, then new ones; empty at the end."""
        jobs: list[Job] = []
        for job in self._cut_off():
            jobs.append(job)
            if len(jobs) == most:
                return jobs
        while len(jobs) < most and self._counted() < self.n_trials:
            job_or_none = self._ask()
            if job_or_none is None:
                break
            jobs.append(job_or_none)
        return jobs

    def tell_held(self) -> None:
        """Say how many of the `n_trials` are not ended, for others have them."""
        held = len(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
        if held:
            log.warning(
                "%d of %d trials are still held elsewhere; where that machine is gone for good, a greater "
                "hydra.sweeper.n_trials makes up for them",
                *(held, self.n_trials),
            )

    def tell_value(self, number: int, value: float | None) -> None:
        """The trial gave its figure; one that is undefined fails it."""
        if value is None or not math.isfinite(value):
            self.tell_failure(number, f"its validation figure is undefined ({value})")
            return
        self._signed(number, seconds=self._seconds(number))
        self.study.tell(number, value, skip_if_finished=True)
        best = self.study.best_trial
        log.info("trial %d: %.4f; best so far %.4f, of trial %d", number, value, best.value, best.number)

    def tell_pruned(self, number: int, cause: str) -> None:
        """The trial was ended, since others did better."""
        self._signed(number, cause=cause, seconds=self._seconds(number))
        self.study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)
        log.info("trial %d: %s", number, cause)

    def tell_failure(self, number: int, cause: str) -> None:
        """The trial came to nothing; another takes its place among the `n_trials`."""
        self.failures += 1
        self._signed(number, cause=cause)
        self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        log.error("trial %d failed: %s", number, cause)

    def tell_folder(self, number: int, folder: Path) -> bool:
        """Tell what the trial's folder says; give False where its run has not come to an end."""
        known = run_state.read(folder)
        if known.get("state") is State.PRUNED:
            self.tell_pruned(number, known["cause"])
        elif known.get("state") is State.FAILED:
            self.tell_failure(number, known["cause"])
        elif known.get("state") is State.FINISHED:
            config = yaml.safe_load((folder / "config.yaml").read_text())
            figures = json.loads((folder / "metrics.json").read_text())
            self.tell_value(number, figures.get(config["callbacks"]["checkpoint"]["monitor"]))
        else:
            return False
        return True

    def _counted(self, before: int | None = None) -> int:
        """Trials that stand for one of the `n_trials`; `before` a number, those that wait there to be begun too."""
        trials = self.study.get_trials(deepcopy=False)
        if before is None:
            return sum(trial.state in COUNTED for trial in trials)
        return sum(trial.state in (*COUNTED, TrialState.WAITING) for trial in trials[:before])

    def _ask(self) -> Job | None:
        trial = self.study.ask(self.space.searched)
        folder = self.folder / f"trial_{trial.number:03d}"
        self._signed(trial.number, folder=str(folder), process=str(self._mark))
        if self._counted(before=trial.number) >= self.n_trials:
            # Another process asked at the same moment; all judge by the numbers, so that one gives way and not both.
            self._signed(trial.number, cause="withdrawn: another process had the last one")
            self.study.tell(trial.number, state=TrialState.FAIL)
            return None
        return self._job(trial.number, folder, trial.params)

    def _cut_off(self) -> Iterator[Job]:
        """Take over trials whose process is gone, where their folder can be seen from here."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            signed = trial.user_attrs
            if "folder" not in signed:
                if self._is_nobodys(trial.number):
                    with FileLock(self.folder / LOCK):
                        if self._is_nobodys(trial.number, wait=0):
                            self._again(trial, signed.get("attempts", 0))
                continue
            folder = Path(signed["folder"])
            if not folder.parent.is_dir():  # of another machine
                continue
            with FileLock(folder.parent / LOCK):
                now = self.study.get_trials(deepcopy=False)[trial.number]
                process = Path(now.user_attrs["process"])
                if now.state is not TrialState.RUNNING or run_state.is_held(process) or run_state.is_held(folder):
                    continue
                self._signed(trial.number, process=str(self._mark))
            if self.tell_folder(trial.number, folder):
                continue
            killed = run_state.read(folder).get("state") is not State.INTERRUPTED
            attempts = signed.get("attempts", 0) + killed
            self._signed(trial.number, attempts=attempts)
            if attempts >= ATTEMPTS:
                self.tell_failure(trial.number, f"cut off {attempts} times: killed, as for want of memory")
            elif (folder / "checkpoints" / "last.ckpt").is_file():
                log.info("trial %d was cut off: it goes on from its last checkpoint", trial.number)
                yield self._job(trial.number, folder, trial.params)
            else:
                self._again(trial, attempts)

    def _is_nobodys(self, number: int, wait: float = UNOWNED) -> bool:
        """Whether a trial stays unsigned for `wait` seconds of this clock: others' may be of another time zone."""
        until = time.monotonic() + wait
        while True:
            now = self.study.get_trials(deepcopy=False)[number]
            if now.state is not TrialState.RUNNING or "folder" in now.user_attrs:
                return False
            if time.monotonic() >= until:
                return True
            time.sleep(0.2)

    def _again(self, trial: FrozenTrial, attempts: int) -> None:
        log.info("trial %d was cut off before its first checkpoint: its values are tried again", trial.number)
        self._signed(trial.number, cause="cut off before its first checkpoint; tried again")
        if trial.params:
            self.study.enqueue_trial(trial.params, user_attrs={"attempts": attempts})
        self.study.tell(trial.number, state=TrialState.FAIL)

    def _job(self, number: int, folder: Path, params: dict[str, Any]) -> Job:
        own = [
            f"hydra.sweep.dir={_quoted(folder.parent)}",
            f"hydra.sweep.subdir={folder.name}",
            f"sweep.trial={{study:{_quoted(self.study.study_name)},number:{number}}}",
        ]
        return Job(number, folder, [*self.space.overrides(params), *own])

    def _signed(self, number: int, **attributes: Any) -> None:
        trial = running(self.study, number)
        for key, value in attributes.items():
            trial.set_user_attr(key, value)

    def _seconds(self, number: int) -> float:
        """From the beginning of the last process that trained the trial."""
        folder = Path(running(self.study, number).user_attrs["folder"])
        known = run_state.read(folder)
        if not known.get("ended"):
            return math.nan
        return (datetime.fromisoformat(known["ended"]) - datetime.fromisoformat(known["began"])).total_seconds()


def _quoted(value: object) -> str:
    return str(QuotedString(str(value), Quote.single).with_quotes())
