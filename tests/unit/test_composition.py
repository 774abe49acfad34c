import pytest

from pulmo.composition import composed
from pulmo.errors import ConfigError


def test_composed__has_the_choices_and_resolves_without_a_run() -> None:
    config = composed(["data=kermany", "model=vgg16", "model.input.size=64"])
    assert (config.choices.data, config.choices.model) == ("kermany", "vgg16")
    assert config.preprocess.size == 64
    assert config.data.cache_dir


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data=kermanny", "did you mean kermany"),
        ("data.rot=/x", "did you mean data.root"),
        ("data.root='/a b", "quote what has spaces"),
        ("--quik", "no option here"),
    ],
)
def test_composed__a_mistake_names_the_nearest(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        composed([override])


def test_composed__two_values_of_one_key_are_refused() -> None:
    with pytest.raises(ConfigError, match="contradict"):
        composed(["data.root=/a", "data.root=/b"])
