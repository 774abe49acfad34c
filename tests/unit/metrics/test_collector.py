import torch

from pulmo.metrics.collector import PredictionCollector


def test_collector__gives_the_order_of_the_table_whatever_the_batches() -> None:
    collector = PredictionCollector(["logits", "label"])
    collector.update(row=torch.tensor([2, 0]), logits=torch.tensor([[2.0], [0.0]]), label=torch.tensor([1, 0]))
    collector.update(row=torch.tensor([1]), logits=torch.tensor([[1.0]]), label=torch.tensor([1]))
    predictions = collector.gathered()
    assert predictions["row"].tolist() == [0, 1, 2]
    assert predictions["logits"][:, 0].tolist() == [0.0, 1.0, 2.0]
    assert predictions["label"].tolist() == [0, 1, 1]


def test_collector__lists_stay_with_their_image_empty_ones_too() -> None:
    collector = PredictionCollector([], {"boxes": 4})
    collector.update(row=torch.tensor([3, 1]), boxes=[torch.full((2, 4), 3.0), torch.zeros((0, 4))])
    collector.update(row=torch.tensor([0, 2]), boxes=[torch.full((1, 4), 0.0), torch.full((3, 4), 2.0)])
    boxes = collector.gathered()["boxes"]
    assert [part.shape for part in boxes] == [(1, 4), (0, 4), (3, 4), (2, 4)]
    assert all((part == row).all() for row, part in enumerate(boxes))


def test_collector__merged_from_two_processes_is_that_of_one() -> None:
    def filled(rows: list[int]) -> PredictionCollector:
        collector = PredictionCollector(["score"], {"boxes": 2})
        for row in rows:
            boxes = [torch.full((row % 3, 2), float(row))]
            collector.update(row=torch.tensor([row]), score=torch.tensor([row / 10]), boxes=boxes)
        return collector

    one, part = filled([0, 1, 2, 3, 4]), filled([0, 2, 4])
    part.merge_state(filled([1, 3]))
    both, whole = part.gathered(), one.gathered()
    assert torch.equal(both["score"], whole["score"])
    assert all(torch.equal(a, b) for a, b in zip(both["boxes"], whole["boxes"], strict=True))


def test_collector__an_image_that_two_processes_had_is_counted_once() -> None:
    collector = PredictionCollector(["score"], {"boxes": 2})
    for rows in ([0, 1], [0, 1], [2]):
        boxes = [torch.full((row, 2), float(row)) for row in rows]
        collector.update(row=torch.tensor(rows), score=torch.tensor(rows) / 10, boxes=boxes)
    predictions = collector.gathered()
    assert predictions["row"].tolist() == [0, 1, 2]
    assert torch.equal(predictions["score"], torch.tensor([0, 1, 2]) / 10)
    assert [part.tolist() for part in predictions["boxes"]] == [[], [[1.0, 1.0]], [[2.0, 2.0], [2.0, 2.0]]]


def test_collector__a_single_image_keeps_its_axes() -> None:
    collector = PredictionCollector(["score", "logits"], {"boxes": 5})
    collector.update(
        row=torch.tensor([0]), score=torch.tensor([0.5]), logits=torch.ones(1, 1), boxes=[torch.ones(1, 5)]
    )
    predictions = collector.gathered()
    assert predictions["row"].shape == predictions["score"].shape == (1,)
    assert predictions["logits"].shape == (1, 1)
    assert predictions["boxes"][0].shape == (1, 5)
