"""Configuration mistakes, found before anything is built and told with their remedy."""

import inspect
import json
import os
import types
import typing
from collections.abc import Iterator, Sequence
from datetime import datetime
from difflib import get_close_matches
from functools import reduce
from operator import or_
from typing import Any, Literal, Union, get_args, get_origin

import torch
from hydra.errors import OverrideParseException
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from typing_extensions import is_typeddict

from pulmo.agreement import is_first_process
from pulmo.errors import ConfigError

# ${better:val/loss} is "min": which way a figure improves, so that `monitor` and `mode` cannot disagree.
OmegaConf.register_new_resolver(
    "better", lambda figure: "min" if figure.endswith("loss") or "/false_" in figure else "max", replace=True
)

# ${fused_without:${trainer.gradient_clip_val}}: Lightning refuses to clip the gradients of a fused optimizer.
OmegaConf.register_new_resolver("fused_without", lambda clipping: None if clipping else True, replace=True)

# ${launched:%Y-%m-%d}: when the run began; `agreement` lets it be the same time in all processes of a run.
OmegaConf.register_new_resolver(
    "launched", lambda pattern: datetime.now().strftime(pattern), use_cache=True, replace=True
)

# ${by_first_process:train.log}: a file that one process of a run writes; the others write it nowhere.
OmegaConf.register_new_resolver(
    "by_first_process", lambda path: path if is_first_process() else os.devnull, replace=True
)

# ${gpus:} is the number of GPUs of this machine.
OmegaConf.register_new_resolver("gpus", torch.cuda.device_count, replace=True)

PLAIN = (bool, int, float, str, type(None), list, dict)


def check(config: DictConfig) -> None:
    """Compare every value with the signature of what its `_target_` builds.

    The signatures are the schema: there is no second list of keys and types to keep in step. Raises
    `ConfigError` for a key that the target does not take, a value of another type, and devices that this
    machine does not have.
    """
    check_values(config, "")
    _check_devices(config.trainer, (config.get("choices") or {}).get("strategy", "gpu"))
    _check_clipping(config)


def check_values(part: DictConfig, path: str) -> None:
    """As `check`, of the part of a configuration that stands at the dotted `path`, whatever machine this is."""
    for place, node in _targets(part, path):
        _check_node(place, node)


def _targets(node: Any, path: str) -> Iterator[tuple[str, DictConfig]]:
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield path, node
        for key in map(str, node):
            if not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
                yield from _targets(node[key], f"{path}.{key}" if path else key)
    elif isinstance(node, ListConfig):
        for number, item in enumerate(node):
            yield from _targets(item, f"{path}.{number}")


def _check_node(path: str, node: DictConfig) -> None:
    try:
        target = get_object(node["_target_"])
    except (ImportError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path}._target_={node['_target_']}: {error}") from error
    function = target.__init__ if inspect.isclass(target) else target
    parameters = inspect.signature(target).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError):
        hints = {}
    for key in map(str, node):
        if key.startswith("_"):
            continue
        if key not in parameters and not takes_any:
            near = get_close_matches(key, list(parameters), 1)
            hint = f"did you mean {path}.{near[0]}?" if near else f"it takes {', '.join(parameters)}"
            raise ConfigError(f"{path}.{key}: {node['_target_']} takes no such argument; {hint}")
        if OmegaConf.is_missing(node, key):
            raise ConfigError(f"{path}.{key} has no value: give {path}.{key}=…")
        value = _plain(node, key)
        if key in hints and _is_plain(value):
            _check_value(f"{path}.{key}", value, hints[key])


def _plain(node: DictConfig, key: str) -> Any:
    try:
        value = node[key]
    except OmegaConfBaseException as error:
        raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from error
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return "_target_" not in value and all(map(_is_plain, value.values()))
    return all(map(_is_plain, value)) if isinstance(value, list) else isinstance(value, PLAIN)


def _check_value(path: str, value: Any, hint: Any) -> None:
    if get_origin(hint) in (Union, types.UnionType) and torch.Tensor in get_args(hint):
        hint = reduce(or_, (part for part in get_args(hint) if part is not torch.Tensor))  # which no value can be
    if not _only_plain(hint):
        return
    try:
        # By way of json, where a list may stand for a tuple; all else is strict, as the target will see it.
        TypeAdapter(hint).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise ConfigError(f"{path}={value}: {_expected(hint)} expected") from error
    except PydanticUserError:
        return


def _only_plain(hint: Any) -> bool:
    """Whether a type is made of plain values alone, so that pydantic can judge it."""
    if get_origin(hint) in (Union, types.UnionType):
        return all(_only_plain(part) for part in get_args(hint))
    if get_origin(hint) is Literal or is_typeddict(hint):
        return True
    if get_origin(hint) is not None:
        return all(_only_plain(part) for part in get_args(hint) if part is not Ellipsis)
    return hint in PLAIN or hint is type(None)


