"""How a network runs on the machine at hand, and that it computes the same."""

import sys
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from pulmo import execution
from pulmo.errors import ConfigError
from pulmo.execution import Execution, keep_freed_memory, settle


@pytest.mark.parametrize(
    ("accelerator", "bf16", "precision", "chosen"),
    [
        ("cpu", True, "auto", "bf16-mixed"),
        ("cpu", False, "auto", "32-true"),
        ("auto", True, "auto", "bf16-mixed"),
        ("mps", True, "auto", "32-true"),
        ("cpu", True, "32-true", "32-true"),
        ("cpu", False, "bf16-mixed", "bf16-mixed"),
    ],
)
def test_settle__takes_bf16_where_it_is_native_unless_told(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, bf16: bool, precision: str, chosen: str
) -> None:
    monkeypatch.setattr(execution, "_cpu_has_bf16", lambda: bf16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.mps, "is_available", lambda: False, raising=False)
    trainer: DictConfig = OmegaConf.create({"accelerator": accelerator, "precision": precision})
    assert settle(trainer) == ("cpu" if accelerator == "auto" else accelerator)
    assert trainer.precision == chosen


def test_settle__refuses_float16_on_a_cpu() -> None:
    with pytest.raises(ConfigError, match="precision=16-mixed needs a GPU: on a CPU give bf16-mixed or 32-true"):
        settle(OmegaConf.create({"accelerator": "cpu", "precision": "16-mixed"}))


@pytest.mark.parametrize("bf16", [True, False])
def test_settle__asks_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch, bf16: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16 and not including_emulation)
    trainer = OmegaConf.create({"accelerator": "gpu", "precision": "auto"})
    assert settle(trainer) == "cuda"
    assert trainer.precision == ("bf16-mixed" if bf16 else "32-true")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
@pytest.mark.parametrize(("name", "value"), [("MALLOC_TRIM_THRESHOLD_", "1000000"), ("LD_PRELOAD", "libjemalloc.so")])
def test_keep_freed_memory__leaves_the_choice_to_the_user(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    for variable in [key for key in execution.os.environ if key.startswith("MALLOC_")]:
        monkeypatch.delenv(variable)
    called: list[tuple[int, int]] = []

    class Library:
        def __init__(self, _: Any) -> None: ...
        def mallopt(self, name: int, value: int) -> int:
            called.append((name, value))
            return 1

    monkeypatch.setattr(execution.ctypes, "CDLL", Library)
    assert keep_freed_memory()
    assert (-4, 0) in called  # M_MMAP_MAX: large blocks come from the heap, where they stay
    monkeypatch.setenv(name, value)
    assert not keep_freed_memory()


def test_apply__channels_last_gives_the_same_answer(task: Any) -> None:
    images = torch.randint(0, 256, (3, 1, 32, 32), dtype=torch.uint8)
    task.eval()
    with torch.no_grad():
        plain = task(images)
        Execution(keep_memory=False).apply(task, "cpu", "32-true")
        weights = [module.weight for module in task.net.modules() if isinstance(module, torch.nn.Conv2d)]
        assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
        torch.testing.assert_close(task(images), plain, atol=1e-4, rtol=1e-4)


@pytest.fixture
def task() -> Any:
    from hydra.utils import instantiate
    from tests.conftest import compose_in

    config = compose_in("unused", "model=resnet18", "model.input.size=32", "data.root=.")  # type: ignore[arg-type]
    torch.manual_seed(0)
    return instantiate(OmegaConf.to_container(config.model.task, resolve=True), class_names=["normal", "pneumonia"])
