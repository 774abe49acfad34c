"""Weights from a file into a network: what fits is loaded, what doesn't is said, another network's refused."""

import logging
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pulmo.errors import ConfigError, MissingExtraError, WeightsError
from pulmo.models.stem_and_head import first_convolutions, head_layers

logger = logging.getLogger(__name__)

ENOUGH = 0.9
"""Share of the tensors, head apart, that must fit; below, the file is of another network."""

NESTED = ("state_dict", "model_state_dict", "model")
"""Where training programs keep the tensors inside their checkpoints; Lightning uses the first."""


@dataclass(frozen=True)
class LoadReport:
    """What became of each tensor. Batch norm's step counters are left out of every number."""

    network: str
    source: str
    loaded: int  # tensors of the network that were filled
    total: int  # tensors that the network has
    left_out: tuple[str, ...]  # the network's tensors that keep their fresh values: "fc.weight (1000→1)"
    unused: tuple[str, ...]  # names in the file that the network doesn't have
    folded: str  # "3→1" where the first convolution was folded, else ""

    def __str__(self) -> str:
        parts = [f"weights: {self.loaded} of {self.total} tensors of {self.network} loaded from {self.source}"]
        if self.left_out:
            parts.append(f"left out: {_some(self.left_out)}")
        if self.unused:
            parts.append(f"not used: {_some(self.unused)}")
        if self.folded:
            parts.append(f"first convolution folded {self.folded}")
        return "; ".join(parts)


def chosen(weights: str | Path | None) -> str:
    """Return "none", "default" or the path that `model.weights` names; YAML's null counts as "none"."""
    text = str(weights)
    return text.lower() if text.lower() in ("none", "default") else text


def load_chosen_weights(net: nn.Module, weights: str | Path, *, network: str) -> LoadReport | None:
    """Fill a network that has no published weights: from a file, or not at all ("none" gives None).

    Raises:
        ConfigError: "default" was asked for.
        WeightsError: as `read_state_dict` and `load_weights`.
    """
    choice = chosen(weights)
    if choice == "none":
        return None
    if choice == "default":
        raise ConfigError(f"nobody published weights of {network}; give model.weights=none or =PATH of a file")
    return load_weights(net, read_state_dict(choice), source=choice, network=network)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Return a file's tensors by name, on the CPU, half precision widened to float32. No code is run.

    Reads `torch.save` of a state dict, bare or inside a checkpoint (Lightning's `state_dict`), and
    .safetensors. Names are as in the file: `load_weights` finds the prefix, since it knows the network.

    Raises:
        WeightsError: no such file, not a weights file, damaged, or holding pickled objects beside tensors.
        MissingExtraError: a .safetensors file and no safetensors package.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise WeightsError(f"no weights file {str(file)!r}; model.weights is none, default or the path of a file")
    content: object = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)
    for key in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    items = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(key): value.detach() for key, value in items if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{file} holds no tensors by name; save them by torch.save(net.state_dict(), PATH)")
    half = (torch.float16, torch.bfloat16)
    return {key: value.float() if value.dtype in half else value for key, value in tensors.items()}


