"""Which cut-off runs have that answer together, and who draws their lungs."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn, optim

from pulmo.errors import ConfigError
from pulmo.losses import ClassificationLoss
from pulmo.models.image_input import ImageInput
from pulmo.prediction.members import Member, cut_off_of, lung_run, names_of
from pulmo.tasks.classification import ClassificationTask
from pulmo.thresholds import Best, Fixed, ThresholdPolicy
from pulmo.transforms.preprocess import Preprocess


def member(mask: str = "dataset", policy: ThresholdPolicy | None = None, use: Any = "lungs") -> Member:
    task = ClassificationTask(
        net=lambda outputs: nn.Sequential(nn.Flatten(), nn.Linear(4, outputs)),
        image=ImageInput(1, [0.5], [0.1]),
        class_names=("normal", "pneumonia"),
        loss=ClassificationLoss(),
        optimizer=partial(optim.SGD, lr=0.1),
        threshold=policy or Fixed(0.5),
    )
    run = SimpleNamespace(origin={"preprocess": {"mask": mask}}, name="run")
    return Member(run, task, Preprocess(size=16, use=use))  # type: ignore[arg-type]


def run_in(folder: Path) -> str:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").touch()
    return str(folder)


@pytest.mark.parametrize(
    ("policy", "threshold", "said"),
    [
        (Best("youden"), 0.7, "fitted by the run"),
        (Fixed(0.3), 0.3, "given to the run"),
        (Best("youden"), None, "the run has none: 0.5"),
    ],
)
def test_cut_off__of_one_run_says_where_it_comes_from(
    policy: ThresholdPolicy, threshold: float | None, said: str
) -> None:
    one = member(policy=policy)
    one.task.threshold = threshold
    assert cut_off_of([one], None).source == said


def named(folder: Path, other: str, checkpoint: Path) -> Member:
    run = SimpleNamespace(folder=folder, other_checkpoint=other, best=checkpoint)
    return Member(run, None, None)  # type: ignore[arg-type]


def test_names__tell_all_apart_or_are_the_checkpoints(tmp_path: Path) -> None:
    one, two = tmp_path / "a" / "run", tmp_path / "b" / "run"
    both = [named(one, "", one / "best.ckpt"), named(two, "", two / "best.ckpt")]
    assert names_of(both) == ["a/run", "b/run"]
    assert names_of([both[0], named(one, "late", one / "late.ckpt")]) == ["a/run", "a/run:late"]
    assert names_of([named(tmp_path / "x" / "a" / "run", "", one), both[0]]) == ["x/a/run", f"{tmp_path.name}/a/run"]
    alike = [named(one, "last", one / "last.ckpt"), named(one, "last", one / "checkpoints" / "last.ckpt")]
    assert names_of(alike) == [str(member.run.best.resolve()) for member in alike]


def test_lungs__are_drawn_by_the_run_that_all_were_trained_with(tmp_path: Path) -> None:
    drew = run_in(tmp_path / "lungs")
    assert lung_run([member(drew), member(drew)], None) == drew
    assert lung_run([member(drew), member(use="none")], None) == drew
    assert lung_run([member(), member("none")], None) is None
    assert lung_run([member(drew)], "given") == "given"


def test_lungs__drawn_by_two_runs_or_one_that_is_gone_are_asked_for(tmp_path: Path) -> None:
    one, two = run_in(tmp_path / "one"), run_in(tmp_path / "two")
    with pytest.raises(ConfigError, match=f"drawn by {one} and {two}: give --lungs RUN"):
        lung_run([member(one), member(two)], None)
    with pytest.raises(ConfigError, match="which is not here: give --lungs RUN or --masks-from FOLDER"):
        lung_run([member(str(tmp_path / "gone"))], None)
