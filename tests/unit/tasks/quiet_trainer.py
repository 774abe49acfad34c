"""Lightning without its talk, and batches as they are."""

from pytorch_lightning import Trainer
from pytorch_lightning.loggers.logger import DummyLogger
from torch.utils.data import DataLoader

from pulmo.types import Batch


def trainer(epochs: int = 1) -> Trainer:
    quiet = dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return Trainer(max_epochs=epochs, accelerator="cpu", num_sanity_val_steps=0, logger=DummyLogger(), **quiet)


def loader(*batches: Batch) -> DataLoader[Batch]:
    return DataLoader(list(batches), batch_size=None)
