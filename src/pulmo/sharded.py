"""Strategies that share out a network's weights or its optimizer among GPUs, and still leave one checkpoint file."""

import contextlib
import importlib.util
import io
import shutil
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.precision import FSDPPrecision, Precision
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel

from pulmo.errors import ConfigError, MissingExtraError


class ClippingPrecision(FSDPPrecision):
    """Lightning's, which can clip by the norm too: that of the whole network, of which each process has a share."""

    def __init__(self, precision: Any, strategy: "ShardedStrategy") -> None:
        super().__init__(precision)
        self.strategy = strategy

    def clip_grad_by_norm(self, optimizer: Any, clip_val: float, *_: Any, **__: Any) -> None:
        """Scale the gradients down to the norm `clip_val`."""
        self.strategy.net.clip_grad_norm_(clip_val)


class ShardedStrategy(FSDPStrategy):
    """Fully sharded data parallel: weights, gradients and optimizer in shares; checkpoints whole, in one file.

    The task's network is wrapped once, not the task: Lightning would wrap it anew for validation and test, around
    shares that it takes for whole weights.
    """

    @property
    def net(self) -> FullyShardedDataParallel:
        """The wrapped network."""
        net: Any = self.lightning_module
        wrapped: FullyShardedDataParallel = net.net
        return wrapped

    @property
    def precision_plugin(self) -> FSDPPrecision:
        """See `ClippingPrecision`."""
        return super().precision_plugin

    @precision_plugin.setter
    def precision_plugin(self, plugin: Precision | None) -> None:
        self._precision_plugin = ClippingPrecision(plugin.precision, self) if plugin is not None else None

    def _setup_model(self, model: nn.Module) -> nn.Module:
        task: Any = model
        if not isinstance(task.net, FullyShardedDataParallel):
            task.net = FullyShardedDataParallel(
                task.net,
                cpu_offload=self.cpu_offload,
                mixed_precision=self.mixed_precision_config,
                sharding_strategy=self.sharding_strategy,
                device_id=self.root_device,
                **self.kwargs,
            )
        for name, part in task.named_children():  # the image's normalisation, the loss, metrics
            if name != "net":
                part.to(self.root_device)
        return model

    def teardown(self) -> None:
        """Leave SyncBatchNorm where it is: Lightning would put in others, which hold a share for whole weights."""
        self._layer_sync = None
        super().teardown()


class OneFileDeepSpeed(DeepSpeedStrategy):
    """DeepSpeed's ZeRO, stages 1 and 2: beside its folder of shares (`last.shards`) the checkpoint as one file.

    The file holds float32 weights and is what `load_from_checkpoint` and the test read; to go on, training needs both.
    """

    def __init__(self, stage: int = 2, **settings: Any) -> None:
        if importlib.util.find_spec("deepspeed") is None:
            raise MissingExtraError("strategy=deepspeed needs DeepSpeed: pip install 'pulmo[deepspeed]'")
        if stage not in (1, 2):
            raise ConfigError(f"trainer.strategy.stage={stage}: 1 or 2; to share out the weights too, strategy=fsdp")
        super().__init__(stage=stage, **settings)

    def setup(self, trainer: Any) -> None:
        """Let the network have its input in its own precision, which DeepSpeed has lowered for good."""
        super().setup(trainer)
        task: Any = self.lightning_module
        task.net.register_forward_pre_hook(_in_its_precision)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None) -> None:
        """Write the shares beside those that are there, put them in their place, then write the file.

        So a kill leaves a whole folder: the new one, the old one, or for a moment that one under another name.
        """
        path = Path(self.broadcast(filepath))
        part = _shards(path, ".part")
        if self.is_global_zero:
            _put_back(path)
            shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
        self.barrier()
        super().save_checkpoint(checkpoint, str(part), storage_options)
        self.barrier()
        if self.is_global_zero:
            whole = dict(checkpoint["state_dict"])
            if any(weight.dtype in (torch.float16, torch.bfloat16) for weight in whole.values()):
                from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

                with contextlib.redirect_stdout(io.StringIO()):
                    whole |= get_fp32_state_dict_from_zero_checkpoint(str(part), tag="checkpoint")
            content = {name: value for name, value in checkpoint.items() if name != "optimizer_states"}
            weights = {name: weight.float() if weight.is_floating_point() else weight for name, weight in whole.items()}
            if _shards(path).is_dir():
                _shards(path).rename(_shards(path, ".old"))
            part.rename(_shards(path))
            shutil.rmtree(_shards(path, ".old"), ignore_errors=True)
            self.checkpoint_io.save_checkpoint(content | {"state_dict": weights}, path)
        self.barrier()

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read the file where the weights are all that matters, else the shares."""
        path, task = Path(checkpoint_path), self.lightning_module
        if task is not None and task.trainer.state.fn == TrainerFn.FITTING:
            if self.is_global_zero:
                _put_back(path)
            self.barrier()
            if not _shards(path).is_dir():
                raise ConfigError(f"resume={path}: no {_shards(path).name} beside it, where DeepSpeed's optimizer is")
            return dict(super().load_checkpoint(str(_shards(path))))
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if task is not None:
            task.load_state_dict(content["state_dict"])
        return content

    def remove_checkpoint(self, filepath: Any) -> None:
        """Remove both."""
        super().remove_checkpoint(filepath)
        if self.is_global_zero:
            shutil.rmtree(_shards(Path(filepath)), ignore_errors=True)


def _shards(path: Path, ending: str = "") -> Path:
    return path.with_suffix(f".shards{ending}")


def _put_back(path: Path) -> None:
    """Give the old shares their name again, where a run was killed before the new ones had it."""
    shards, old = _shards(path), _shards(path, ".old")
    if old.is_dir() and not shards.is_dir():
        old.rename(shards)
    shutil.rmtree(old, ignore_errors=True)


def _in_its_precision(net: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    kind = next(net.parameters()).dtype
    return tuple(part.to(kind) if isinstance(part, Tensor) and part.is_floating_point() else part for part in inputs)
