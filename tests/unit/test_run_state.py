from pathlib import Path

import pytest
from filelock import FileLock

from pulmo import run_state
from pulmo.run_state import State


@pytest.mark.parametrize(
    ("state", "files", "held"),
    [
        (None, [], False),
        (None, ["metrics.json"], True),  # of a version that wrote no state
        (State.FAILED, ["checkpoints/best.ckpt"], False),  # killed between the two checkpoints: begun anew
        (State.INTERRUPTED, ["metrics.json"], False),
        (State.INTERRUPTED, ["checkpoints/last.ckpt"], True),
        (State.FINISHED, [], True),
        (State.PRUNED, [], True),
    ],
)
def test_holds_a_run__what_could_be_lost(tmp_path: Path, state: State | None, files: list[str], held: bool) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    if state is not None:
        run_state.write(tmp_path, state)
    assert run_state.holds_a_run(tmp_path) is held


def test_read__a_run_that_nobody_holds_was_cut_off(tmp_path: Path) -> None:
    assert run_state.read(tmp_path) == {}
    run_state.write(tmp_path, State.RUNNING)
    with FileLock(tmp_path / run_state.LOCK):
        assert run_state.read(tmp_path)["state"] is State.RUNNING
    assert run_state.read(tmp_path)["state"] is State.CUT_OFF


def test_write__the_beginning_is_kept_and_the_cause_told(tmp_path: Path) -> None:
    run_state.write(tmp_path, State.RUNNING)
    began = run_state.read(tmp_path)["began"]
    run_state.write(tmp_path, State.FAILED, "no room")
    known = run_state.read(tmp_path)
    assert (known["began"], known["cause"]) == (began, "no room")
    assert known["ended"] >= began
