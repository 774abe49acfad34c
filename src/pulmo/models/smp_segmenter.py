"""Any segmentation network of segmentation_models_pytorch, on any of its encoders."""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp  # type: ignore[import-untyped]
import timm
from huggingface_hub import constants
from segmentation_models_pytorch.encoders import encoders as own_encoders  # type: ignore[import-untyped]
from timm.models import PretrainedCfg
from torch import Tensor, nn

from pulmo.errors import ConfigError, WeightsError
from pulmo.models.arguments import check_arguments, unknown_name
from pulmo.models.timm_classifier import _cached, _hub_answers, _not_downloaded
from pulmo.models.weights import chosen, load_weights, read_state_dict

LIBRARY = "segmentation_models_pytorch"

OURS = {"encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params"}
"""Arguments of the library that are set here: logits come out, and nothing beside them."""

CLASSIFIERS = {"fc", "_fc", "classifier", "head", "last_linear", "pre_logits"}
"""What classification networks call the layers that encoders lack."""


def smp_segmenter(
    architecture: str,
    encoder: str,
    *,
    channels: int,
    outputs: int,
    weights: str | Path = "none",
    **arguments: Any,
) -> nn.Module:
    """Return the network: `(B, channels, H, W)` normalised float → `(B, outputs, H, W)` logits.

    Layers start as the library draws them. Children: `encoder`, `decoder` and `segmentation_head`.

    Args:
        architecture: as the library has it, in any case: "Unet", "UnetPlusPlus", "FPN", "DeepLabV3Plus" …
        encoder: as the library has it: "resnet50", or "tu-NAME" for timm's, with or without the weights' tag.
        channels: of the input, `model.input.channels`; the first convolution is folded for other than 3.
        outputs: logit maps an image; 1 for one sigmoid.
        weights: "none", "default" (the encoder's, from ImageNet, downloaded once by the library) or the path
            of a file: of the encoder alone, with its classifier or without, or of a whole segmenter.
        arguments: further ones of the architecture, such as `decoder_channels`, or of timm's encoder.

    Raises:
        ConfigError: no such architecture or encoder, a pair that doesn't fit, or an argument that neither
            knows; on calling, an image whose sides the network can't halve.
        WeightsError: the weights could not be had, or are of another network.
    """
    check_arguments(channels, outputs, dropout=None)
    if architecture.lower() not in smp.MODEL_ARCHITECTURES_MAPPING:
        raise unknown_name(architecture, smp.MODEL_ARCHITECTURES_MAPPING, LIBRARY)
    _check_encoder(encoder)
    build = smp.MODEL_ARCHITECTURES_MAPPING[architecture.lower()]
    network = f"{architecture} on {encoder}"
    _check_names(network, build, encoder, arguments)

    choice = chosen(weights)
    # Before the network is built: a failure then costs no waiting.
    published = _published(encoder) if choice == "default" else None
    state_dict = {} if choice in ("none", "default") else read_state_dict(choice)
    sizes = {"in_channels": channels, "classes": outputs}
    try:
        net: nn.Module = build(encoder_name=encoder, encoder_weights=None, **sizes, **arguments)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:  # each class has its own way to say no
        raise ConfigError(f"{LIBRARY}'s {network} can't be built so: {error}") from error
    net.register_forward_pre_hook(_check_size)
    if published:
        _load_published(net, published, build, encoder, arguments)
    elif any("segmentation_head" in key.split(".") for key in state_dict):
        load_weights(net, state_dict, source=choice, network=network)
    elif state_dict:
        _load_encoder(net, state_dict, source=choice, network=encoder)
    return net


def _check_encoder(encoder: str) -> None:
    if encoder in own_encoders:
        return
    name, _, tag = encoder.partition(".")
    if name not in (timm_names := [f"tu-{known}" for known in timm.list_models()]):
        raise unknown_name(encoder, [*own_encoders, *timm_names], LIBRARY)
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name.removeprefix('tu-')}.*")]
    if tag and tag not in tags:
        raise ConfigError(f"timm has no weights {tag!r} of {name}; it has {', '.join(tags) or 'none'}")


