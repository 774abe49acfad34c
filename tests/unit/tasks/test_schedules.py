import math
from collections.abc import Callable

import pytest
import torch
from torch.optim import SGD

from pulmo.tasks import schedules


def _rates(make: Callable[..., object], steps: int = 20, **arguments: float) -> list[float]:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make(optimizer, steps=steps, steps_per_epoch=5, **arguments)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()  # type: ignore[attr-defined]
    return rates


def test_cosine__falls_to_the_floor_at_the_end_of_the_stage() -> None:
    rates = _rates(schedules.cosine, floor=0.1)
    assert rates[0] == 1
    assert rates[10] == pytest.approx(0.55)
    assert rates[19] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 19 / 20)) / 2)


def test_step__falls_by_its_factor_at_epochs() -> None:
    rates = _rates(schedules.step, every_epochs=2, factor=0.5)
    assert rates == pytest.approx([1.0] * 10 + [0.5] * 10)


def test_warm_up__rises_from_a_hundredth_over_its_epochs() -> None:
    rates = _rates(schedules.constant, warmup_epochs=2)
    assert rates[0] == pytest.approx(0.01)
    assert rates[5] == pytest.approx(0.01 + 0.99 / 2)
    assert rates[10:] == pytest.approx([1.0] * 10)


def test_one_cycle__peaks_at_the_rate_given() -> None:
    rates = _rates(schedules.one_cycle, warmup_share=0.3)
    assert max(rates) == pytest.approx(1.0, abs=0.02)
    assert 4 <= rates.index(max(rates)) <= 7
    assert rates[-1] < 0.05


def test_plateau__waits_out_its_patience() -> None:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = schedules.plateau(optimizer, steps=20, steps_per_epoch=5, patience=1, factor=0.1)
    rates = []
    for loss in (1.0, 1.0, 1.0, 0.5):
        schedule.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1.0, 1.0, 0.1, 0.1])


def test_plateau__warms_up_first_and_counts_no_epoch_of_it() -> None:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = schedules.plateau(optimizer, steps=25, steps_per_epoch=5, patience=0, factor=0.1, warmup_epochs=2)
    rates = []
    for step in range(25):
        schedule.warm(100 + step)  # of a later stage: the trainer's steps go on
        rates.append(optimizer.param_groups[0]["lr"])
        if step % 5 == 4:
            schedule.step(1.0)  # never improves
    assert rates[0] == pytest.approx(0.02)
    assert rates[5] == pytest.approx(2 * (0.01 + 0.99 / 2))
    assert rates[10:20] == pytest.approx([2.0] * 10)  # epoch 2 is the first that counts, epoch 3 no better than it
    assert rates[20] == pytest.approx(0.2)


def test_plateau__a_restored_one_warms_up_where_it_was() -> None:
    def made() -> schedules.Plateau:
        optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        return schedules.plateau(optimizer, steps=20, steps_per_epoch=5, warmup_epochs=2)

    first, second = made(), made()
    first.warm(0)
    first.warm(3)
    second.load_state_dict(first.state_dict())
    second.warm(5)
    assert second.optimizer.param_groups[0]["lr"] == pytest.approx(0.01 + 0.99 / 2)
