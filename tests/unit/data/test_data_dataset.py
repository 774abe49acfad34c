"""Samples, and the order in which they come."""

from collections import Counter
from itertools import chain

import albumentations as A
import numpy as np
import pandas as pd
import pytest
import torch

from pulmo.data.collate import collate
from pulmo.data.dataset import Draw, EveryImageOnce, RadiographDataset, TrainOrder, filled
from pulmo.data.preparing import Prepared
from pulmo.transforms.augment import Augment
from pulmo.transforms.geometry import Geometry
from pulmo.types import Target

LABELS = [0] * 7 + [1] * 3


def order(epoch: int = 0, *, seed: int = 0, labels: list[int] = LABELS, **arguments: object) -> list[Draw]:
    draws = TrainOrder(labels, balanced=bool(arguments.pop("balanced", False)), seed=seed, **arguments)
    draws.set_epoch(epoch)
    return list(draws)


def test_train_order__each_image_once_an_epoch() -> None:
    assert sorted(draw.row for draw in order()) == list(range(10))


def test_train_order__is_a_function_of_seed_and_epoch_alone() -> None:
    straight = TrainOrder(LABELS, balanced=False, seed=5)
    epochs = []
    for epoch in range(4):
        straight.set_epoch(epoch)
        epochs.append(list(straight))
    assert order(3, seed=5) == epochs[3]  # a run that resumes with epoch 3
    assert order(3, seed=5) == order(3, seed=5)


def test_train_order__epochs_and_seeds_differ_in_order_and_augmentation() -> None:
    for other in (order(1), order(0, seed=1)):
        assert [draw.row for draw in other] != [draw.row for draw in order()]
        assert not {draw.seed for draw in other} & {draw.seed for draw in order()}


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("world", [2, 3, 4])
def test_train_order__ranks_share_out_one_order(world: int, balanced: bool) -> None:
    whole = order(2, balanced=balanced)
    ranks = [order(2, balanced=balanced, rank=rank, world=world) for rank in range(world)]
    assert {len(rank) for rank in ranks} == {len(TrainOrder(LABELS, balanced=balanced, seed=0, world=world))}
    dealt = list(chain.from_iterable(zip(*ranks, strict=True)))
    assert dealt[:10] == whole
    assert dealt[10:] == whole[: len(dealt) - 10]  # all ranks take as many steps: the first ones come again


def test_train_order__balanced_draws_classes_equally_often() -> None:
    labels = [0] * 900 + [1] * 80 + [2] * 20
    drawn = Counter(labels[draw.row] for epoch in range(5) for draw in order(epoch, labels=labels, balanced=True))
    # 5000 draws, a third each: a standard deviation of 33.
    assert all(abs(drawn[label] - 5000 / 3) < 4 * 33 for label in range(3))


def test_train_order__balanced_draws_every_image_of_a_class_alike() -> None:
    drawn = Counter(draw.row for epoch in range(300) for draw in order(epoch, balanced=True))
    # 3000 draws, half of them on each class: 1500 / 7 and 1500 / 3 an image, standard deviations 14 and 20.
    assert all(abs(drawn[row] - 1500 / 7) < 4 * 14.1 for row in range(7))
    assert all(abs(drawn[row] - 500) < 4 * 20.4 for row in range(7, 10))


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 6, 7, 12])
def test_every_image_once__shares_out_the_batches_of_a_single_process(count: int, world: int) -> None:
    def batches(rank: int, world: int) -> list[list[int]]:
        order = EveryImageOnce(count, batch_size=3, rank=rank, world=world)
        rows = [draw.row for draw in order]
        assert len(order) == len(rows) > 0  # all ranks must take part
        assert all(draw.seed is None for draw in order)
        return [rows[start : start + 3] for start in range(0, len(rows), 3)]

    alone = batches(0, 1)
    shares = [batches(rank, world) for rank in range(world)]
    assert list(chain.from_iterable(alone)) == list(range(count))
    assert sorted(chain.from_iterable(shares[: len(alone)])) == alone
    assert all(share == [alone[0]] for share in shares[len(alone) :])


def test_filled__pixels_whose_centre_is_inside() -> None:
    mask = filled(np.array([[1, 0, 3, 2], [2.6, 2.4, 4.4, 3.6], [-5, 3, 1, 99]], np.float32), 4)
    np.testing.assert_array_equal(mask, [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1], [1, 0, 0, 1]])


def test_filled__an_ellipse_touches_the_four_sides_and_leaves_the_corners() -> None:
    # Half axes 3 and 2 about (3, 3): a centre (x, y) is inside where (x - 3)² / 9 + (y - 3)² / 4 < 1.
    mask = filled(np.array([[0, 1, 6, 5]], np.float32), 6, "ellipse")
    np.testing.assert_array_equal(
        mask,
        [
            [0, 0, 0, 0, 0, 0],
            [0, 1, 1, 1, 1, 0],
            [1, 1, 1, 1, 1, 1],
            [1, 1, 1, 1, 1, 1],
            [0, 1, 1, 1, 1, 0],
            [0, 0, 0, 0, 0, 0],
        ],
    )
    assert mask.dtype == np.uint8


