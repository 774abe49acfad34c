"""Networks as plain nn.Modules: normalised image in, logits out."""
