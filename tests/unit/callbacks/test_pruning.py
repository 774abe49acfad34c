"""A trial reports what it reached, once an epoch, and ends when it is hopeless."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer

from pulmo.callbacks.pruning import Pruning


class Study:
    """Remembers what it was told; calls a trial hopeless from an epoch on."""

    def __init__(self, hopeless_from: int = 99) -> None:
        self.reported: list[tuple[int, float]] = []
        self.hopeless_from = hopeless_from

    def report(self, value: float, step: int) -> None:
        self.reported.append((step, value))

    def should_prune(self) -> bool:
        return bool(self.reported) and self.reported[-1][0] >= self.hopeless_from


def trained(
    study: Study,
    figures: list[float],
    known: frozenset[int] = frozenset(),
    first: int = 0,
    every: int = 1,
    is_global_zero: bool = True,
) -> tuple[Pruning, Any]:
    """The callback after epochs with these figures, and the trainer."""
    pruning = Pruning("val/auroc", lambda: (study, known))
    trainer = SimpleNamespace(
        current_epoch=first,
        max_epochs=first + len(figures),
        check_val_every_n_epoch=every,
        is_global_zero=is_global_zero,
        should_stop=False,
        strategy=SimpleNamespace(broadcast=lambda value: value),
        callback_metrics={},
    )
    for figure in figures:
        trainer.callback_metrics["val/auroc"] = torch.tensor(figure)
        pruning.on_train_epoch_end(cast(Trainer, trainer), cast(LightningModule, None))
        if trainer.should_stop:
            break
        trainer.current_epoch += 1
    return pruning, trainer


def test_pruning__ends_the_training_and_says_why() -> None:
    study = Study(hopeless_from=1)
    pruning, trainer = trained(study, [0.5, 0.4, 0.6, 0.7])
    assert trainer.should_stop
    assert [step for step, _ in study.reported] == [0, 1]
    assert pruning.cause == "pruned after epoch 2, with val/auroc 0.4000"


def test_pruning__the_last_epoch_is_reported_and_never_pruned() -> None:
    study = Study(hopeless_from=1)
    pruning, trainer = trained(study, [0.5, 0.4])
    assert not trainer.should_stop
    assert pruning.cause is None
    assert len(study.reported) == 2


@pytest.mark.parametrize("undefined", [float("nan"), float("inf")])
def test_pruning__undefined_figures_and_unvalidated_epochs_are_not_reported(undefined: float) -> None:
    study = Study()
    trained(study, [0.5, undefined, 0.6])
    assert [step for step, _ in study.reported] == [0, 2]
    study = Study()
    trained(study, [0.5, 0.5, 0.6, 0.6], every=2)
    assert [step for step, _ in study.reported] == [1, 3]


def test_pruning__a_resumed_trial_does_not_report_an_epoch_twice() -> None:
    study = Study()
    trained(study, [0.5, 0.6, 0.7], known=frozenset({0, 1, 2}), first=2)
    assert [step for step, _ in study.reported] == [3, 4]


def test_pruning__the_first_process_alone_asks() -> None:
    study = Study(hopeless_from=0)
    _, trainer = trained(study, [0.5, 0.5], is_global_zero=False)
    assert study.reported == []
    assert not trainer.should_stop