def test_filled__an_ellipse_has_pi_quarters_of_its_box() -> None:
    box = np.array([[10.3, 20.6, 90.1, 60.9]], np.float32)
    assert filled(box, 100, "ellipse").sum() / (79.8 * 40.3) == pytest.approx(np.pi / 4, rel=0.01)
    assert (filled(box, 100, "ellipse") <= filled(box, 100, "box")).all()


def test_filled__ellipses_of_several_boxes_are_joined() -> None:
    boxes = np.array([[0, 0, 6, 6], [3, 3, 9, 9]], np.float32)
    joined = filled(boxes[:1], 9, "ellipse") | filled(boxes[1:], 9, "ellipse")
    np.testing.assert_array_equal(filled(boxes, 9, "ellipse"), joined)
    assert filled(np.zeros((0, 4), np.float32), 9, "ellipse").sum() == 0


class Shown:
    """A store of one 40 × 30 picture, fitted into 20 × 20: scaled by ½ and by ⅔."""

    def __init__(self) -> None:
        self.image = np.zeros((20, 20), np.uint8)
        self.image[6:12, 4:10] = 200
        self.mask = np.zeros((20, 20), np.uint8)
        self.mask[:, :10] = 1

    def __getitem__(self, row: int) -> Prepared:
        return Prepared(self.image, self.mask, Geometry.fit((0, 0, 40, 30), 20, keep_aspect=False), {})


def dataset(*targets: Target, augment: Augment | None = None, store: Shown | None = None) -> RadiographDataset:
    table = pd.DataFrame({"label": [1, 0], "boxes": [[[8, 9, 20, 18]], []]})
    return RadiographDataset(table, np.array([0, 1]), store or Shown(), frozenset(targets), augment)


def test_sample__has_the_targets_asked_for_and_no_others() -> None:
    assert set(dataset()[Draw(0)]) == {"image", "row"}
    assert set(dataset("label", "boxes")[Draw(0)]) == {"image", "row", "label", "boxes"}


def test_sample__is_as_the_treaty_says() -> None:
    sample = dataset("label", "boxes", "opacity_mask", "lung_mask")[Draw(0)]
    assert sample["image"].shape == (1, 20, 20)
    assert sample["image"].dtype == torch.uint8
    assert (sample["row"], sample["label"]) == (0, 1)
    assert sample["boxes"].tolist() == [[4, 6, 10, 12]]
    assert sample["boxes"].dtype == torch.float32
    assert torch.equal(sample["opacity_mask"], (sample["image"][0] == 200).to(torch.uint8))
    assert torch.equal(sample["lung_mask"], torch.from_numpy(Shown().mask))


def test_sample__without_boxes_has_none_of_four_sides() -> None:
    sample = dataset("boxes", "opacity_mask")[Draw(1)]
    assert sample["boxes"].shape == (0, 4)
    assert sample["opacity_mask"].sum() == 0


def test_sample__an_opacity_fills_its_box_as_asked() -> None:
    table = pd.DataFrame({"label": [1], "boxes": [[[8, 9, 20, 18]]]})
    sample = RadiographDataset(
        table, np.array([0]), Shown(), frozenset({"opacity_mask", "boxes"}), None, box_shape="ellipse"
    )[Draw(0)]
    np.testing.assert_array_equal(sample["opacity_mask"], filled(sample["boxes"].numpy(), 20, "ellipse"))
    assert 0 < sample["opacity_mask"].sum() < 6 * 6


def test_sample__all_targets_move_with_the_image() -> None:
    flip = Augment([A.HorizontalFlip(p=1)])
    sample = dataset("boxes", "opacity_mask", "lung_mask", augment=flip)[Draw(0, seed=3)]
    assert sample["boxes"].tolist() == [[10, 6, 16, 12]]
    assert torch.equal(sample["opacity_mask"], (sample["image"][0] == 200).to(torch.uint8))
    assert torch.equal(sample["lung_mask"], torch.from_numpy(Shown().mask[:, ::-1].copy()))


def test_sample__a_draw_without_seed_is_not_augmented() -> None:
    flip = Augment([A.HorizontalFlip(p=1)])
    assert torch.equal(dataset(augment=flip)[Draw(0)]["image"][0], torch.from_numpy(Shown().image))


def test_sample__shares_no_memory_with_the_store() -> None:
    store = Shown()
    sample = dataset("lung_mask", store=store)[Draw(0)]
    sample["image"][:] = 7
    sample["lung_mask"][:] = 7
    assert store.image.max() == 200
    assert store.mask.max() == 1


def test_collate__stacks_all_but_boxes() -> None:
    samples = dataset("label", "boxes")
    batch = collate([samples[Draw(0)], samples[Draw(1)]])
    assert batch["image"].shape == (2, 1, 20, 20)
    assert batch["label"].tolist() == [1, 0]
    assert batch["row"].tolist() == [0, 1]
    assert batch["row"].dtype == batch["label"].dtype == torch.int64
    assert [boxes.shape for boxes in batch["boxes"]] == [(1, 4), (0, 4)]
