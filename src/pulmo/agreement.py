"""What the processes of one run agree on before any composes a configuration: its arguments and its time.

torchrun and srun start every process by the same command line, so each would read the clock for the run's folder, and
look for the run that `resume=last` means, by itself.
"""

import json
import os
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from omegaconf import OmegaConf

from pulmo.errors import ConfigError, PulmoError

WAIT = timedelta(minutes=5)  # for processes that start late, on a busy machine or a slow disk

_stores: list[Any] = []  # held to the end: torch opens its own store of the run at the same port


def is_first_process() -> bool:
    """Whether no launcher (Lightning's, torchrun, SLURM) has made this process a later rank."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def agree(arguments: list[str], resolve: Callable[[list[str]], list[str]]) -> list[str]:
    """Give what `resolve` makes of the command line's arguments, in the first process, to all processes of the run.

    Raises what `resolve` raises in the first process; the others then exit, with nothing to add.
    """
    others = _started_together() - 1
    if others < 1:
        _tell(datetime.now())
        return resolve(arguments)
    if any(argument in ("-m", "--multirun") for argument in arguments):
        raise ConfigError(
            "-m under torchrun or srun would run the sweep in each process: start it by python, with strategy=ddp"
        )
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    if attempt:
        raise ConfigError("torchrun began anew: leave out --max-restarts, and go on by resume=last")
    store, key = _store(), "pulmo/launch"
    if is_first_process():
        told: dict[str, Any] = {"time": datetime.now().timestamp()}
        try:
            told["arguments"] = resolve(arguments)
        finally:  # the others must not wait for one that ends
            store.set(key, json.dumps(told))
            _wait(store, f"{key}/heard", others)
    else:
        told = json.loads(store.get(key))
        if store.add(f"{key}/hearing", 1) == others:
            store.set(f"{key}/heard", "all")
    _tell(datetime.fromtimestamp(told["time"]))
    if "arguments" not in told:
        sys.exit(1)
    resolved: list[str] = told["arguments"]
    return resolved


def _tell(launched: datetime) -> None:
    """Let `${launched:%Y-%m-%d}` be this time, in all jobs of a sweep too."""
    OmegaConf.register_new_resolver("launched", launched.strftime, replace=True)


def _started_together() -> int:
    """Number of processes that torchrun or srun started for this run."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive") or "SLURM_PROCID" not in os.environ:
        return 1
    return int(os.environ.get("SLURM_NTASKS", "1"))


def _store() -> Any:
    """Open the store at the address where torch will look for the run's own: in one process it is the same."""
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    environment = TorchElasticEnvironment() if "TORCHELASTIC_RUN_ID" in os.environ else SLURMEnvironment()
    kept_by_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    hosts = is_first_process() and not kept_by_agent
    try:
        store = TCPStore(
            environment.main_address,
            environment.main_port,
            is_master=hosts,
            timeout=WAIT,
            wait_for_workers=False,
            multi_tenant=True,
        )
    except RuntimeError as error:
        where = f"{environment.main_address}:{environment.main_port}"
        raise ConfigError(f"no connection to the first process at {where}: {str(error).splitlines()[0]}") from error
    _stores.append(store)
    return store


def _wait(store: Any, key: str, others: int) -> None:
    try:
        store.wait([key], WAIT)
    except RuntimeError as error:
        raise PulmoError(
            f"not all of the {others} other processes began within {WAIT}: is there one a task?"
        ) from error
