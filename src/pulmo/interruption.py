"""Signals that ask a run to end: obeyed at once, or, while a network trains, at the next step.

SIGINT (Ctrl-C), SIGTERM (`kill`, a scheduler), and SIGUSR1 and SIGUSR2, by which SLURM and submitit say that a job is
about to be cut off.
"""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from signal import Signals
from types import FrameType
from typing import Any, NoReturn

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
SIGNALS = tuple(Signals[name] for name in NAMES if name in Signals.__members__)  # Windows has two of them
REQUEUE = SIGNALS[2:]


class Interrupted(SystemExit):
    """The process was asked to end; its status is the one that a shell gives, 128 + the signal's number.

    No `Exception`: what goes on after a failed job (a sweep) must not go on after this. `place` says where in the
    training it was, `saved` whether that very state is in the checkpoint, `told` whether the user knows.
    """

    def __init__(self, number: int, place: str | None = None, saved: bool = False) -> None:
        super().__init__(128 + number)
        self.signal, self.place, self.saved = Signals(number), place, saved
        self.told = False

    def __reduce__(self) -> Any:
        return type(self), (self.signal, self.place, self.saved)

    def end_process(self, status: int) -> NoReturn:
        """End as `sys.exit` does, without taking down module by module what was imported: seconds, with torch."""
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class _Process:
    """What has been asked of this process. Signals are of the process, so there is one of these."""

    def __init__(self) -> None:
        self.asked: Signals | None = None
        self.waiting = False  # for a step's end, rather than to raise in the midst of it
        self.before: dict[Signals, Any] = {}
        self.pid = 0


_process = _Process()


def asked() -> Signals | None:
    """Signal that has come and is not obeyed yet."""
    return _process.asked


@contextmanager
def held() -> Iterator[None]:
    """Raise `Interrupted` behind this rather than within: where processes are forked, what a handler raises is lost."""
    before, _process.waiting = _process.waiting, True
    yield
    _process.waiting = before
    if _process.asked is not None and not before:
        raise Interrupted(_process.asked)


def wait_for_step(waits: bool) -> None:
    """Let a signal wait until someone looks at `asked`; or, with False, raise `Interrupted` wherever it strikes."""
    _process.waiting = waits


@contextmanager
def handled() -> Iterator[None]:
    """Answer to `SIGNALS` in here, within the first of these that is entered.

    Left alone are a signal that is ignored (`nohup`, a shell's background job) and a SIGTERM that a launcher already
    answers to, as submitit's does. A launcher's SIGUSR1 or SIGUSR2, which has the job queued again, comes after ours.
    """
    if _process.before or threading.current_thread() is not threading.main_thread():
        yield
        return
    _process.asked, _process.waiting, _process.pid = None, False, os.getpid()
    _process.before = {number: signal.getsignal(number) for number in SIGNALS}
    answer()
    try:
        yield
    finally:
        before, _process.before = _process.before, {}
        for number, handler in before.items():
            signal.signal(number, handler)
        last, _process.asked = _process.asked, None
        if last is not None and last in REQUEUE and callable(theirs := before[last]):
            theirs(last, None)


@contextmanager
def ended_at_once() -> Iterator[None]:
    """Have Ctrl-C end the process in here, where files are written beside their place: what it raises an import may
    swallow.

    Left alone is a signal that is ignored, or that someone answers to already.
    """
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    end = partial(_end, os.getpid())
    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is end:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(process: int, number: int, _: FrameType | None) -> NoReturn:
    if os.getpid() == process:  # of a forked worker the parent tells
        with suppress(Exception):  # it may be just being written to
            sys.stdout.flush()
        shown = "\x1b[?25h" if sys.stderr.isatty() else ""  # the cursor, which a progress bar hides
        os.write(2, f"{shown}\npulmo: interrupted\n".encode())
    os._exit(128 + number)


def answer() -> None:
    """Answer again: Lightning puts a handler for SIGTERM in the place of ours each time that it begins something.

    Its own waits for other processes in the midst of whatever they do, and forever if they do something else.
    """
    for number, handler in _process.before.items():
        if handler is not signal.SIG_IGN and not (number is signal.SIGTERM and callable(handler)):
            signal.signal(number, _note)


def leave_group(_: int = 0) -> None:
    """Take a worker process out of the process group, which a terminal signals as a whole; its parent still ends it."""
    if hasattr(os, "setpgrp"):  # Windows has none
        os.setpgrp()


def _note(number: int, _: FrameType | None) -> None:
    if os.getpid() != _process.pid:  # a forked worker: its parent was asked too
        return
    if _process.asked is None:
        _process.asked = Signals(number)
        if not _process.waiting:
            raise Interrupted(number)
    elif number == signal.SIGINT:  # Ctrl-C again: at once, whatever is being written
        os._exit(128 + number)
