"""The images of an update: given or derived, and the rates that go with them."""

from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from pulmo.batches import settle_update
from pulmo.errors import ConfigError


def config(processes: int = 2, steps: int = 1, **strategy: Any) -> DictConfig:
    given = {"effective_batch": None, "lr_scaling": "none", "base_batch": None} | strategy
    trainer = {"devices": processes, "num_nodes": 1, "accumulate_grad_batches": steps}
    return OmegaConf.create({"data": {"batch_size": 16}, "trainer": trainer, "strategy": given})


@pytest.mark.parametrize(
    ("processes", "steps", "effective", "said"),
    [
        (1, 1, None, "16 images an update"),
        (2, 4, None, "16 images × 2 processes × 4 steps = 128 images an update"),
        (2, 1, 128, "16 images × 2 processes × 4 steps = 128 images an update"),
        (1, 1, 32, "16 images × 2 steps = 32 images an update"),
        (2, 1, 32, "16 images × 2 processes = 32 images an update"),
    ],
)
def test_settle_update__derives_and_states_one_from_the_other(
    processes: int, steps: int, effective: int | None, said: str
) -> None:
    settled = config(processes, steps, effective_batch=effective)
    update = settle_update(settled, "cpu")
    assert str(update) == said
    assert settled.strategy.effective_batch == update.effective == 16 * processes * update.steps
    assert settled.trainer.accumulate_grad_batches == update.steps
    assert settle_update(settled, "cpu") == update, "what was settled is taken as it is"


@pytest.mark.parametrize(
    ("devices", "nodes", "processes"), [("auto", 1, 1), ("2", 1, 2), (3, 2, 6)], ids=["auto", "text", "nodes"]
)
def test_settle_update__counts_processes_as_lightning_does(devices: Any, nodes: int, processes: int) -> None:
    settled = config()
    settled.trainer.devices, settled.trainer.num_nodes = devices, nodes
    assert settle_update(settled, "cpu").processes == processes


@pytest.mark.parametrize(
    ("scaling", "factor"), [("none", 1.0), ("linear", 4.0), ("sqrt", 2.0)], ids=["none", "linear", "sqrt"]
)
def test_settle_update__scales_rates_by_the_ratio_to_the_base(scaling: str, factor: float) -> None:
    update = settle_update(config(effective_batch=128, lr_scaling=scaling, base_batch=32), "cpu")
    assert update.rate_factor == factor
    assert str(update).endswith("an update" if factor == 1 else f"an update, learning rates × {factor:g}")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (config(effective_batch=100), "no whole number of times; give 96 or 128, or data.batch_size=10"),
        (config(effective_batch=8), "no whole number of times; give 32, or data.batch_size=4"),
        (config(steps=2, effective_batch=32), "accumulate_grad_batches=2: give one of the two"),
        (config(lr_scaling="linear"), "needs strategy.base_batch=N"),
        (config(processes=0), "trainer.devices=0"),
    ],
)
def test_settle_update__tells_what_is_possible(given: DictConfig, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settle_update(given, "cpu")