def load_weights(
    net: nn.Module, state_dict: Mapping[str, Tensor], *, source: str = "a state dict", network: str = ""
) -> LoadReport:
    """Fill `net` with the tensors that fit and log one line on those that don't.

    Names may carry any prefix ("module.", "net.", "model._orig_mod." …): the one under which most names
    meet is taken off. The first convolution is folded to the network's channels, so that grey gives the same
    features as three equal channels do. A head of another size keeps its fresh values; the line is a warning
    where anything else does.

    Raises:
        WeightsError: fewer than nine in ten of the network's tensors fit, or of the file's have a place
            (ResNet-18 lies whole inside ResNet-34), the head apart; `net` is then unchanged.
    """
    network = network or type(net).__name__
    own = {key: value for key, value in net.state_dict().items() if isinstance(value, Tensor)}
    given = _without_prefix(own, state_dict)
    folded = _fold_first_convolutions(net, own, given)
    heads = tuple(f"{name}." for name in head_layers(net))
    fits = {key: given[key] for key in own if key in given and given[key].shape == own[key].shape}
    if any(key.startswith(heads) and key not in fits for key in own):
        fits = {key: value for key, value in fits.items() if not key.startswith(heads)}

    counted = {key for key in own if not key.endswith("num_batches_tracked")}
    body = {key for key in counted if not key.startswith(heads)}
    offered = {key for key in given if not key.endswith("num_batches_tracked") and not key.startswith(heads)}
    placed = len(body & fits.keys())
    if placed < ENOUGH * len(body):
        raise WeightsError(
            f"{source} fits {placed} of {len(body)} tensors of {network} (head apart): weights of another network; "
            f"model.weights takes a file of {network}, default or none"
        )
    if placed < ENOUGH * len(offered):
        raise WeightsError(
            f"only {placed} of {len(offered)} tensors of {source} have a place in {network} (head apart): weights "
            f"of another, larger network; model.weights takes a file of {network}, default or none"
        )
    net.load_state_dict(fits, strict=False)
    missing = [key for key in own if key in counted and key not in fits]
    report = LoadReport(
        network=network,
        source=source,
        loaded=len(counted & fits.keys()),
        total=len(counted),
        left_out=tuple(_change(key, given.get(key), own[key]) for key in missing),
        unused=tuple(sorted(offered - counted)),
        folded=folded,
    )
    logger.log(logging.INFO if placed == len(body) else logging.WARNING, "%s", report)
    return report


def _read_torch(file: Path) -> object:
    try:
        content: object = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if code := re.search(r"GLOBAL (\S+)|Unsupported class (\S+)", str(error)):
            raise WeightsError(
                f"{file} holds pickled code ({code[1] or code[2]}), which is not run; "
                f"save the tensors alone: torch.save(net.state_dict(), PATH)"
            ) from error
        raise WeightsError(f"{file} is not a file of torch.save or safetensors; download or save it again") from error
    except (RuntimeError, EOFError, OSError) as error:
        cause = (str(error) or "it is empty").splitlines()[0].split(". ")[0]
        raise WeightsError(f"{file} can't be read: {cause}; download or save it again") from error
    return content


def _read_safetensors(file: Path) -> object:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingExtraError(f"{file} needs safetensors: pip install safetensors") from error
    try:
        return load_file(file, device="cpu")
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file} can't be read: {error}; download it again") from error


def _without_prefix(own: Iterable[str], state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = list(own)
    ends = {key.removesuffix(names[0]) for key in state_dict if key.endswith(names[0])}
    # Shortest first: of a net and its moving average, "net." is meant, not "ema.net.".
    prefixes = sorted((end for end in ends if end == "" or end.endswith(".")), key=len) or [""]
    best = max(prefixes, key=lambda prefix: sum(prefix + name in state_dict for name in names))
    return {key.removeprefix(best): value for key, value in state_dict.items() if key.startswith(best)}


def _fold_first_convolutions(net: nn.Module, own: Mapping[str, Tensor], given: dict[str, Tensor]) -> str:
    """Bring the first convolutions in `given` to the network's channels; return "3→1" or ""."""
    folded = ""
    for name in first_convolutions(net):
        key = f"{name}.weight"
        new, old = own.get(key), given.get(key)
        if new is None or old is None or new.shape == old.shape or new[:, 0].shape != old[:, 0].shape:
            continue  # only the number of input channels may differ
        # Equal inputs meet the sum over input channels, so keeping that sum keeps the function on grey.
        given[key] = old.sum(dim=1, keepdim=True).expand(-1, new.shape[1], -1, -1) / new.shape[1]
        folded = f"{old.shape[1]}→{new.shape[1]}"
    return folded


def _change(key: str, given: Tensor | None, own: Tensor) -> str:
    if given is None:
        return f"{key} (not in the file)"
    if given.shape == own.shape:
        return key  # fits, but belongs to a head that doesn't
    if given.shape[1:] == own.shape[1:]:
        return f"{key} ({given.shape[0]}→{own.shape[0]})"
    return f"{key} ({'×'.join(map(str, given.shape))}→{'×'.join(map(str, own.shape))})"


def _some(names: tuple[str, ...], most: int = 6) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
