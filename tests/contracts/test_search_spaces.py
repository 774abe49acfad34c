"""Every choice and both ends of every interval in conf/sweep/ compose with the models that the space is for."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pulmo import config as configuration
from pulmo import execution
from pulmo.composition import CONF
from pulmo.search.space import parse_space

MODELS = {
    "optuna_classification": ["resnet18", "custom_cnn", "timm"],
    "optuna_segmentation": ["unext", "unet_resnet50"],
    "optuna_detection": ["faster_rcnn"],
}


def test_spaces__all_have_a_contract_here() -> None:
    assert sorted(MODELS) == sorted(file.stem for file in (CONF / "sweep").glob("optuna_*.yaml"))


@pytest.mark.parametrize("sweep", MODELS)
def test_space__composes_with_its_models(composed: Callable[..., DictConfig], sweep: str) -> None:
    content = yaml.safe_load((CONF / "sweep" / f"{sweep}.yaml").read_text())
    params = [f"{key}={value}" for key, value in content["hydra"]["sweeper"]["params"].items()]
    # A run made again from overrides.yaml has no sweep=, so it may hold nothing else.
    assert (content.keys(), content["hydra"].keys()) == ({"defaults", "hydra"}, {"sweeper"})
    space = parse_space(params, OverridesParser.create())
    drawn = {key: values(distribution) for key, distribution in space.searched.items()}
    for model in MODELS[sweep]:
        for number in range(max(map(len, drawn.values()))):
            choice = {key: options[number % len(options)] for key, options in drawn.items()}
            config = composed(f"sweep={sweep}", f"model={model}", *space.overrides(choice))
            execution.settle(config.trainer)
            configuration.check(config)


@pytest.mark.parametrize(
    ("launcher", "at_once"), [("basic", 1), ("joblib", 2), ("submitit_local", 1), ("submitit_slurm", 1)]
)
def test_trials_at_once__are_as_many_as_the_launcher_trains(launcher: str, at_once: int) -> None:
    if launcher != "basic":
        pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher", reason="needs the launcher")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", ["sweep=optuna_classification", f"launcher={launcher}"], return_hydra_config=True)
    assert config.hydra.sweeper.n_jobs == at_once


def values(distribution: Any) -> list[Any]:
    """All choices, or the two ends."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return [distribution.low, distribution.high]
