"""The processes of one run: started together, ended together, and told of when one of them is lost."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch.distributed
from lightning_fabric.utilities.distributed import _set_num_threads_if_needed
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import ParallelStrategy
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from pulmo import run_state
from pulmo.environment import in_sweep
from pulmo.errors import ConfigError, PulmoError, TrainingError
from pulmo.run_state import State

ENTRY = Path(__file__).parent / "entry" / "process.py"
PARENT = "PULMO_PARENT"  # number of the process that started this one
OF_A_RUN = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")  # Lightning sets and leaves them
UNHEARD = re.compile("by peer|remote process|[Cc]onnection|Broken pipe")  # gloo's and NCCL's words for it
SOON, LATE = 5.0, 20.0  # seconds: to learn of a process that has ended, and to come out of waiting for it


@contextmanager
def together(trainer: Trainer, config: DictConfig, folder: Path) -> Iterator[None]:
    """Have the further processes of a run trained and ended with this one, whichever way it ends.

    Raises `TrainingError` in place of what torch says when it no longer hears of a process.
    """
    launcher = _own_launcher(trainer, config, folder)
    before = {name: os.environ.get(name) for name in OF_A_RUN}
    if PARENT in os.environ:
        threading.Thread(target=_end_with_parent, args=(folder, trainer), daemon=True).start()
    try:
        yield
        if launcher is not None:
            launcher.join()
    except PulmoError:
        raise
    except Exception as error:
        lost = None if trainer.world_size == 1 else launcher.lost() if launcher else _lost(trainer, error)
        if lost is not None:
            raise TrainingError(f"{lost}; {_how_to_go_on(folder)}") from error
        raise
    finally:
        if launcher is not None:
            launcher.end()
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()
            for name, value in before.items():  # the next job of a sweep starts processes of its own
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})


class Launcher(_SubprocessScriptLauncher):
    """Starts the further processes on this machine as Lightning does, but for two things.

    They are given the configuration itself: by the command line they would run all jobs of a sweep. And when one is
    lost, this process says so; Lightning kills it without a word.
    """

    def __init__(self, of: _SubprocessScriptLauncher, config: DictConfig, folder: Path) -> None:
        super().__init__(of.cluster_environment, of.num_processes, of.num_nodes)
        self.config, self.folder = config, folder
        self._ended = threading.Event()

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Trainer | None = None, **kwargs: Any) -> Any:
        """Start the processes where that was not done, then call the function."""
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
            threading.Thread(target=self._watch, daemon=True).start()
        _set_num_threads_if_needed(self.num_processes)
        return function(*args, **kwargs)

    def _call_children_scripts(self) -> None:
        environment = self.cluster_environment
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = environment.main_address, str(environment.main_port)
        os.environ["NODE_RANK"], os.environ["LOCAL_RANK"] = str(environment.node_rank()), str(environment.local_rank())
        os.environ["WORLD_SIZE"] = str(self.num_processes * self.num_nodes)
        told = OmegaConf.to_yaml(self.config, resolve=True).encode()
        modules = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        for local_rank in range(1, self.num_processes):
            own = {**modules, "LOCAL_RANK": str(local_rank), PARENT: str(os.getpid())}
            command = [sys.executable, str(ENTRY), str(self.folder.resolve())]
            # In a group of its own: Ctrl-C reaches the first process alone, which has all stop at the same step.
            process = subprocess.Popen(command, env=os.environ | own, stdin=subprocess.PIPE, process_group=0)
            self.procs.append(process)
            if process.stdin is not None:
                process.stdin.write(told)
                process.stdin.close()

    def lost(self) -> str | None:
        """Wait a moment for a process that has ended before its time; say which and how."""
        until = time.monotonic() + SOON
        while time.monotonic() < until:
            for number, process in enumerate(self.procs, start=2):
                if process.poll():
                    return f"process {number} of {self.num_processes} ended ({_how(process.returncode)})"
            time.sleep(0.1)
        return None

    def join(self) -> None:
        """Wait for the processes to end by themselves."""
        for process in self.procs:
            process.wait(LATE)

    def end(self) -> None:
        """End what is left of the processes."""
        self._ended.set()
        for process in self.procs:
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + SOON
        while time.monotonic() < until and any(process.poll() is None for process in self.procs):
            time.sleep(0.05)
        for process in self.procs:
            process.kill()
            process.wait()
        self.procs = []

    def _watch(self) -> None:
        """End this process where it does not find out by itself that another one is lost, as with NCCL."""
        while not self._ended.wait(0.5):
            if any(process.poll() for process in self.procs) and not self._ended.wait(LATE):
                message = f"{self.lost()}; {_how_to_go_on(self.folder)}"
                run_state.write(self.folder, State.FAILED, message)
                for process in self.procs:
                    process.kill()
                _exit(message)


def _own_launcher(trainer: Trainer, config: DictConfig, folder: Path) -> Launcher | None:
    """Put ours in the place of Lightning's; None in a process that starts no others."""
    strategy = trainer.strategy
    if not isinstance(strategy, ParallelStrategy) or not isinstance(strategy.launcher, _SubprocessScriptLauncher):
        return None
    if strategy.launcher.cluster_environment.creates_processes_externally:
        return None
    if trainer.num_nodes > 1:
        raise ConfigError(
            f"trainer.num_nodes={trainer.num_nodes}: start the processes by torchrun or srun, or give one node"
        )
    strategy._launcher = Launcher(strategy.launcher, config, folder)
    return strategy._launcher


def _lost(trainer: Trainer, error: Exception) -> str | None:
    """Say which processes are lost, in one that did not start them; None where the error is this one's own.

    All that are left come here, since torch tells each of them; the first of them speaks, the others exit.
    """
    if not isinstance(error, RuntimeError) or not UNHEARD.search(str(error)):
        return None
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it at once, before anything could be said
    store, number = torch.distributed.distributed_c10d._get_default_store(), trainer.world_size
    try:
        store.set(f"pulmo/left/{trainer.global_rank}", "yes")
        time.sleep(2)
        left = [rank for rank in range(number) if store.check([f"pulmo/left/{rank}"])]
    except RuntimeError:
        return f"process 1 of {number} ended"  # it kept the store
    if trainer.global_rank != left[0]:
        sys.exit(1)
    lost = [str(rank + 1) for rank in range(number) if rank not in left]
    return f"process {' and '.join(lost) or '?'} of {number} ended"


def _end_with_parent(folder: Path, trainer: Trainer) -> None:
    parent = int(os.environ[PARENT])
    while os.getppid() == parent:
        time.sleep(0.5)
    if trainer.local_rank == 1:
        _exit(f"process 1 of {trainer.world_size} ended; {_how_to_go_on(folder)}")
    os._exit(1)


def _how_to_go_on(folder: Path) -> str:
    if in_sweep():
        return "the same command with sweep.resume=true goes on"
    begun = (folder / "checkpoints" / "last.ckpt").is_file()
    return f"go on by resume={folder}" if begun else "there is no checkpoint yet: begin anew by the same command"


def _how(status: int) -> str:
    if status > 0:
        return f"with status {status}"
    killer = f"by signal {-status}, {signal.Signals(-status).name}"
    return f"{killer}: out of memory, or killed by hand" if -status == signal.SIGKILL else killer


def _exit(message: str) -> NoReturn:
    print(f"pulmo: {message}", file=sys.stderr, flush=True)
    os._exit(1)
