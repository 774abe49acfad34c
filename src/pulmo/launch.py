"""The training command line: Hydra's, with `resume`, and mistakes told in a line or two."""

import errno
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import NoReturn

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pulmo.config import explain
from pulmo.environment import is_first_process
from pulmo.errors import ConfigError, PulmoError

PACKAGED = Path(__file__).parent / "conf"
CONF = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[2] / "conf"  # installed, or a checkout


def launch() -> None:
    """Train by the overrides in `sys.argv`; exits with status 1 and a message for what the user can mend."""
    # Hydra raises rather than prints, since the message is ours; a user who sets this sees the whole trace.
    os.environ["PULMO_TRACE"] = os.environ.get("PULMO_TRACE", os.environ.get("HYDRA_FULL_ERROR", "0"))
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        sys.argv[1:] = resumed(sys.argv[1:])
        _main()
    except PulmoError as error:
        _end(str(error), error)
    except (HydraException, OmegaConfBaseException) as error:
        _end(explain(error, *_known(sys.argv[1:])), error)
    except ValueError as error:
        if "Config group override" not in str(error):
            raise
        _end("a group takes the name of an option; a value is its key, as in threshold=half threshold.value=0.3", error)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")  # type: ignore[untyped-decorator]
def _main(config: DictConfig) -> float | None:
    from pulmo import run  # after composition: a misspelt option is told before Lightning is loaded

    _quiet()
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        return run.train(config, folder, list(HydraConfig.get().overrides.task))
    except PulmoError as error:
        _remove_if_unused(folder)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # Hydra notes that this job failed, and goes on with the others
        _end(str(error), error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        _end(f"cannot write to {folder}: {error.strerror}; make room, or give run_dir=FOLDER on another disk", error)


def _end(message: str, error: Exception) -> NoReturn:
    """Print the message and exit; from within Hydra's job too, which would print its own line for an error."""
    if os.environ["PULMO_TRACE"] == "1":
        raise error
    if message.startswith("Caught "):  # in a worker of torch's DataLoader, which sends the whole trace as text
        message = message.strip().splitlines()[-1].partition(": ")[2]
    print(f"pulmo: {message}", file=sys.stderr)
    sys.exit(1)


def resumed(arguments: list[str]) -> list[str]:
    """Replace `resume=last|RUN|CHECKPOINT` by the run's own overrides, folder and checkpoint, then the new ones.

    "last" is the newest run under outputs/ with a checkpoint; where `data=` or `model=` is given, of that pair.
    Raises `ConfigError` if there is none.
    """
    values = [argument.partition("=")[2] for argument in arguments if argument.startswith("resume=")]
    if not values or values[-1] in ("", "null"):
        return arguments
    rest = [argument for argument in arguments if not argument.startswith("resume=")]
    if any(argument in ("-m", "--multirun") for argument in rest):
        raise ConfigError("resume goes on with one run; leave out -m")
    checkpoint = _checkpoint(values[-1], rest)
    folder = checkpoint.parents[1]
    stored = folder / "overrides.yaml"
    if not stored.is_file():
        raise ConfigError(f"resume={values[-1]}: {folder} has no overrides.yaml, so it is no run folder of pulmo")
    rest = [argument for argument in rest if not argument.startswith("run_dir=")]
    kept = [override for override in yaml.safe_load(stored.read_text()) or [] if not _replaced(override, rest)]
    if not _replaced("trainer.precision", [*kept, *rest]):
        kept += _settled_precision(folder)
    return [*kept, f"run_dir='{folder}'", f"resume='{checkpoint}'", *rest]


def _settled_precision(folder: Path) -> list[str]:
    """The precision that the run began with, as an override: "auto" may mean another one on this machine."""
    config = folder / "config.yaml"
    stored = yaml.safe_load(config.read_text()) if config.is_file() else {}
    precision = stored.get("trainer", {}).get("precision")
    return [] if precision is None else [f"trainer.precision={precision}"]


def _checkpoint(value: str, rest: list[str]) -> Path:
    if value == "last":
        chosen = dict(
            argument.split("=", 1) for argument in rest if argument.startswith(("data=", "model=", "run_dir="))
        )
        if "run_dir" in chosen:
            found = [Path(chosen["run_dir"]) / "checkpoints" / "last.ckpt"]
        else:
            pair = f"{chosen.get('data', '*')}_{chosen.get('model', '*')}"
            found = sorted(
                Path("outputs").glob(f"{pair}/*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime
            )
        if not found or not found[-1].is_file():
            raise ConfigError("resume=last: no run with a checkpoint in outputs/; give resume=RUN_FOLDER")
        return found[-1].resolve()
    path = Path(value).expanduser()
    checkpoint = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
    if not checkpoint.is_file():
        anew = f"; to begin anew in it: run_dir={value}, without resume" if path.is_dir() else ""
        raise ConfigError(f"resume={value}: no file {checkpoint}{anew}; give last, a run folder, or a checkpoint")
    return checkpoint.resolve()


def _replaced(override: str, rest: list[str]) -> bool:
    key = override.partition("=")[0].lstrip("+~")
    return any(argument.partition("=")[0].lstrip("+~") == key for argument in rest)


def _known(arguments: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Dotted keys and groups of the configuration, as far as its group choices compose."""
    groups = {
        folder.name: sorted(file.stem for file in folder.glob("*.yaml") if not file.stem.startswith("_"))
        for folder in CONF.iterdir()
        if folder.is_dir()
    }
    choices = [
        argument
        for argument in arguments
        for group, _, value in [argument.partition("=")]
        if group in groups and set(value.strip("[]").split(",")) <= {*groups[group]}
    ]
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", choices)
    return list(_dotted(config, "")), groups


def _dotted(node: DictConfig, path: str) -> list[str]:
    keys = []
    for key in map(str, node):
        dotted = f"{path}.{key}" if path else key
        keys.append(dotted)
        raw = node._get_node(key)
        if isinstance(raw, DictConfig) and not raw._is_interpolation() and not raw._is_none():
            keys += _dotted(raw, dotted)
    return keys


def _remove_if_unused(folder: Path) -> None:
    """Take away the folder of a run that never began, when nothing but its log is in it."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {"train.log"}:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def _quiet() -> None:
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
        r".*module\(s\) in eval mode at the start of training.*",  # frozen norms, and a detector's gate
        r".*isinstance\(treespec, LeafSpec\).*",
    ):
        warnings.filterwarnings("ignore", message)