def _check_names(network: str, build: Any, encoder: str, arguments: Mapping[str, Any]) -> None:
    known = set(inspect.signature(build.__init__).parameters) - OURS - {"self", "kwargs"}
    # What an architecture doesn't know goes to timm, which refuses it if need be; other encoders ignore it.
    wrong = set(arguments) & OURS if encoder.startswith("tu-") else set(arguments) - known
    if wrong:
        raise ConfigError(f"{network} takes no {', '.join(sorted(wrong))}; it takes {', '.join(sorted(known))}")


def _check_size(net: Any, images: tuple[Tensor, ...]) -> None:
    height, width = images[0].shape[-2:]
    stride = net.encoder.output_stride
    if net.requires_divisible_input_shape and (height % stride or width % stride):
        raise ConfigError(
            f"images are {height}×{width}; {net.name} needs multiples of {stride}: "
            f"give model.input.size={-(-max(height, width) // stride) * stride}"
        )


def _load_encoder(net: Any, state_dict: Mapping[str, Tensor], *, source: str, network: str) -> None:
    """Fill the encoder from a file of a classification network or of an encoder, in the library's names or timm's."""
    encoder = _plain(net.encoder)
    own = encoder.state_dict()
    # timm flattens "stem.0" to "stem_0" where it takes features; DenseNet's oldest files have "norm.1" for "norm1".
    names = {re.sub(r"[._]", "", key): key for key in own}
    parts = {part for key in own for part in key.split(".")}
    given = {
        key if key in own else names.get(re.sub(r"[._]", "", key), key): value
        for key, value in state_dict.items()
        if not (CLASSIFIERS - parts).intersection(key.split("."))
    }
    load_weights(encoder, given, source=source, network=network)


def _plain(encoder: nn.Module) -> nn.Module:
    """Return the encoder's own children and parameters in a plain module, without timm's wrappers around them.

    Some encoders' `load_state_dict` takes no `strict`, and features of timm's say a first convolution by a name
    that they no longer have.
    """
    while [name for name, _ in encoder.named_children()] == ["model"]:
        encoder = encoder.get_submodule("model")
    plain = nn.Module()
    for name, child in encoder.named_children():
        plain.add_module(name, child)
    for name, parameter in encoder.named_parameters(recurse=False):
        plain.register_parameter(name, parameter)
    return plain


def _published(encoder: str) -> Any:
    """Return where the encoder's weights are, in timm's terms for either library, once they can be had."""
    if encoder.startswith("tu-"):
        config = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
        if config is None or not (config.hf_hub_id or config.url or config.file):
            raise WeightsError(f"timm has no weights of {encoder}; give model.weights=none, or =PATH of a file")
    else:
        settings = own_encoders[encoder]["pretrained_settings"]
        tag = "imagenet" if "imagenet" in settings else next(iter(settings))  # "imagenet+5k", "instagram" …
        place = f"{settings[tag]['repo_id']}@{settings[tag]['revision']}"
        config = PretrainedCfg(tag=tag, hf_hub_id=place, hf_hub_filename="model.safetensors")
    if config.hf_hub_id and not _cached(config) and not _hub_answers():
        raise _not_had(encoder, config, "no network")
    return config


def _load_published(net: nn.Module, config: Any, build: Any, encoder: str, arguments: Mapping[str, Any]) -> None:
    """Leave download and renaming to the library, in a network of three channels; fold and report as for a file."""
    extra: dict[str, Any] = {"encoder_weights": config.tag}
    if encoder.startswith("tu-"):
        cached = _cached(config)
        extra = {"encoder_weights": True} | ({"pretrained_cfg_overlay": {"file": cached}} if cached else {})
    try:
        colour = build(encoder_name=encoder, **arguments, **extra)
    except (OSError, RuntimeError) as error:
        raise _not_had(encoder, config, str(error).splitlines()[0] if str(error) else repr(error)) from error
    _load_encoder(net, _plain(colour.encoder).state_dict(), source=config.hf_hub_id or config.url, network=encoder)


def _not_had(encoder: str, config: Any, cause: str) -> WeightsError:
    if encoder.startswith("tu-"):
        return _not_downloaded(config, cause)
    repository, _, revision = config.hf_hub_id.partition("@")
    return WeightsError(
        f"{constants.ENDPOINT}/{repository}/resolve/{revision}/model.safetensors could not be loaded ({cause}). "
        f"Download it elsewhere and give model.weights=PATH or put it into {constants.HF_HUB_CACHE} (by "
        f"`hf download {repository} --revision {revision}`); or train from scratch with model.weights=none"
    )
