"""A checkpoint is enough: on another machine, without the run's folder, its configuration or its data."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pulmo.errors import PulmoError
from pulmo.tasks.base import Task
from pulmo.tasks.classification import ClassificationTask
from pulmo.tasks.segmentation import SegmentationTask

ELSEWHERE = """
import torch
from pulmo.tasks.base import Task
from pulmo.tasks.classification import ClassificationTask
image = torch.load("image.pt")
task = ClassificationTask.load_from_checkpoint("copied.ckpt")
assert type(Task.load_from_checkpoint("copied.ckpt", map_location="cpu", strict=True)) is ClassificationTask
assert not task.training and task.device.type == "cpu"
with torch.no_grad():
    torch.save((task(image), task.threshold, task.class_names), "answer.pt")
"""


@pytest.fixture
def checkpoint(train: Callable[..., Path]) -> Path:
    return train("trainer.max_epochs=1", "model.net.dropout=0.5") / "checkpoints" / "best.ckpt"


def test_load_from_checkpoint__needs_nothing_else_in_a_fresh_process(checkpoint: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(checkpoint, elsewhere / "copied.ckpt")
    image = torch.randint(256, (2, 1, 32, 32), dtype=torch.uint8)
    torch.save(image, elsewhere / "image.pt")
    here = Task.load_from_checkpoint(checkpoint)
    with torch.no_grad():
        expected = here(image)
    shutil.rmtree(checkpoint.parents[1])
    subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=elsewhere, check=True)
    answer, threshold, class_names = torch.load(elsewhere / "answer.pt")
    assert torch.equal(answer, expected)
    assert threshold == here.threshold is not None
    assert class_names == here.class_names


def test_load_from_checkpoint__takes_other_arguments_and_lacking_weights(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    name = next(name for name in content["state_dict"] if name.startswith("net."))
    del content["state_dict"][name]
    torch.save(content, tmp_path / "lacking.ckpt")
    with pytest.raises(RuntimeError, match=name):
        ClassificationTask.load_from_checkpoint(tmp_path / "lacking.ckpt")
    task = ClassificationTask.load_from_checkpoint(tmp_path / "lacking.ckpt", strict=False, report_thresholds=[0.1])
    assert task.report_thresholds == (0.1,)


def test_load_from_checkpoint__of_another_class_is_refused(checkpoint: Path) -> None:
    with pytest.raises(PulmoError, match="holds a ClassificationTask, no SegmentationTask"):
        SegmentationTask.load_from_checkpoint(checkpoint)


class Touch:
    """Pickled, it makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_load_from_checkpoint__runs_no_pickled_code(tmp_path: Path) -> None:
    torch.save({"pulmo": Touch(tmp_path / "ran")}, tmp_path / "evil.ckpt")
    with pytest.raises(PulmoError, match="is no checkpoint of pulmo"):
        Task.load_from_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "evil.ckpt", weights_only=False)
    assert (tmp_path / "ran").exists(), "it would have"
