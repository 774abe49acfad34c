"""A classifier that decides which images a detector may find boxes in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from omegaconf import DictConfig

from pulmo import run
from pulmo.errors import ConfigError, DataError
from pulmo.tasks.base import Task
from pulmo.tasks.detection import DetectionTask
from tests.conftest import compose_in, once, small_with

DETECTOR = [
    *("model=faster_rcnn", "model.input.size=64", "model.net.proposals=[50,20]", "model.net.samples=16"),
    *("data.batch_size=8", "data.num_workers=0", "strategy=cpu", "trainer.precision=32-true", "trainer.max_epochs=1"),
    "report=false",
]


def _trained(shared: Path, phantoms: Path, name: str, *overrides: str) -> Path:
    places = ["data=rsna", f"data.root={phantoms / 'rsna'}", f"data.cache_dir={shared / 'gate_cache'}"]
    given = [*places, *overrides]
    return once(shared / name, lambda folder: run.train(compose_in(folder, *given), folder, given))


@pytest.fixture(scope="module")
def classifier(shared: Path, phantoms: Path) -> Path:
    return _trained(shared, phantoms, "gate", *small_with("trainer.max_epochs=1", "model.input.size=64"))


@pytest.fixture(scope="module")
def gated(classifier: Path, shared: Path, phantoms: Path) -> Path:
    return _trained(shared, phantoms, "gated", *DETECTOR, f"model.task.gate={classifier}")


def _both(folder: Path, name: str) -> pd.DataFrame:
    return pd.concat([pd.read_csv(folder / f"{name}_{split}.csv") for split in ("val", "test")])


def _without(node: Any, place: str) -> Any:
    """The content with another path in the place of this one, as on a machine where it is not."""
    if isinstance(node, dict):
        return {key: _without(value, place) for key, value in node.items()}
    if isinstance(node, list):
        return [_without(value, place) for value in node]
    return node.replace(place, "/gone") if isinstance(node, str) else node


def test_gate__images_that_it_calls_negative_keep_no_boxes(classifier: Path, gated: Path) -> None:
    table = _both(gated, "predictions").set_index("image_id")
    judged = _both(classifier, "predictions").set_index("image_id").loc[table.index]
    boxes = _both(gated, "boxes")
    rejected = judged.index[judged["prediction"] == 0]
    passed = judged.index[judged["prediction"] == 1]
    assert len(rejected)
    assert len(passed)
    assert set(boxes["image_id"]) == set(passed)
    assert (table.loc[rejected, "score"] == 0).all()


def test_gate__travels_in_the_checkpoint(classifier: Path, gated: Path, tmp_path: Path) -> None:
    gate = Task.load_from_checkpoint(classifier / "checkpoints" / "best.ckpt")
    content = torch.load(gated / "checkpoints" / "best.ckpt", weights_only=True)
    torch.save(_without(content, str(classifier)), tmp_path / "alone.ckpt")
    task = Task.load_from_checkpoint(tmp_path / "alone.ckpt")
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
