"""All of a split's results in one place, before any figure is computed."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from pulmo.types import Predictions


class PredictionCollector(Metric):
    """Keeps what a task says of each image; `gathered` gives that of all processes, in the table's order.

    Figures are then computed once, on all images, so neither the number of processes nor an uneven last
    batch changes them.

    columns  one tensor a batch, (B, …)
    lists    of each image as many rows as it has, B times (n, width): name → width
    """

    full_state_update = False

    def __init__(self, columns: Sequence[str], lists: Mapping[str, int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.columns, self.lists = ("row", *columns), dict(lists or {})
        for name in (*self.columns, *self.lists, *map(_count, self.lists)):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, **batch: Tensor | Sequence[Tensor]) -> None:
        """Keep a batch: `row` (B,) int64, and each of `columns` and `lists`."""
        for name in self.columns:
            getattr(self, name).append(cast(Tensor, batch[name]).detach())
        for name, width in self.lists.items():
            of_image = [part.detach().float().reshape(-1, width) for part in batch[name]]
            getattr(self, name).append(torch.cat(of_image))
            counts = torch.tensor([len(part) for part in of_image], device=self.device)
            getattr(self, _count(name)).append(counts)

    def gathered(self) -> Predictions:
        """All images, each once, ascending by row, on the CPU."""
        whole: _Whole = self.compute()
        return whole.predictions

    def compute(self) -> "_Whole":
        """As `gathered`, wrapped: torchmetrics would take the axis off tensors of a single image."""
        rows = self._all("row")
        order = rows.argsort(stable=True)
        first = torch.ones(len(order), dtype=torch.bool)
        first[1:] = rows[order].diff() > 0  # of an image that two processes had; see `EveryImageOnce`
        order = order[first]
        results: dict[str, Any] = {name: self._all(name)[order] for name in self.columns}
        for name in self.lists:
            of_image = torch.split(self._all(name), self._all(_count(name)).tolist())
            results[name] = [of_image[position] for position in order.tolist()]
        return _Whole(cast(Predictions, results))

    def _all(self, name: str) -> Tensor:
        return dim_zero_cat(cast(list[Tensor], getattr(self, name))).cpu()


class _Whole:
    def __init__(self, predictions: Predictions) -> None:
        self.predictions = predictions


def _count(name: str) -> str:
    return f"{name}_count"
