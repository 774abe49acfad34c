"""The configuration of `conf/`, composed outside of a run, for commands that take a run's overrides."""

from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pulmo import overrides
from pulmo.config import explain
from pulmo.errors import ConfigError

PACKAGED = Path(__file__).parent / "conf"
CONF = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[2] / "conf"  # installed, or a checkout


def composed(arguments: Sequence[str]) -> DictConfig:
    """The configuration of a run with these overrides; nothing is built, and there is no run folder.

    Raises `ConfigError` with the nearest name where an override names no group, option or key.
    """
    given = list(arguments)
    for argument in given:
        if argument.startswith("-"):
            raise ConfigError(f"{argument} is no option here; --help lists them, and a value is key=value")
    overrides.check(given)
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose("train", overrides.parents_first(given, CONF), return_hydra_config=True)
            choices = OmegaConf.to_container(config.hydra.runtime.choices)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, *known(given))) from error
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    config.choices, config.run_dir, config.trainer.default_root_dir = choices, ".", "."
    return DictConfig(config)


def known(arguments: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Dotted keys and groups of the configuration, as far as its group choices compose."""
    groups = {
        folder.name: sorted(file.stem for file in folder.glob("*.yaml") if not file.stem.startswith("_"))
        for folder in CONF.iterdir()
        if folder.is_dir()
    }
    choices = [  # of several options, as a sweep has them, the first: one is composed
        argument if value.startswith("[") else f"{group}={value.partition(',')[0]}"
        for argument in arguments
        for group, _, value in [argument.partition("=")]
        if group in groups.keys() - {"launcher"} and set(value.strip("[]").split(",")) <= {*groups[group]}
    ]
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", choices)
    return list(_dotted(config, "")), groups


def _dotted(node: DictConfig, path: str) -> list[str]:
    keys = []
    for key in map(str, node):
        dotted = f"{path}.{key}" if path else key
        keys.append(dotted)
        raw = node._get_node(key)
        if isinstance(raw, DictConfig) and not raw._is_interpolation() and not raw._is_none():
            keys += _dotted(raw, dotted)
    return keys