def _expected(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_expected(part) for part in get_args(hint))
    if is_typeddict(hint):
        return "{" + ", ".join(f"{name}: …" for name in hint.__annotations__) + "}"
    if get_origin(hint) in (list, Sequence):
        return f"a list of {_expected(get_args(hint)[0])}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
    return names.get(hint, str(hint).replace("typing.", ""))


def _check_devices(trainer: DictConfig, strategy: str) -> None:
    wanted, accelerator = trainer.get("devices"), trainer.get("accelerator")
    if accelerator not in ("gpu", "cuda"):
        return
    have = torch.cuda.device_count()
    if have == 0:
        raise ConfigError(
            f"strategy={strategy}: this machine has no GPU that torch can see; choose strategy=cpu, ddp_cpu or auto"
        )
    count = len(wanted) if isinstance(wanted, ListConfig) else wanted
    if isinstance(count, int) and count > have:
        raise ConfigError(f"trainer.devices={wanted}: this machine has {have} GPU; choose at most {have}")


def _check_clipping(config: DictConfig) -> None:
    trainer = config.trainer
    mixed = str(trainer.get("precision")).endswith("mixed")
    if mixed and trainer.get("gradient_clip_val") and config.model.optimizer.get("fused"):
        raise ConfigError(
            f"trainer.gradient_clip_val with trainer.precision={trainer.precision} needs model.optimizer.fused=null: "
            "Lightning does not clip what a fused optimizer may have scaled"
        )


USUAL = {
    **dict.fromkeys(("epochs", "epoch", "max_epochs", "num_epochs", "n_epochs"), "trainer.max_epochs"),
    **dict.fromkeys(("lr", "learning_rate", "optimizer.lr"), "model.optimizer.lr"),
    **dict.fromkeys(("weight_decay", "wd", "optimizer.weight_decay"), "model.optimizer.weight_decay"),
    **dict.fromkeys(("batch_size", "batch", "bs"), "data.batch_size"),
    **dict.fromkeys(("num_workers", "workers"), "data.num_workers"),
    **dict.fromkeys(("size", "image_size", "img_size"), "preprocess.size"),
    **dict.fromkeys(("gpus", "devices"), "trainer.devices"),
    **dict.fromkeys(("root", "data_dir", "data_root", "path"), "data.root"),
    **dict.fromkeys(("out", "output", "output_dir", "out_dir"), "run_dir"),
    **dict.fromkeys(("precision", "amp", "fp16"), "trainer.precision"),
    "dataset": "data",
    "folds": "data.folds",
    "fold": "data.fold",
    "device": "strategy",
}
"""What people type by the habits of other programs, and the key or group that it is here."""


def explain(error: Exception, keys: list[str], groups: dict[str, list[str]]) -> str:
    """Give one or two lines for a mistake in the command line that Hydra or OmegaConf found.

    `keys` are the dotted keys of the configuration, `groups` its groups with their options, for suggestions.
    """
    text = str(error)
    first = text.splitlines()[0] if text else type(error).__name__
    if isinstance(error, OverrideParseException):
        for group, options in groups.items():
            if error.override in options:
                return f"{error.override} is an option of {group}: did you mean {group}={error.override}?"
        if "=" not in str(error.override):
            return f"{error.override}: a value is given as key=value, such as data.root=FOLDER"
        return f"{error.override}: {first}; quote what has spaces or signs, as in data.root=\"'/a b'\""
    for group, options in groups.items():
        for marker in (f"Could not find '{group}/", f"Could not load '{group}/"):
            if marker in text:
                wrong = text.split(marker)[1].split("'")[0]
                return f"no {group}={wrong}; {_near(wrong, options)}there are {', '.join(options)}"
    if "Could not find 'hydra/launcher/" in text:
        launcher = text.split("Could not find 'hydra/launcher/")[1].split("'")[0]
        return f"launcher={launcher} needs an extra: pip install 'pulmo[{launcher.split('_')[0]}]'"
    if "Could not override '" in text:
        wrong = text.split("Could not override '")[1].split("'")[0]
        return f"no key or group {wrong!r}; {_near(wrong, [*keys, *groups])}+{wrong}=… adds a new one"
    return first


def _near(wrong: str, known: list[str]) -> str:
    usual = USUAL.get(wrong.lower())
    if usual in known:
        return f"did you mean {usual}? "
    near = get_close_matches(wrong, known, 1, 0.6)
    return f"did you mean {near[0]}? " if near else ""
