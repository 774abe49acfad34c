"""Processes of one run, however they were started: one folder, one word when one is lost, and no sweep in each."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import command_line, figures_of, small_with

TRAIN = str(Path(__file__).parents[2] / "train.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
BY_TORCHRUN, BY_US = [*TORCHRUN, TRAIN], [sys.executable, TRAIN]
QUIET = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def overrides(phantoms: Path, tmp_path: Path) -> list[str]:
    """Two processes on the CPU, an epoch."""
    places = [f"data.root={phantoms / 'rsna'}", f"data.cache_dir={tmp_path / 'cache'}"]
    return [*small_with("strategy=ddp_cpu"), "trainer.max_epochs=1", "callbacks.progress_bar=null", *places]


def as_srun(rank: int) -> dict[str, str]:
    """The variables of one of two tasks on this machine."""
    job = {"ID": str(os.getpid()), "NAME": "train", "NODELIST": "localhost"}
    tasks = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0"}
    named = {f"SLURM_JOB_{name}": value for name, value in job.items()} | {"SLURM_NODELIST": "localhost"}
    return QUIET | tasks | named | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}


def both(command: list[str], folder: Path) -> Iterator[subprocess.CompletedProcess[str]]:
    """Run the command as srun would, twice; the second task begins a second later."""
    tasks = []
    for rank in (0, 1):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        tasks.append(subprocess.Popen(command, cwd=folder, env=as_srun(rank), **pipes))  # type: ignore[call-overload]
        time.sleep(1)
    for task in tasks:
        out, err = task.communicate(timeout=200)
        yield subprocess.CompletedProcess(command, task.returncode, out, err)


AGREE = """
import sys
from omegaconf import OmegaConf
from pulmo import config
from pulmo.agreement import agree, is_first_process
from pulmo.errors import ConfigError

def resolve(arguments):
    assert is_first_process(), "asked once"
    if "wrong" in arguments:
        raise ConfigError("no such run")
    return [*arguments, "resume=RUN"]

print(agree(sys.argv[1:], resolve), OmegaConf.create({"time": "${launched:%H:%M:%S_%f}"}).time)
"""


def test_agree__the_first_process_says_when_and_with_what(tmp_path: Path) -> None:
    first, second = both([sys.executable, "-c", AGREE, "resume=last"], tmp_path)
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert first.stdout == second.stdout
    assert first.stdout.startswith("['resume=last', 'resume=RUN']")


@pytest.mark.slow
def test_agree__a_mistake_ends_all_and_is_told_by_one(tmp_path: Path) -> None:
    first, second = both([sys.executable, "-c", AGREE, "wrong"], tmp_path)
    assert (first.returncode, second.returncode) == (1, 1)
    assert "no such run" in first.stderr
    assert second.stderr == ""


@pytest.mark.slow
def test_sweep__each_job_trains_and_tests_with_processes_of_its_own(overrides: list[str], tmp_path: Path) -> None:
    command = [*BY_US, "-m", *overrides, "seed=0,1"]
    finished = subprocess.run(
        command, cwd=tmp_path, env=QUIET, capture_output=True, text=True, timeout=200, check=False
    )
    assert finished.returncode == 0, finished.stderr
    (sweep,) = (tmp_path / "outputs" / "multirun").iterdir()
    jobs = sorted(path.parent for path in sweep.glob("*/metrics.json"))
    assert len(jobs) == 2
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["multirun"]
    for job in jobs:
        assert "test/auroc" in figures_of(job)
        assert (job / "train.log").read_text().count(" an update\n") == 1, "one process writes"


@pytest.mark.parametrize(
    ("start", "rank", "said"),
    [
        pytest.param(BY_US, 1, "process 2 of 2 ended (by signal 9, SIGKILL", id="child", marks=pytest.mark.slow),
        pytest.param(BY_US, 0, "process 1 of 2 ended; go on", id="parent", marks=pytest.mark.slow),
        pytest.param(BY_TORCHRUN, 1, "process 2 of 2 ended; go on", id="torchrun-second", marks=pytest.mark.slow),
        pytest.param(BY_TORCHRUN, 0, "process 1 of 2 ended; go on", id="torchrun-first", marks=pytest.mark.slow),
    ],
)
def test_killed_process__ends_the_run_with_one_message(
    overrides: list[str], tmp_path: Path, start: list[str], rank: int, said: str
) -> None:
    run = tmp_path / "run"
    command = [*start, *command_line(*overrides, "trainer.max_epochs=5000", f"run_dir={run}")]
    with (tmp_path / "said").open("w") as stream:
        started = subprocess.Popen(command, cwd=tmp_path, env=QUIET, stdout=stream, stderr=stream)
        until = time.monotonic() + 100
        while not (run / "checkpoints" / "last.ckpt").exists() and time.monotonic() < until and started.poll() is None:
            time.sleep(0.1)
        os.kill(_process(run, rank, started.pid if start == BY_US else 0), signal.SIGKILL)
        status = started.wait(60)
    assert status == (-signal.SIGKILL if start == BY_US and rank == 0 else 1)
    until = time.monotonic() + 30
    while _processes(run) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _processes(run), "nothing is left"
    text = (tmp_path / "said").read_text()
    assert text.count(f"pulmo: {said}") == 1, text
    assert f"go on by resume={run}" in text
    assert "gloo" not in text
    if rank == 1:
        assert json.loads((run / "state.json").read_text())["state"] == "failed"


def _processes(run: Path) -> dict[int, str]:
    """Numbers of the processes that train in the folder, and their environment."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(run) in (process / "cmdline").read_text():
                found[int(process.name)] = (process / "environ").read_text()
        except OSError:
            continue
    return found


def _process(run: Path, rank: int, parent: int) -> int:
    if rank == 0 and parent:
        return parent
    return next(number for number, variables in _processes(run).items() if f"LOCAL_RANK={rank}\0" in variables)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["torchrun", "srun"])
def test_started_together__processes_make_one_folder_and_go_on_in_it(
    overrides: list[str], tmp_path: Path, way: str
) -> None:
    def start(*arguments: str) -> str:
        if way == "srun":
            ended = list(both([*BY_US, *arguments], tmp_path))
        else:
            command = [*BY_TORCHRUN, *arguments]
            ended = [subprocess.run(command, cwd=tmp_path, env=QUIET, capture_output=True, text=True, check=False)]
        assert all(process.returncode == 0 for process in ended), "".join(process.stderr for process in ended)
        return "".join(process.stdout + process.stderr for process in ended)

    assert start(*overrides).count("8 images × 2 processes = 16 images an update") == 1
    start("resume=last", "trainer.max_epochs=2")
    (folder,) = (tmp_path / "outputs" / "rsna_custom_cnn").iterdir()
    assert pd.read_csv(folder / "history.csv")["epoch"].tolist() == [0, 1]


@pytest.mark.slow
def test_started_together__a_sweep_is_refused(tmp_path: Path) -> None:
    command = [*BY_US, "-m", "seed=0,1"]
    first, _ = both(command, tmp_path)
    assert first.returncode == 1
    assert first.stderr == (
        "pulmo: -m under torchrun or srun would run the sweep in each process: start it by python, with strategy=ddp\n"
    )


@pytest.mark.slow
def test_nodes__without_a_launcher_are_refused(overrides: list[str], tmp_path: Path) -> None:
    command = [*BY_US, *overrides, "trainer.num_nodes=2"]
    refused = subprocess.run(command, cwd=tmp_path, env=QUIET, capture_output=True, text=True, timeout=100, check=False)
    assert refused.returncode == 1
    assert "start the processes by torchrun or srun, or give one node" in refused.stderr
