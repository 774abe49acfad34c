"""Average precision of weighted images: the library's figure of images that stand there as often."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pulmo.metrics.coco import AveragePrecision
from pulmo.metrics.detection import coco_map


def some_boxes(images: int, most: int, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Up to three true boxes an image, some found well, some roughly, and false alarms."""
    generator = torch.Generator().manual_seed(seed)
    boxes, truths = [], []
    for place in range(images):
        corner = torch.rand((place % 4, 2), generator=generator) * 150
        true = torch.cat([corner, corner + 30 + torch.rand(corner.shape, generator=generator) * 60], dim=1)
        near = true.repeat(2, 1) + torch.randn((2 * len(true), 4), generator=generator) * 8
        alarm = torch.rand((int(torch.randint(0, most, (), generator=generator)), 2), generator=generator) * 150
        found = torch.cat([near, torch.cat([alarm, alarm + 40], dim=1)])
        boxes.append(torch.cat([found, torch.rand((len(found), 1), generator=generator)], dim=1))
        truths.append(true)
    return boxes, truths


def of_library(boxes: list[Tensor], truths: list[Tensor], times: np.ndarray) -> dict[str, float]:
    rows = np.repeat(np.arange(len(boxes)), times)
    return coco_map([(boxes[row][:, :4], boxes[row][:, 4]) for row in rows], [truths[row] for row in rows])


@pytest.mark.parametrize(("images", "most", "seed"), [(30, 4, 0), (12, 1, 1), (5, 150, 2)])
def test_average_precision__is_the_librarys_of_images_repeated(images: int, most: int, seed: int) -> None:
    boxes, truths = some_boxes(images, most, seed)
    precision = AveragePrecision.of(boxes, truths)
    rng = np.random.default_rng(seed)
    weights = np.concatenate([np.ones((1, images), int), rng.integers(0, 4, (3, images))])
    found = precision(weights.astype(np.float32))
    for row, times in enumerate(weights):
        expected = of_library(boxes, truths, times)
        for name, value in expected.items():
            assert found[name][row] == pytest.approx(value, abs=1e-6), (row, name)


def test_average_precision__without_a_true_box_is_undefined_and_without_a_box_0() -> None:
    nothing, box = torch.zeros((0, 5)), torch.tensor([[0.0, 0.0, 10.0, 10.0, 0.9]])
    undefined = AveragePrecision.of([box, nothing], [box[:0, :4], box[:0, :4]])(np.ones((2, 2), np.float32))
    assert all(math.isnan(value) for values in undefined.values() for value in values)
    none = AveragePrecision.of([nothing], [box[:, :4]])(np.ones((1, 1), np.float32))
    assert [float(values[0]) for values in none.values()] == [0, 0, 0]


def test_average_precision__by_hand() -> None:
    """Of two true boxes one is found, after a false alarm: precision 1/2 up to a recall of 1/2, 51 of 101 points."""
    true = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
    boxes = torch.tensor([[20.0, 20.0, 30.0, 30.0, 0.9], [0.0, 0.0, 10.0, 10.0, 0.8]])
    found = AveragePrecision.of([boxes], [true])(np.ones((1, 1), np.float32))
    assert found["map"][0] == pytest.approx(0.5 * 51 / 101)
