"""The search space, from overrides as Hydra writes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from pulmo.errors import ConfigError


@dataclass(frozen=True)
class Space:
    """What all trials share, and what differs."""

    fixed: list[str]
    """Overrides of all trials."""
    searched: dict[str, BaseDistribution]
    """Key of the override → what it is drawn from."""

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """The overrides of one trial."""
        return [*self.fixed, *(f"{key}={_text(value)}" for key, value in params.items())]

    def example(self) -> dict[str, Any]:
        """Values that a trial could have: the first of each choice, the lowest of each interval."""
        lowest = {
            key: drawn.low
            for key, drawn in self.searched.items()
            if isinstance(drawn, FloatDistribution | IntDistribution)
        }
        return lowest | {
            key: drawn.choices[0] for key, drawn in self.searched.items() if isinstance(drawn, CategoricalDistribution)
        }


def parse_space(overrides: Sequence[str], parser: OverridesParser) -> Space:
    """Sort overrides into fixed ones and searched ones; of several for one key, the last holds.

    Choices and ranges are drawn from as they stand (a range without its end, as in Python), an interval is continuous,
    or of whole numbers as `int(interval(1, 9))`; `tag(log, …)` draws on a logarithmic scale. Raises `ConfigError`
    for what cannot be drawn from, and where nothing is searched.
    """
    last: dict[str, Override] = {}
    for override in parser.parse_overrides(list(overrides)):
        last[override.key_or_group] = override
    fixed = [str(override.input_line) for override in last.values() if not override.is_sweep_override()]
    searched = {
        override.get_key_element(): _distribution(override)
        for override in last.values()
        if override.is_sweep_override()
    }
    if not searched:
        raise ConfigError(
            "there is nothing to search: give a space, such as model.optimizer.lr=tag(log,interval(1e-5,1e-2))"
        )
    return Space(fixed, searched)


def _distribution(override: Override) -> BaseDistribution:
    value: Any = override.value()
    tags: set[str] = getattr(value, "tags", set())
    if tags - {"log"}:
        raise ConfigError(f"{override.input_line}: no tag {', '.join(sorted(tags - {'log'}))}; there is log")
    try:
        if isinstance(value, IntervalSweep):
            return _interval(value)
        if isinstance(value, RangeSweep) and not value.shuffle:
            return _range(value)
        if tags:
            raise ValueError("tag(log, …) is of intervals and ranges")
        return CategoricalDistribution([_choice(element) for element in override.sweep_iterator()])
    except ValueError as error:
        raise ConfigError(f"{override.input_line}: {error}") from error


def _interval(sweep: IntervalSweep) -> BaseDistribution:
    low, high = sweep.start, sweep.end
    if low is None or high is None:
        raise ValueError("an interval has two ends")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log="log" in sweep.tags)
    return FloatDistribution(low, high, log="log" in sweep.tags)


def _range(sweep: RangeSweep) -> BaseDistribution:
    values = sorted(sweep.range())
    if not values:
        raise ValueError("the range is empty")
    low, high, log = values[0], values[-1], "log" in sweep.tags
    if log and sweep.step != 1:
        raise ValueError("a range on a logarithmic scale has no step")
    if isinstance(low, int):
        return IntDistribution(low, high, step=abs(int(sweep.step)), log=log)
    return FloatDistribution(low, high, log=log, step=None if log else abs(float(sweep.step)))


def _choice(element: Any) -> Any:
    """Numbers and truth values as they are; all else as the text that Hydra reads back."""
    return element if isinstance(element, bool | int | float) else Transformer.str(element)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
