"""Any classification network of torchvision by name, for any number of channels and outputs."""

import http.client
import pickle
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from pulmo.errors import WeightsError
from pulmo.models.arguments import check_arguments, unknown_name
from pulmo.models.stem_and_head import replace_first_convolution, reset_head, set_head_dropout, unclip_logits
from pulmo.models.weights import chosen, load_weights, read_state_dict


def torchvision_classifier(
    name: str, *, channels: int, outputs: int, weights: str | Path = "none", dropout: float | None = None
) -> nn.Module:
    """Return the network: `(B, channels, H, W)` normalised float → `(B, outputs)` logits.

    Convolutions and norms start as torchvision draws them, the head by torch's default for a dense layer.
    GoogLeNet and Inception v3 come without their auxiliary heads, which would change the output while
    training; their published weights want `model.input.mean` and `std` of 0.5.

    Args:
        name: as torchvision has it, "resnet50".
        channels: of the input, `model.input.channels`; the first convolution is folded for other than 3.
        outputs: logits an image; 1 for one sigmoid.
        weights: "none", "default" (downloaded once into torch's hub folder) or the path of a file.
        dropout: probability before the head; None keeps torchvision's own.

    Raises:
        ConfigError: no such network; sizes or dropout out of range.
        WeightsError: the weights could not be had, or are of another network.
    """
    check_arguments(channels, outputs, dropout)
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise unknown_name(name, known, "torchvision")
    choice = chosen(weights)
    state_dict: dict[str, Tensor] = {}
    if choice != "none":  # before the network is built: a failed download then costs no waiting
        state_dict = published_weights(name) if choice == "default" else read_state_dict(choice)

    net: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=outputs)
    _remove_auxiliary_heads(net)
    reset_head(net)
    unclip_logits(net)
    if channels != 3:
        replace_first_convolution(net, channels)
    if dropout is not None:
        set_head_dropout(net, dropout)
    if state_dict:
        load_weights(net, state_dict, source=choice, network=name)
    return net


def published_weights(name: str) -> dict[str, Tensor]:
    """Give torchvision's best weights of any of its networks, downloaded once; raises `WeightsError` if it cannot."""
    published = torchvision.models.get_model_weights(name).DEFAULT
    file = Path(torch.hub.get_dir()) / "checkpoints" / published.url.rsplit("/", 1)[-1]
    try:
        state_dict: dict[str, Tensor] = published.get_state_dict(progress=True, check_hash=True)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(
            f"no network, or no file there: {published.url} could not be downloaded ({error}). Download it "
            f"elsewhere and give model.weights=PATH or put it into {file.parent}; or train from scratch "
            f"with model.weights=none"
        ) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"{file} is damaged, or not what {published.url} should give; delete it and start again"
        ) from error
    return state_dict


def _remove_auxiliary_heads(net: nn.Module) -> None:
    if getattr(net, "aux_logits", False):
        for attribute, value in (("aux_logits", False), ("aux1", None), ("aux2", None), ("AuxLogits", None)):
            if hasattr(net, attribute):
                setattr(net, attribute, value)
