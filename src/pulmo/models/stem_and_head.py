"""The two ends of a classification network: where the image enters and where the logits leave."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DropoutLinear(nn.Linear):
    """A dense layer that drops inputs with probability `p` while training.

    A head swapped for this keeps its tensors' names, so that weights fit with dropout and without.
    """

    def __init__(self, layer: nn.Linear, p: float) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.p = p

    def forward(self, input: Tensor) -> Tensor:
        """Return `(…, out_features)` from `(…, in_features)`."""
        return super().forward(F.dropout(input, self.p, self.training))


def first_convolutions(net: nn.Module) -> list[str]:
    """Return the names of the convolutions that read the image: as timm has them, else the first one.

    A network without any gives an empty list.
    """
    declared = (getattr(net, "pretrained_cfg", None) or {}).get("first_conv")
    if declared:
        return [declared] if isinstance(declared, str) else list(declared)
    return [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)][:1]


def head_layers(net: nn.Module) -> list[str]:
    """Return the names of the layers that give the logits: timm's own answer, else the last dense or conv.

    More than one only in the few networks of timm with a second, distilled or multi-scale, head.
    """
    if callable(own := getattr(net, "get_classifier", None)):
        classifier = own()
        heads = classifier if isinstance(classifier, tuple) else (classifier,)
        return [name for name, module in net.named_modules() if any(module is head for head in heads)]
    layers = [name for name, module in net.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    return layers[-1:]


def replace_first_convolution(net: nn.Module, channels: int) -> None:
    """Let `net` read images of `channels` channels; the new layer is drawn at the old one's scale.

    Everything but the number of input channels stays: kernel, stride, padding, bias.
    """
    name, old = next((name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d))
    new = nn.Conv2d(
        channels,
        old.out_channels,
        (old.kernel_size[0], old.kernel_size[1]),
        stride=(old.stride[0], old.stride[1]),
        padding=old.padding if isinstance(old.padding, str) else (old.padding[0], old.padding[1]),
        dilation=(old.dilation[0], old.dilation[1]),
        bias=old.bias is not None,
        padding_mode=old.padding_mode,
        device=old.weight.device,
    )
    with torch.no_grad():
        # Networks without batch norm (VGG) depend on the scale that their authors drew weights at.
        new.weight.copy_(torch.randn_like(new.weight) * old.weight.std())
        if new.bias is not None and old.bias is not None:
            new.bias.copy_(old.bias)
    net.set_submodule(name, new)


def reset_head(net: nn.Module) -> None:
    """Draw the head's tensors anew, by torch's default for the layer, whatever the library does."""
    for name in head_layers(net):
        for module in net.get_submodule(name).modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                module.reset_parameters()


def unclip_logits(net: nn.Module) -> None:
    """Take off a ReLU behind the head (SqueezeNet's): one sigmoid could then never say less than a half."""
    path, _, last = head_layers(net)[-1].rpartition(".")
    classifier = net.get_submodule(path)
    if isinstance(classifier, nn.Sequential):
        names = [name for name, _ in classifier.named_children()]  # of a vision transformer they are no numbers
        for index in range(names.index(last) + 1, len(names)):
            if isinstance(classifier[index], nn.ReLU):
                classifier[index] = nn.Identity()


def set_head_dropout(net: nn.Module, p: float) -> None:
    """Drop the head's inputs with probability `p`: by the dropout layers of the classifier where it has some.

    Those are the nn.Dropout of the child that holds the head (VGG has two) or beside it (GoogLeNet); inside
    the feature extractor (transformers) they stay as they are. A head without any gets its own.
    """
    name = head_layers(net)[-1]
    classifier = name.split(".")[0]
    dropouts = [
        module
        for path, module in net.named_modules()
        if isinstance(module, nn.Dropout) and (path.split(".")[0] == classifier or "." not in path)
    ]
    for module in dropouts:
        module.p = p
    head = net.get_submodule(name)
    if not dropouts and isinstance(head, nn.Linear):
        net.set_submodule(name, DropoutLinear(head, p))
