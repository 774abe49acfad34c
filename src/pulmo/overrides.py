"""The command line's overrides: their order must not matter, and none may be lost without a word."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pulmo.errors import ConfigError

PACKAGE = "# @package "


def check(arguments: list[str]) -> None:
    """Raise `ConfigError` for a key that is given twice with different values: Hydra would take the last one."""
    given: dict[str, str] = {}
    for argument in filter(_is_override, arguments):
        first = given.setdefault(_key(argument), argument)
        if first != argument:
            raise ConfigError(f"{first} and {argument} contradict each other: give one of them")


def parents_first(arguments: list[str], conf: Path) -> list[str]:
    """Put a key in front of those inside of it, which it would wipe out: callbacks.ema, then callbacks.ema.decay.

    The order is left alone where it does not matter, as with the groups of `conf`, for that of a sweep's keys is the
    order of its jobs.
    """
    places = [place for place, argument in enumerate(arguments) if _is_override(argument)]
    keys = [_key(arguments[place]) for place in places if not (conf / _key(arguments[place])).is_dir()]
    if not any(inner.startswith(f"{key}.") for place, inner in enumerate(keys) for key in keys[place + 1 :]):
        return arguments
    ordered = list(arguments)
    sorted_ = sorted((arguments[place] for place in places), key=lambda argument: _key(argument).count("."))
    for place, argument in zip(places, sorted_, strict=True):
        ordered[place] = argument
    return ordered


def overruled(arguments: list[str], conf: Path) -> list[str]:
    """Say where a value of the experiment lands in an option that the user has chosen and the experiment has not.

    `arguments` are those of one job, `conf` is the folder of the configuration's groups.
    """
    given = {_key(argument): argument.partition("=")[2] for argument in arguments if "=" in argument}
    packages = {folder.name: _package(folder) for folder in conf.iterdir() if folder.is_dir()}
    said = []
    for setter in ("experiment", "debug"):
        file = conf / setter / f"{given.get(setter)}.yaml"
        if not file.is_file():  # none chosen, or one in a folder of the user's own
            continue
        content = yaml.safe_load(file.read_text())
        own = {key: value for entry in content.pop("defaults", []) for key, value in _items(entry)}
        for key, value in _leaves(content, ""):
            group = _owner(key, packages)
            chosen = given.get(group, own.get(group))
            if chosen not in (None, "null", own.get(group)) and not _is_given(key, given):
                said.append(f"{setter}={given[setter]} sets {key}={value}, also for {group}={chosen}: give {key}=…")
    return said


def _is_override(argument: str) -> bool:
    return not argument.startswith("-") and ("=" in argument or argument.startswith("~"))


def _key(argument: str) -> str:
    return argument.partition("=")[0].lstrip("+~")


def _package(group: Path) -> str:
    """Where a group's options land, as the first line of their files says; else under the group's own name."""
    first = (
        sorted(path for path in group.glob("*.yaml") if not path.stem.startswith("_"))[0].read_text().splitlines()[0]
    )
    return first.removeprefix(PACKAGE) if first.startswith(PACKAGE) else group.name


def _items(entry: Any) -> Iterator[tuple[str, Any]]:
    """Give what an entry of a defaults list such as `override /optimizer: adam` chooses."""
    if isinstance(entry, dict):
        for name, option in entry.items():
            yield name.removeprefix("override ").lstrip("/").partition("@")[0], option


def _leaves(node: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        dotted = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            yield from _leaves(value, dotted)
        else:
            yield dotted, value


def _owner(key: str, packages: dict[str, str]) -> str:
    """Give the group whose options hold the key: the innermost one."""
    holding = [group for group, package in packages.items() if f"{key}.".startswith(f"{package}.")]
    return max(holding, key=lambda group: len(packages[group]), default="")


def _is_given(key: str, given: dict[str, str]) -> bool:
    return any(f"{key}.".startswith(f"{name}.") for name in given if "." in name)
