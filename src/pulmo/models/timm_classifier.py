"""Any network of timm by name, for any number of channels and outputs."""

import logging
import ssl
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import timm
import torch
from huggingface_hub import constants, try_to_load_from_cache
from torch import nn

from pulmo.errors import ConfigError, WeightsError
from pulmo.models.arguments import check_arguments, unknown_name
from pulmo.models.stem_and_head import reset_head
from pulmo.models.weights import chosen, load_weights, read_state_dict

logger = logging.getLogger(__name__)

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
HUB_SECONDS = 3.0
"""Time to answer that the hub has, once; the hub's own client retries for 46 s when offline."""


def timm_classifier(
    name: str,
    *,
    channels: int,
    outputs: int,
    weights: str | Path = "none",
    dropout: float | None = None,
    **arguments: Any,
) -> nn.Module:
    """Return the network: `(B, channels, H, W)` normalised float → `(B, outputs)` logits.

    Convolutions and norms start as timm draws them, a head of another size by torch's default.

    Args:
        name: as timm has it, with or without the tag of its weights: "convnext_tiny.fb_in22k".
        channels: of the input, `model.input.channels`; the first convolution is folded for other than 3.
        outputs: logits an image; 1 for one sigmoid.
        weights: "none", "default" (the tag's, downloaded once by timm) or the path of a file.
        dropout: probability before the head; None keeps timm's own.
        arguments: further ones of `timm.create_model`, such as `img_size` for transformers.

    Raises:
        ConfigError: no such network, or one that doesn't take an argument; sizes or dropout out of range.
        WeightsError: the weights could not be had, or are of another network.
    """
    check_arguments(channels, outputs, dropout)
    architecture, _, tag = name.partition(".")
    if architecture not in (known := timm.list_models()):
        raise unknown_name(name, known, "timm")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise ConfigError(f"timm has no weights {tag!r} of {architecture}; it has {', '.join(tags) or 'none'}")
    arguments |= {"in_chans": channels, "num_classes": outputs, "drop_rate": dropout}
    choice = chosen(weights)
    if choice == "default":
        return _with_published_weights(name, arguments)
    state_dict = {} if choice == "none" else read_state_dict(choice)
    net = _create(name, arguments)
    reset_head(net)
    if state_dict:
        load_weights(net, state_dict, source=choice, network=name)
    return net


def _create(name: str, arguments: dict[str, Any]) -> nn.Module:
    try:
        net: nn.Module = timm.create_model(name, **arguments)
    except TypeError as error:  # an argument that this family's class doesn't know
        raise ConfigError(f"timm's {name} can't be built so: {error}") from error
    return net


def _with_published_weights(name: str, arguments: dict[str, Any]) -> nn.Module:
    """Leave download, renaming and folding to timm, which knows each family's files; it sums channels as we do."""
    config = timm.get_pretrained_cfg(name)
    if config is None or not (config.hf_hub_id or config.url or config.file):
        raise WeightsError(f"timm has no weights of {name}; give model.weights=none, or =PATH of a file")
    if cached := _cached(config):
        arguments |= {"pretrained_cfg_overlay": {"file": cached}}
    elif config.hf_hub_id and not _hub_answers():
        raise _not_downloaded(config, "no network")
    try:
        net = _create(name, {**arguments, "pretrained": True})
    except (OSError, RuntimeError) as error:
        raise _not_downloaded(config, str(error).splitlines()[0] if str(error) else repr(error)) from error
    if fresh_head := config.num_classes != arguments["num_classes"]:
        reset_head(net)
    logger.info("weights: timm's %s, %s head", config.hf_hub_id or name, "a fresh" if fresh_head else "with its")
    return net


def _cached(config: Any) -> str | None:
    """Return the file if the hub's cache has it: asking the hub whether it is current needs a network."""
    if not config.hf_hub_id:
        return None
    repository, _, revision = config.hf_hub_id.partition("@")
    for file in (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES:
        found = try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(found, str):
            return found
    return None


def _hub_answers() -> bool:
    try:
        with urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=HUB_SECONDS):
            return True
    except HTTPError:  # an answer all the same
        return True
    except URLError as error:  # a certificate that Python doubts but the hub's client may be told to trust
        return isinstance(error.reason, ssl.SSLError)
    except OSError:
        return False


def _not_downloaded(config: Any, cause: str) -> WeightsError:
    if config.hf_hub_id:
        source = f"{constants.ENDPOINT}/{config.hf_hub_id.partition('@')[0]}"
        source += f"/resolve/main/{config.hf_hub_filename or HUB_FILES[0]}"
        place = f"{constants.HF_HUB_CACHE} (by `hf download {config.hf_hub_id.partition('@')[0]}`)"
    else:
        source, place = config.url, f"{torch.hub.get_dir()}/checkpoints"
    return WeightsError(
        f"{source} could not be loaded ({cause}). Download it elsewhere and give model.weights=PATH or put it "
        f"into {place}; or train from scratch with model.weights=none"
    )
