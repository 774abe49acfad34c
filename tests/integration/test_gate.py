"""A classifier that decides which images a detector may find boxes in."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from omegaconf import DictConfig

from pulmo import run
from pulmo.errors import ConfigError, DataError
from pulmo.tasks.base import Task
from pulmo.tasks.detection import DetectionTask

DETECTOR = [
    *("model=faster_rcnn", "model.input.size=64", "model.net.proposals=[50,20]", "model.net.samples=16"),
    *("data.batch_size=8", "data.num_workers=0", "strategy=cpu", "trainer.precision=32-true", "trainer.max_epochs=1"),
]


@pytest.fixture
def classifier(train: Callable[..., Path]) -> Path:
    return train("trainer.max_epochs=1", "model.input.size=64", name="classifier")


def _both(folder: Path, name: str) -> pd.DataFrame:
    return pd.concat([pd.read_csv(folder / f"{name}_{split}.csv") for split in ("val", "test")])


def test_gate__images_that_it_calls_negative_keep_no_boxes(
    classifier: Path, composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    folder = tmp_path / "gated"
    run.train(composed(*DETECTOR, f"model.task.gate={classifier}", folder=folder), folder, [])
    table = _both(folder, "predictions").set_index("image_id")
    judged = _both(classifier, "predictions").set_index("image_id").loc[table.index]
    boxes = _both(folder, "boxes")
    rejected = judged.index[judged["prediction"] == 0]
    passed = judged.index[judged["prediction"] == 1]
    assert len(rejected)
    assert len(passed)
    assert set(boxes["image_id"]) == set(passed)
    assert (table.loc[rejected, "score"] == 0).all()


def test_gate__travels_in_the_checkpoint(classifier: Path, composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    folder = tmp_path / "gated"
    run.train(composed(*DETECTOR, f"model.task.gate={classifier}", folder=folder), folder, [])
    gate = Task.load_from_checkpoint(classifier / "checkpoints" / "best.ckpt")
    (classifier / "checkpoints" / "best.ckpt").unlink()
    task = Task.load_from_checkpoint(folder / "checkpoints" / "best.ckpt")
    assert isinstance(task, DetectionTask)
    assert task.gate is not None
    assert task.gate.state() == gate.state()
    image = torch.randint(256, (3, 1, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(task.gate(image), gate(image))


def test_gate__one_that_learnt_from_images_held_out_here_is_refused(
    classifier: Path, composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    folder = tmp_path / "other_split"
    config = composed(*DETECTOR, f"model.task.gate={classifier}", "data.split_seed=5", folder=folder)
    with pytest.raises(DataError, match=r"on \d+ patients.*data\.split="):
        run.train(config, folder, [])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.task.gate=/nowhere"], "no checkpoints/best.ckpt"),
        (["model.task.gate=CLASSIFIER", "preprocess=clahe"], "prepared otherwise"),
    ],
)
def test_gate__what_is_none_is_refused_before_an_image_is_read(
    classifier: Path, composed: Callable[..., DictConfig], tmp_path: Path, overrides: list[str], message: str
) -> None:
    given = [override.replace("CLASSIFIER", str(classifier)) for override in overrides]
    with pytest.raises(ConfigError, match=message):
        run.build(composed(*DETECTOR, *given), tmp_path / "gated")
