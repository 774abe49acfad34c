"""What a frozen network makes of an image is the same in each epoch: it is computed once."""

import logging
from collections.abc import Callable
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from pulmo.data.datamodule import ChestDataModule
from pulmo.data.dataset import TrainOrder
from pulmo.errors import ConfigError
from pulmo.tasks.classification import ClassificationTask
from pulmo.types import Batch

log = logging.getLogger(__name__)

Kept = Literal["train", "val"]


class FrozenFeatures(Callback):
    """Keeps the features that reach a classifier's only learning block, and computes the block alone from them.

    Of validation images, and of training images where nothing random is done to them (`augment=none`). A network with
    dropout before the block, or one that does more behind it, is left alone, and so is one whose block has batch norms;
    with averaged weights (`callbacks=ema`) validation is. What is kept takes at most `memory_gib`, on the device that
    trains; there it is asked at each step which images are known, for which a GPU is waited for.
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
        splits = {split: len(data.rows_of(split)) for split in _unchanging(trainer, data)}
        self._memory = _Memory(pl_module.net, learning[0], splits, self._limit)
        pl_module.recall = lambda batch: self._recalled(trainer, pl_module, batch)
        self._catch_up(trainer, pl_module, data)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget: the weights that are measured next may be of another epoch."""
        if isinstance(pl_module, ClassificationTask):
            self._learning, self._memory, pl_module.recall = None, None, None

    def _catch_up(self, trainer: Trainer, task: ClassificationTask, data: ChestDataModule) -> None:
        """Compute those of images that an interrupted run has used in this epoch: now, in the batches that it had.

        Later they would come in batches with others that are known, and a smaller batch rounds otherwise.
        """
        if data.begin[0] != trainer.current_epoch or "train" not in _unchanging(trainer, data):
            return
        used = cast(TrainOrder, cast(Any, trainer).train_dataloader.sampler).used()
        for start in range(0, len(used), data.batch_size):
            batch = data.samples("train", used[start : start + data.batch_size])
            with torch.no_grad(), trainer.precision_plugin.train_step_context():
                self._recalled(trainer, task, cast(Batch, trainer.strategy.batch_to_device(batch)))

    def _recalled(self, trainer: Trainer, task: ClassificationTask, batch: Batch) -> Tensor:
        split: Kept = "train" if trainer.training else "val"
        if self._memory is None or not self._memory.keeps(split, lambda: task.image(batch["image"])):
            return cast(Tensor, task(batch["image"]))
        return self._memory.logits(split, batch["row"], lambda chosen: task.image(batch["image"][chosen]))


def _unchanging(trainer: Trainer, data: ChestDataModule) -> list[Kept]:
    """Splits whose images reach the same frozen weights in each epoch, and are the same themselves."""
    averaged = any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    train = data.augment is None or not data.augment.transforms
    return [*(["train"] if train else []), *([] if averaged else ["val"])]  # type: ignore[list-item]


class _Memory:
    """Features (N, …) of some splits, filled as their images come by."""

    def __init__(self, net: nn.Module, block: str, splits: dict[Kept, int], limit: int) -> None:
        self._net, self._block, self._splits, self._limit = net, net.get_submodule(block), splits, limit
        self._kept: dict[Kept, Tensor] = {}
        self._known: dict[Kept, npt.NDArray[np.bool_]] = {}
        self._checked = False

    def keeps(self, split: Kept, image: Callable[[], Tensor]) -> bool:
        """Whether the split's features are kept; the first images decide it."""
        if not self._checked and self._splits:
            self._checked = True
            self._splits = self._with_room(image())
        return split in self._splits

    def logits(self, split: Kept, rows: Tensor, image: Callable[[list[int]], Tensor]) -> Tensor:
        """Give the block's answer, of features that are known or are made now; `image` gives those at some places."""
        numbers = rows.tolist()
        known = self._known.setdefault(split, np.zeros(self._splits[split], np.bool_))
        missing = [place for place, row in enumerate(numbers) if not known[row]]
        if missing:
            features = self._watched(image(missing))[1]
            if split not in self._kept:
                self._kept[split] = features.new_empty((len(known), *features.shape[1:]))
            self._kept[split][rows[missing]] = features
            known[[numbers[place] for place in missing]] = True
        return cast(Tensor, self._block(self._kept[split][rows]))

    def _with_room(self, image: Tensor) -> dict[Kept, int]:
        """Choose the splits to keep: none where the block is not all that follows, or its input differs by chance."""
        inside = set(self._block.modules())
        norms = [module for module in self._net.modules() if isinstance(module, _NormBase)]
        unsteady = any(norm.training or norm in inside for norm in norms)
        (answer, once, given), (_, again, _) = self._watched(image, 0), self._watched(image, 1)
        if unsteady or not isinstance(once, Tensor) or not torch.equal(answer, given) or not torch.equal(once, again):
            log.info("features are computed in each epoch: what is frozen does not give the same each time")
            return {}
        fewer: dict[Kept, int] = {split: count for split, count in self._splits.items() if split == "val"}
        for splits in (self._splits, fewer):
            needed = sum(splits.values()) * once[0].nbytes
            if splits and needed <= self._limit:
                which = " and ".join({"train": "training", "val": "validation"}[split] for split in splits)
                log.info("frozen features of %s images are computed once: %.0f MiB", which, needed / 2**20)
                return splits
        whole = sum(self._splits.values()) * once[0].nbytes
        log.info("features are computed in each epoch: they would take %.1f GiB", whole / 2**30)
        return {}

    @torch.no_grad()
    def _watched(self, image: Tensor, seed: int = 0) -> tuple[Tensor, Any, Any]:
        """Give the network's answer, what reached the block, and what the block made of it; None where it was not run.

        Random numbers are those of `seed`, and put back: a resumed run must find those that an uncut one has.
        """
        seen: list[tuple[Any, Any]] = []
        hook = self._block.register_forward_hook(lambda _, inputs, made: seen.append(((*inputs, None)[0], made)))
        try:
            with torch.random.fork_rng([image.device] if image.is_cuda else []):
                torch.manual_seed(seed)
                answer = self._net(image)
        finally:
            hook.remove()
        return answer, *(seen[-1] if seen else (None, None))
