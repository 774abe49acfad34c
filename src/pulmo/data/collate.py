"""Samples to a batch: stacked where each image has one, a list where their number differs."""

from collections.abc import Sequence
from typing import cast

import torch

from pulmo.types import Batch, Sample


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack everything but boxes."""
    columns = {key: [sample[key] for sample in samples] for key in samples[0]}  # type: ignore[literal-required]
    batch = {
        key: values if key == "boxes" else torch.stack(values) if torch.is_tensor(values[0]) else torch.tensor(values)
        for key, values in columns.items()
    }
    return cast(Batch, batch)
