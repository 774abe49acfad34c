"""What the command line's `resume=` and `sweep.resume=` stand for: the run, or the sweep, that goes on."""

from pathlib import Path

import yaml

from pulmo.errors import ConfigError

MULTIRUN = ("-m", "--multirun")


def resumed(arguments: list[str]) -> list[str]:
    """Replace `resume=last|RUN|CHECKPOINT` by the run's own overrides, folder and checkpoint, then the new ones.

    "last" is the newest run under outputs/ with a checkpoint; where `data=` or `model=` is given, of that pair.
    `sweep.resume=true` is replaced by the folder of the newest sweep of the same command. Raises `ConfigError` if
    there is none.
    """
    arguments = _sweep_resumed(arguments)
    values = [argument.partition("=")[2].strip("'") for argument in arguments if argument.startswith("resume=")]
    if not values or values[-1] in ("", "null"):
        return arguments
    rest = [argument for argument in arguments if not argument.startswith("resume=")]
    if any(argument in MULTIRUN for argument in rest):
        raise ConfigError("resume goes on with one run; leave out -m")
    checkpoint = _checkpoint(values[-1], rest)
    folder = checkpoint.parents[1]
    stored = folder / "overrides.yaml"
    if not stored.is_file():
        raise ConfigError(f"resume={values[-1]}: {folder} has no overrides.yaml, so it is no run folder of pulmo")
    rest = [argument for argument in rest if not argument.startswith("run_dir=")]
    kept = [override for override in yaml.safe_load(stored.read_text()) or [] if not _replaced(override, rest)]
    return [*settled(folder, kept, rest), f"run_dir='{folder}'", f"resume='{checkpoint}'", *rest]


def settled(folder: Path, kept: list[str], rest: list[str]) -> list[str]:
    """The overrides that are kept, with what the run settled on by itself where `rest` says nothing of it.

    The precision, since "auto" may mean another one on this machine; and the images an update of the weights, so
    that another number of processes accumulates other numbers of batches.
    """
    config = folder / "config.yaml"
    stored = yaml.safe_load(config.read_text()) if config.is_file() else {}
    precision = stored.get("trainer", {}).get("precision")
    effective = stored.get("strategy", {}).get("effective_batch")
    if precision is not None and not _replaced("trainer.precision", [*kept, *rest]):
        kept = [*kept, f"trainer.precision={precision}"]
    steps = "trainer.accumulate_grad_batches"
    if effective is not None and not any(_replaced(key, rest) for key in (steps, "strategy.effective_batch")):
        kept = [override for override in kept if not _replaced(override, [steps, "strategy.effective_batch"])]
        kept = [*kept, f"strategy.effective_batch={effective}"]
    return kept


def _sweep_resumed(arguments: list[str]) -> list[str]:
    """Replace `sweep.resume=true` by the folder of the newest sweep of this very command."""
    if "sweep.resume=true" not in (argument.lower() for argument in arguments):
        return arguments
    if not any(argument in MULTIRUN for argument in arguments):
        raise ConfigError("sweep.resume=true goes on with a sweep: give -m and the same overrides")
    if any(argument.startswith("hydra.sweep.dir=") for argument in arguments):
        return arguments
    from pulmo.multirun.jobs import newest

    return [*arguments, f"hydra.sweep.dir='{newest(arguments)}'"]


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
            of = " of " + " ".join(f"{key}={value}" for key, value in chosen.items()) if chosen else ""
            raise ConfigError(f"resume=last: no run{of} with a checkpoint in outputs/; give resume=RUN_FOLDER")
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
