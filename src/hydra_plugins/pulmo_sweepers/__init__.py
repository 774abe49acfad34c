"""Hydra looks for its plugins in this package: pulmo's sweepers."""
