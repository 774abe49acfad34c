"""Randomness of a training step as a function of the seed and the epoch, not of what ran before."""

import random
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer


class EpochSeed(Callback):
    """Seeds torch, numpy and random at the first batch of each epoch.

    So dropout draws in a resumed run what it would have drawn in one that was never cut off. Each rank has
    numbers of its own.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed where an epoch begins."""
        if batch_idx == 0:
            sequence = np.random.SeedSequence([self.seed, trainer.current_epoch, trainer.global_rank])
            seed = int(sequence.generate_state(1)[0])
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002 (libraries below us draw from the global state)
            random.seed(seed)
