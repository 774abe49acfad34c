"""What may be built from a checkpoint or a run's folder that somebody else has made: networks, and nothing that acts.

A checkpoint holds names of classes and their arguments. Built as they stand, these could be any function of any
installed package, `pandas.read_pickle` of an address among them: as good as pickled code. So names are looked up in few
packages alone, and must mean what a network is made of.
"""

import inspect
import os
from collections.abc import Iterator
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_class, get_object, instantiate
from omegaconf import OmegaConf
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pulmo.errors import PulmoError

OURS = tuple(f"pulmo.{room}." for room in ("models", "tasks", "losses", "thresholds", "transforms", "data"))
LIBRARIES = ("torch", "torchvision", "timm", "segmentation_models_pytorch")
PARTS = (nn.Module, Optimizer, LRScheduler)
"""What may come from `LIBRARIES`: classes that compute, whose making has no further effect."""

VARIABLE = "PULMO_TRUST"
"""Environment variable with the names of further packages, commas between them, such as one's own networks'."""


def built(plain: Any, where: object, **arguments: Any) -> Any:
    """Instantiate plain values of the file or folder `where`, once every name in them has been checked.

    Raises `PulmoError` for a name that may not be built, and where this version of pulmo cannot build one.
    """
    check(plain, where)
    try:
        return instantiate(OmegaConf.create(plain), **arguments)
    except InstantiationException as error:
        if isinstance(error.__cause__, PulmoError):
            raise error.__cause__ from None
        said = str(error).splitlines()[0]
        raise PulmoError(f"{where} cannot be rebuilt by this version of pulmo: {said}") from error


def class_of(plain: Any, where: object) -> type[Any]:
    """The class that plain values are of, once every name in them has been checked as `built` does."""
    check(plain, where)
    found: type[Any] = get_class(plain["_target_"])
    return found


def check(plain: Any, where: object) -> None:
    """Raise `PulmoError` for a name in plain values that is none of what may be built, or a reference to elsewhere."""
    for target in _targets(plain, where):
        if target.partition(".")[0] in _trusted():
            continue
        if not _is_part(target):
            raise PulmoError(
                f"{where} names {target}, which is no part of a network that pulmo knows: nothing was built. If you "
                f"trust whoever made it, set {VARIABLE}={target.partition('.')[0]}"
            )


def _targets(node: Any, where: object) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from _targets(value, where)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _targets(value, where)
    elif isinstance(node, str) and "${" in node:
        raise PulmoError(f"{where} holds the reference {node}, which plain values have not: nothing was built")


def _trusted() -> set[str]:
    return {name.strip() for name in os.environ.get(VARIABLE, "").split(",")} - {""}


def _is_part(target: str) -> bool:
    """Whether a dotted name means a class or function of our own rooms, or a class of `PARTS` in a library."""
    ours = target.startswith(OURS)
    if not ours and target.partition(".")[0] not in LIBRARIES:
        return False  # not even imported
    try:
        known = get_object(target)
    except (ImportError, ValueError, AttributeError, InstantiationException):
        return ours  # of another version: its building says so
    if ours:  # pulmo.models.weights.torch.load is none of ours
        return (inspect.isclass(known) or inspect.isfunction(known)) and f"{known.__module__}.".startswith(OURS)
    return inspect.isclass(known) and issubclass(known, PARTS)
