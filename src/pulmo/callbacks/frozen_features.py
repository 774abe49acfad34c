"""What a frozen network makes of an image is the same in each epoch: it is computed once."""

import logging
from collections.abc import Callable
from typing import Any, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from pulmo.data.datamodule import ChestDataModule
from pulmo.errors import ConfigError
from pulmo.tasks.classification import ClassificationTask
from pulmo.types import Batch

log = logging.getLogger(__name__)


class FrozenFeatures(Callback):
    """Keeps the features that reach a classifier's only learning block, and computes the block alone from them.

    Of validation images always; of training images where nothing random is done to them (`augment=none`). A network
    with dropout before the block, or one that does more behind it, is left alone. What is kept takes at most
    `memory_gib`, on the device that trains.
    """

    def __init__(self, memory_gib: float = 2.0) -> None:
        if memory_gib < 0:
            raise ConfigError(f"callbacks.frozen_features.memory_gib={memory_gib}: at least 0, which turns it off")
        self._limit = int(memory_gib * 2**30)
        self._memory: _Memory | None = None
        self._learning: tuple[str, ...] | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew where another stage of fine-tuning begins."""
        learning = tuple(getattr(pl_module, "learning_rates", ()))
        if not isinstance(pl_module, ClassificationTask) or learning == self._learning:
            return
        self._learning, self._memory, pl_module.recall = learning, None, None
        frozen = len(learning) == 1 and learning[0] != ""
        if not frozen or not self._limit or pl_module.net._compiled_call_impl is not None:
            return
        data = cast(ChestDataModule, trainer.datamodule)  # type: ignore[attr-defined]
        same = data.augment is None or not data.augment.transforms
        splits = {split: len(data.rows_of(split)) for split in (("train", "val") if same else ("val",))}
        self._memory = _Memory(pl_module.net, learning[0], splits, self._limit)
        pl_module.recall = lambda batch: self._recalled(trainer, pl_module, batch)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget: the weights that are measured next may be of another epoch."""
        if isinstance(pl_module, ClassificationTask):
            self._learning, self._memory, pl_module.recall = None, None, None

    def _recalled(self, trainer: Trainer, task: ClassificationTask, batch: Batch) -> Tensor:
        split = "train" if trainer.training else "val"
        if self._memory is None or split not in self._memory.splits:
            return cast(Tensor, task(batch["image"]))
        return self._memory.logits(split, batch["row"], lambda: task.image(batch["image"]))


class _Memory:
    """Features (N, …) of some splits, filled as their images come by."""

    def __init__(self, net: nn.Module, block: str, splits: dict[str, int], limit: int) -> None:
        self.splits = splits
        self._net, self._block, self._limit = net, net.get_submodule(block), limit
        self._kept: dict[str, Tensor] = {}
        self._known: dict[str, Tensor] = {}
        self._checked = False

    def logits(self, split: str, rows: Tensor, image: Callable[[], Tensor]) -> Tensor:
        """Give the network's answer, from what is known of all of the rows, else by way of the whole network."""
        if split in self._kept and bool(self._known[split][rows].all()):
            return cast(Tensor, self._block(self._kept[split][rows]))
        if not self._checked:
            self._check(image())
        if not self.splits:
            return cast(Tensor, self._net(image()))
        answer, features, _ = self._watched(image())
        if split not in self._kept:
            count = self.splits[split]
            self._kept[split] = features.new_empty((count, *features.shape[1:]))
            self._known[split] = torch.zeros(count, dtype=torch.bool, device=features.device)
        self._kept[split][rows] = features
        self._known[split][rows] = True
        return answer

    def _check(self, image: Tensor) -> None:
        """Keep nothing where the block is not all that follows, its input differs by chance, or there is no room."""
        self._checked = True
        with torch.no_grad(), torch.random.fork_rng():  # a resumed run must find the numbers that an uncut one has
            (answer, once, given), (_, again, _) = self._watched(image), self._watched(image)
        simple = isinstance(once, Tensor) and torch.equal(answer, given) and torch.equal(once, again)
        needed = sum(self.splits.values()) * once[0].nbytes if simple else 0
        if simple and needed <= self._limit:
            which = "training and validation" if "train" in self.splits else "validation"
            log.info("frozen features of %s images are computed once: %.0f MiB", which, needed / 2**20)
        else:
            if simple:
                log.info("frozen features would take %.1f GiB: computed in each epoch", needed / 2**30)
            self.splits = {}

    def _watched(self, image: Tensor) -> tuple[Tensor, Tensor, Any]:
        """Give the network's answer, what reached the block, and what the block made of it."""
        seen: list[tuple[Any, Any]] = []
        hook = self._block.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
        try:
            answer = self._net(image)
        finally:
            hook.remove()
        features, given = seen[-1]
        return answer, features.detach() if isinstance(features, Tensor) else features, given
