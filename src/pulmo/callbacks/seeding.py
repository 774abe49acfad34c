"""Randomness of a training step as a function of the seed and the step, not of what ran before."""

import random
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer


class StepSeed(Callback):
    """Seeds torch, numpy and random at each training step.

    So dropout draws in a resumed run what it would have drawn in one that was never cut off, wherever in an epoch that
    was, and a checkpoint need not hold the generators of each rank. Each rank has numbers of its own.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed the step."""
        sequence = np.random.SeedSequence([self.seed, trainer.current_epoch, batch_idx, trainer.global_rank])
        seed = int(sequence.generate_state(1)[0])
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 (libraries below us draw from the global state)
        random.seed(seed)
