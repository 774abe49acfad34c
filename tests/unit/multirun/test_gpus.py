import os
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from pulmo.multirun import gpus


def dealt(sweep: Path, monkeypatch: pytest.MonkeyPatch, trainer: DictConfig, given: str | None = None) -> str | None:
    """GPU that a new process would see; the locks of those before it stay held."""
    monkeypatch.setattr(gpus, "_held", [])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    gpus.own_gpu(sweep, trainer)
    kept.extend(gpus._held)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


kept: list[object] = []
ONE = OmegaConf.create({"accelerator": "auto", "devices": 1, "strategy": "auto"})


def test_own_gpu__each_job_gets_the_gpu_with_the_fewest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [dealt(tmp_path, monkeypatch, ONE) for _ in range(5)] == ["0", "1", "2", "0", "1"]


def test_own_gpu__deals_out_those_that_the_user_left_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [dealt(tmp_path, monkeypatch, ONE, "4,6") for _ in range(3)] == ["4", "6", "4"]


@pytest.mark.parametrize(
    ("count", "trainer"),
    [
        (1, {"accelerator": "auto", "devices": 1, "strategy": "auto"}),
        (2, {"accelerator": "cpu", "devices": 1, "strategy": "auto"}),
        (2, {"accelerator": "gpu", "devices": 2, "strategy": "auto"}),
        (2, {"accelerator": "gpu", "devices": "auto", "strategy": {"_target_": "DDPStrategy"}}),
    ],
)
def test_own_gpu__nothing_is_done_where_there_is_nothing_to_deal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, trainer: dict[str, object]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert dealt(tmp_path, monkeypatch, OmegaConf.create(trainer)) is None
