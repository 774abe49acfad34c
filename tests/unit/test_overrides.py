"""The order of the command line never matters, and nothing on it is lost without a word."""

import random

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from pulmo import overrides
from pulmo.composition import CONF
from pulmo.errors import ConfigError

LINE = [
    "experiment=rsna_unet",
    "optimizer=sgd",
    "scheduler=one_cycle",
    "augment=none",
    "finetune=head_then_last",
    "finetune.stages.0.epochs=2",
    "loss=focal",
    "+model.loss.normalized=true",
    "model.optimizer.lr=0.02",
    "trainer.max_epochs=7",
    "callbacks=ema",
    "~callbacks.input_images",
    "hydra.job.name=train",
]


def composed(arguments: list[str]) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides.parents_first(arguments, CONF))


def plain(arguments: list[str]) -> object:
    return OmegaConf.to_container(composed(arguments), resolve=False)


def test_order__of_arguments_composes_the_same() -> None:
    expected = plain(LINE)
    for seed in range(5):
        shuffled = random.Random(seed).sample(LINE, len(LINE))
        assert plain(shuffled) == expected, shuffled


def test_order__of_a_key_and_one_inside_of_it_does_not_matter() -> None:
    whole, part = (
        "finetune.stages=[{learn: [{block: head}], epochs: 1}, {learn: [{block: ''}]}]",
        "finetune.stages.0.epochs=4",
    )
    assert plain([whole, part]) == plain([part, whole])
    assert composed([part, whole]).finetune.stages[0].epochs == 4


def test_parents_first__leaves_an_order_alone_that_does_not_matter() -> None:
    arguments = ["-m", "model.input.size=32,64", "seed=0,1", "model=resnet18"]
    assert overrides.parents_first(arguments, CONF) is arguments


@pytest.mark.parametrize(
    "arguments",
    [
        ["seed=1", "model=vgg16", "seed=2"],
        ["model=vgg16", "model=resnet18"],
        ["+trainer.max_steps=4", "++trainer.max_steps=5"],
        ["~callbacks.ema", "callbacks.ema.decay=0.9", "callbacks.ema=null"],
    ],
    ids=" ".join,
)
def test_check__refuses_a_key_that_is_given_twice(arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match="contradict each other"):
        overrides.check(arguments)


def test_check__takes_the_same_again_and_a_group_beside_its_values() -> None:
    overrides.check(["-m", "seed=1", "threshold=half", "threshold.value=0.3", "seed=1", "loss=bce", "model.loss.x=1"])


@pytest.mark.parametrize("experiment", sorted(path.stem for path in (CONF / "experiment").glob("*.yaml")))
def test_group__on_the_command_line_wins_over_the_experiment_and_the_model(experiment: str) -> None:
    chosen = ["optimizer=adamw", "threshold=quarter", "loss=dice", "scheduler=step", "augment=exposure"]
    config = composed([*chosen, f"experiment={experiment}"])
    alone = composed(chosen)
    assert config.model.optimizer._target_ == alone.model.optimizer._target_
    assert config.threshold == alone.threshold
    assert config.model.loss._target_ == alone.model.loss._target_
    assert config.model.scheduler._target_ == alone.model.scheduler._target_
    assert config.augment == alone.augment


def test_overruled__says_where_the_experiment_changes_what_the_user_chose() -> None:
    assert overrides.overruled(["experiment=rsna_unet", "optimizer=sgd"], CONF) == [
        "experiment=rsna_unet sets model.optimizer.lr=0.0001, also for optimizer=sgd: give model.optimizer.lr=…"
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["optimizer=sgd"],
        ["experiment=rsna_unet"],
        ["experiment=rsna_unet", "optimizer=adam"],
        ["experiment=rsna_unet", "optimizer=sgd", "model.optimizer.lr=0.1"],
        ["experiment=rsna_unet", "scheduler=cosine"],
    ],
    ids=" ".join,
)
def test_overruled__is_silent_where_nothing_is_lost(arguments: list[str]) -> None:
    assert overrides.overruled(arguments, CONF) == []
