"""What a process does about signals; each in one of its own, without torch."""

import pickle
import signal
import subprocess
import sys

import pytest

from pulmo.interruption import Interrupted

PREAMBLE = """
import os, signal, sys, time
from pulmo import interruption
from pulmo.interruption import Interrupted
me = os.getpid()
"""


def status(code: str) -> tuple[int, str]:
    """Run the code; give its exit status and what it printed."""
    finished = subprocess.run([sys.executable, "-c", PREAMBLE + code], capture_output=True, text=True, check=False)
    assert "Traceback" not in finished.stderr, finished.stderr
    return finished.returncode, finished.stdout.strip()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"])
def test_signal__strikes_at_once_where_nothing_is_to_be_saved(name: str) -> None:
    code = f"""
signal.signal(signal.SIGINT, signal.default_int_handler)
with interruption.handled():
    os.kill(me, signal.{name})
    time.sleep(5)
    print("went on")
"""
    assert status(code) == (128 + signal.Signals[name], "")


def test_signal__waits_for_the_step() -> None:
    code = """
with interruption.handled():
    interruption.wait_for_step(True)
    os.kill(me, signal.SIGTERM)
    print("went on", interruption.asked().name)
"""
    assert status(code) == (0, "went on SIGTERM")


def test_ctrl_c__again_ends_at_once_while_the_first_is_obeyed() -> None:
    code = """
signal.signal(signal.SIGINT, signal.default_int_handler)
with interruption.handled():
    interruption.wait_for_step(True)
    os.kill(me, signal.SIGINT)
    print("saving", flush=True)
    os.kill(me, signal.SIGINT)
    print("saved")
"""
    assert status(code) == (128 + signal.SIGINT, "saving")


def test_sigterm__again_does_not_disturb_the_saving() -> None:
    code = """
with interruption.handled():
    interruption.wait_for_step(True)
    os.kill(me, signal.SIGTERM)
    os.kill(me, signal.SIGTERM)
    print("saved")
"""
    assert status(code) == (0, "saved")


def test_ignored_signal__stays_ignored() -> None:
    code = """
signal.signal(signal.SIGINT, signal.SIG_IGN)
with interruption.handled():
    os.kill(me, signal.SIGINT)
    print("went on")
"""
    assert status(code) == (0, "went on")


def test_launcher__queues_the_job_again_after_it_was_saved() -> None:
    code = """
signal.signal(signal.SIGTERM, lambda *_: print("bypassed"))
signal.signal(signal.SIGUSR2, lambda *_: print("queued again"))
with interruption.handled():
    interruption.wait_for_step(True)
    os.kill(me, signal.SIGTERM)
    os.kill(me, signal.SIGUSR2)
    print("saved")
"""
    assert status(code) == (0, "bypassed\nsaved\nqueued again")


def test_handlers__are_those_of_before_afterwards() -> None:
    code = """
before = [signal.getsignal(number) for number in interruption.SIGNALS]
with interruption.handled(), interruption.handled():
    pass
print(before == [signal.getsignal(number) for number in interruption.SIGNALS])
"""
    assert status(code) == (0, "True")


def test_fork__is_not_interrupted() -> None:
    code = """
try:
    with interruption.handled(), interruption.held():
        os.kill(me, signal.SIGTERM)
        print("forked", flush=True)
except Interrupted as stop:
    print(stop.signal.name)
"""
    assert status(code) == (0, "forked\nSIGTERM")


def test_interrupted__crosses_process_borders() -> None:
    stop = pickle.loads(pickle.dumps(Interrupted(signal.SIGTERM, "epoch 1", saved=True)))
    assert (stop.signal, stop.place, stop.saved, stop.code) == (signal.SIGTERM, "epoch 1", True, 143)
