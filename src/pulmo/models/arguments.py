"""What a user can get wrong when asking for a network by name."""

from collections.abc import Iterable
from difflib import get_close_matches

from pulmo.errors import ConfigError


def check_arguments(channels: int, outputs: int, dropout: float | None) -> None:
    """Raise ConfigError unless a network of these sizes can be built; `dropout` is a probability."""
    if channels < 1:
        raise ConfigError(f"model.input.channels is {channels}; a network needs at least 1")
    if outputs < 1:
        raise ConfigError(f"the network was asked for {outputs} outputs; it needs at least 1")
    if dropout is not None and not 0.0 <= dropout < 1.0:
        raise ConfigError(f"dropout is {dropout}; give a probability in [0, 1), 0 for none")


def unknown_name(name: str, known: Iterable[str], library: str) -> ConfigError:
    """Return the error for a network that `library` doesn't have, with the names closest to it."""
    close = get_close_matches(name.lower(), list(known), n=4, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else "nothing there is called alike"
    return ConfigError(f"{library} has no classification network named {name!r}; {hint}")
