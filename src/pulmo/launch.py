"""The training command line: Hydra's, with `resume`, and mistakes told in a line or two."""

import errno
import logging
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pulmo import interruption, overrides, run_state
from pulmo.agreement import agree, is_first_process
from pulmo.composition import CONF, known
from pulmo.config import explain
from pulmo.errors import ConfigError, PulmoError
from pulmo.interruption import Interrupted
from pulmo.resuming import MULTIRUN, resumed, settled
from pulmo.run_folders import OUTPUTS
from pulmo.run_state import State

log = logging.getLogger(__name__)

GRACE = 3.0  # seconds in which the first process may tell the same mistake, and end the others


def launch() -> None:
    """Train by the overrides in `sys.argv`; exits with status 1 and a message for what the user can mend."""
    # Hydra raises rather than prints, since the message is ours; a user who sets this sees the whole trace.
    os.environ["PULMO_TRACE"] = os.environ.get("PULMO_TRACE", os.environ.get("HYDRA_FULL_ERROR", "0"))
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        if not is_first_process():
            logging.disable(logging.WARNING)  # Hydra's own lines too
        with answered():
            flags = [argument for argument in sys.argv[1:] if argument in MULTIRUN]
            rest = [argument for argument in sys.argv[1:] if argument not in MULTIRUN]
            overrides.check(rest)
            agreed = agree([*flags, *rest], resumed)  # Hydra takes -m only before or behind all overrides
            sys.argv[1:] = overrides.parents_first(agreed, CONF)
            _main()
    except PulmoError as error:
        _end(str(error), error)
    except (HydraException, OmegaConfBaseException) as error:
        _end(explain(error, *known(sys.argv[1:])), error)
    except ValueError as error:
        if "Config group override" not in str(error):
            raise
        _end("a group takes the name of an option; a value is its key, as in threshold=half threshold.value=0.3", error)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")  # type: ignore[untyped-decorator]
