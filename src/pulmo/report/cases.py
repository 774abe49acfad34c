"""The best, the median and the worst images of a split, with truth and prediction drawn on them."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from pulmo.data.datamodule import ChestDataModule
from pulmo.report.overlays import Case, overlays
from pulmo.tasks.base import Task
from pulmo.types import Split

EACH = 4


def draw_cases(task: Task, datamodule: ChestDataModule, split: Split, title: str = "") -> Figure | None:
    """Show `EACH` images of each group, by the task's own figure of an image.

    Images without such a figure are passed over; None where no image has one, or the task draws nothing on images.
    """
    predictions = task.predictions.get(split)
    quality = None if predictions is None else task.quality(predictions)
    if predictions is None or quality is None:
        return None
    name, values = quality
    image_ids = datamodule.rows_of(split)["image_id"]
    cases = []
    for group, place in chosen(values.double().numpy(), EACH):
        row = int(predictions["row"][place])
        batch = datamodule.samples(split, [row])
        with torch.no_grad():
            drawn = task.drawn(batch, predictions, place)
        caption = f"{name} {values[place]:.3f}"
        cases.append(Case(batch["image"][0, 0].numpy(), str(image_ids.iat[row]), caption, group, **drawn))
    return overlays(cases, title) if cases else None


def chosen(values: npt.NDArray[np.float64], count: int) -> Iterator[tuple[str, int]]:
    """Give group and place of the `count` best, middle and worst of (N,) `values`, each place once; NaN is left out."""
    order = np.argsort(-values, kind="stable")
    order = order[np.isfinite(values[order])]
    middle = max(0, (len(order) - count) // 2)
    groups = {"best": order[:count], "median": order[middle : middle + count], "worst": order[::-1][:count]}
    taken: set[int] = set()
    for group, places in groups.items():
        for place in map(int, places):
            if place not in taken:
                taken.add(place)
                yield group, place
