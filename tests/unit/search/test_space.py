"""Overrides, as Hydra writes them, become a search space and overrides again."""

from typing import cast

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from pulmo.errors import ConfigError
from pulmo.search.space import Space, parse_space


def parsed(*overrides: str) -> Space:
    return parse_space(overrides, OverridesParser.create())


@pytest.mark.parametrize(
    ("written", "drawn_from"),
    [
        ("a=interval(0.1,0.5)", FloatDistribution(0.1, 0.5)),
        ("a=interval(1,5)", FloatDistribution(1, 5)),
        ("a=tag(log,interval(1e-5,1e-2))", FloatDistribution(1e-5, 1e-2, log=True)),
        ("a=int(interval(1,64))", IntDistribution(1, 64)),
        ("a=int(tag(log,interval(1,64)))", IntDistribution(1, 64, log=True)),
        ("a=range(1,4)", IntDistribution(1, 3)),
        ("a=range(8,65,8)", IntDistribution(8, 64, step=8)),
        ("a=range(5,0,-2)", IntDistribution(1, 5, step=2)),
        ("a=range(0.0,0.5,0.1)", FloatDistribution(0.0, 0.4, step=0.1)),
        ("a=tag(log,range(1,9))", IntDistribution(1, 8, log=True)),
        ("a=choice(16,32)", CategoricalDistribution([16, 32])),
        ("a=none,light", CategoricalDistribution(["none", "light"])),
        ("a=choice(true,none,[1,2])", CategoricalDistribution([True, "none", "[1,2]"])),
        ("+a=interval(0,1)", FloatDistribution(0, 1)),
    ],
)
def test_space__is_drawn_from_what_hydras_grammar_says(written: str, drawn_from: BaseDistribution) -> None:
    (found,) = parsed(written).searched.values()
    assert found == drawn_from


def test_space__the_command_line_replaces_and_adds_to_the_file() -> None:
    file = ["lr=tag(log,interval(1e-5,1e-2))", "model=choice(unet,unext)", "trainer.max_epochs=8"]
    space = parsed(*file, "lr=1e-3", "data=kermany", "+model.net.dropout=interval(0,0.5)", "model=resnet18,vgg16")
    assert space.fixed == ["lr=1e-3", "trainer.max_epochs=8", "data=kermany"]
    assert space.searched == {
        "model": CategoricalDistribution(["resnet18", "vgg16"]),
        "+model.net.dropout": FloatDistribution(0, 0.5),
    }


def test_overrides__are_read_back_as_the_values_that_were_drawn() -> None:
    space = parsed("fixed=1", "a=choice(true,'a b',[1,2])", "lr=tag(log,interval(1e-9,1))", "n=range(3)")
    choices = cast(CategoricalDistribution, space.searched["a"]).choices
    params = {"a": choices[1], "lr": 1.2345678901234567e-07, "n": 2}
    read = {
        item.key_or_group: item.value() for item in OverridesParser.create().parse_overrides(space.overrides(params))
    }
    assert read == {"fixed": 1, "a": "a b", "lr": 1.2345678901234567e-07, "n": 2}
    assert space.overrides({"a": True}) == ["fixed=1", "a=true"]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("a=1", "nothing to search"),
        ("a=tag(log,interval(0,1))", "a=tag"),
        ("a=interval(1,0)", "a=interval"),
        ("a=tag(ln,interval(1,2))", "no tag ln; there is log"),
        ("a=tag(log,choice(1,2))", "of intervals and ranges"),
        ("a=range(3,3)", "the range is empty"),
        ("a=tag(log,range(1,9,2))", "has no step"),
    ],
)
def test_mistake__names_the_override(written: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parsed(written)
    assert said in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