def _main(config: DictConfig) -> float | None:
    folder = Path(HydraConfig.get().runtime.output_dir)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        with interruption.handled():  # again, for a launcher's worker process comes in here
            return _job(config, folder)
    with told(folder):
        from pulmo import run  # after composition: a misspelt option is told before Lightning is loaded

        quiet()
        if config.choices["hydra/sweeper"] == "pulmo_optuna" and config.sweep.trial is None:
            raise ConfigError(f"sweep={config.choices.sweep} searches over many runs: add -m")
        given = list(HydraConfig.get().overrides.task)
        for line in overrides.overruled(given, CONF):
            log.info(line)
        return run.train(config, folder, given)


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Turn what the user can mend of a training in `folder` into a line or two and status 1."""
    try:
        yield
    except Interrupted as stop:
        if not stop.told:  # else the user was shown the folder
            _remove_if_unused(folder)
        raise
    except PulmoError as error:
        _remove_if_unused(folder)
        _end(str(error), error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        _end(f"cannot write to {folder}: {error.strerror}; make room, or give run_dir=FOLDER on another disk", error)


def _job(config: DictConfig, folder: Path) -> float | None:
    """One job of a sweep, from its last checkpoint if it has one; nothing where it is finished.

    A launcher may begin a job twice, such as after preemption. What goes wrong is noted in the job's folder and
    raised, for the sweep to go on with the others.
    """
    from pulmo import run  # after composition: a misspelt option is told before Lightning is loaded
    from pulmo.multirun.gpus import IN_TURN, end_with_sweep, own_gpu
    from pulmo.multirun.jobs import begun
    from pulmo.multirun.table import tell_begin, tell_progress

    quiet()
    if run_state.read(folder).get("state") in (State.FINISHED, State.PRUNED):
        return None
    hydra_config = HydraConfig.get()
    given = list(hydra_config.overrides.task)
    sweep = Path(hydra_config.sweep.dir)
    in_turn = hydra_config.launcher["_target_"] == IN_TURN
    # Of jobs side by side the sweep's first process tells, of a search's trials the search.
    telling = in_turn and bool(begun(sweep))
    if telling:
        tell_begin(sweep, folder.name)
    if not in_turn:
        own_gpu(sweep, config.trainer)
    if "joblib" in hydra_config.launcher["_target_"]:
        end_with_sweep()
        # Its processes begin others in its own way, which torch's DataLoader cannot.
        multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    last = folder / "checkpoints" / "last.ckpt"
    if config.resume is None and last.is_file():
        config.resume = str(last)
        config.merge_with_dotlist(settled(folder, [], given))
    for line in overrides.overruled(given, CONF):
        log.info(line)
    try:
        return run.train(config, folder, given)
    except Interrupted as stop:
        if in_turn or "submitit" in hydra_config.launcher["_target_"]:
            raise  # it ends the whole sweep; submitit's own handler has the job begun again
        raise PulmoError(f"interrupted by {stop.signal.name}") from None  # of this worker alone
    except Exception as error:
        log.error("failed: %s", error, exc_info=not isinstance(error, PulmoError))
        raise
    finally:
        if telling:
            tell_progress(sweep)


def join() -> None:
    """Train as a further process of a run, in the folder and by the configuration that its first process gives."""
    from pulmo import run

    quiet()
    config = OmegaConf.create(sys.stdin.read())
    try:
        with answered():
            run.train(cast(DictConfig, config), Path(sys.argv[1]), [])
    except PulmoError as error:
        _end(str(error), error)


@contextmanager
def answered() -> Iterator[None]:
    """Answer to the signals that ask a process to end, and end as they ask."""
    try:
        with interruption.handled():
            try:
                yield
            except Exception as error:
                asked = interruption.asked()
                if asked is None:
                    raise
                raise Interrupted(asked) from error  # what a signal breaks off may end as another error
    except Interrupted as stop:
        _leave(stop)


def _leave(stop: Interrupted) -> NoReturn:
    """End the process, with status 0 where another process of the run tells of it."""
    if not is_first_process():
        stop.end_process(0)
    if not stop.told:
        goes_on = (
            "the same command with sweep.resume=true goes on" if {*MULTIRUN} & {*sys.argv} else "nothing was begun"
        )
        print(f"pulmo: interrupted by {stop.signal.name}; {goes_on}", file=sys.stderr)
    stop.end_process(128 + stop.signal)


def _end(message: str, error: Exception) -> NoReturn:
    """Print the message and exit; from within Hydra's job too, which would print its own line for an error."""
    if os.environ.get("PULMO_TRACE") == "1":
        raise error
    if not is_first_process():
        time.sleep(GRACE)
    if message.startswith("Caught "):  # in a worker of torch's DataLoader, which sends the whole trace as text
        message = message.strip().splitlines()[-1].partition(": ")[2]
    print(f"pulmo: {message}", file=sys.stderr)
    sys.exit(1)


def _remove_if_unused(folder: Path) -> None:
    """Take away the folder of a run that never began, when nothing but its log is in it."""
    empty = {"train.log", run_state.FILE, run_state.LOCK}
    if not is_first_process() or not folder.is_dir() or run_state.is_held(folder):
        return
    if {path.name for path in folder.iterdir()} <= empty:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        if folder.parent.parent.name == OUTPUTS.name:
            with suppress(OSError):  # there are others in it
                folder.parent.rmdir()


def quiet() -> None:
    """Leave out what Lightning says at every run, and let one process speak; warnings about choices stay."""
    if not is_first_process():
        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        r".*does not have many workers.*",
        r".*sync_dist=True.*",
        r".*Checkpoint directory .* exists and is not empty.*",
        r".*number of training batches .* is smaller than the logging interval.*",
        r".*predict returned None.*",
        r".*no logger configured.*",
        r".*ended before the epoch ended and your dataloader is not resumable.*",  # the order of images is resumed
        r".*module\(s\) in eval mode at the start of training.*",  # frozen norms, and a detector's gate
        r".*isinstance\(treespec, LeafSpec\).*",
    ):
        warnings.filterwarnings("ignore", message)
