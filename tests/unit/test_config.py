from typing import Literal

import pytest
from omegaconf import DictConfig, OmegaConf

from pulmo import config as configuration
from pulmo.errors import ConfigError


class Part:
    def __init__(
        self,
        count: int,
        share: float = 0.5,
        kind: Literal["a", "b"] = "a",
        names: list[str] | None = None,
        size: tuple[int, int] = (1, 1),
    ) -> None: ...


def _config(**values: object) -> DictConfig:
    part = {"_target_": f"{__name__}.Part", "count": 1, **values}
    return OmegaConf.create({"part": part, "trainer": {"accelerator": "cpu", "devices": 1}})


@pytest.mark.parametrize(
    "values", [{}, {"share": 1}, {"kind": "b"}, {"names": ["x"]}, {"names": None}, {"size": [2, 3]}]
)
def test_check__takes_what_the_signature_takes(values: dict[str, object]) -> None:
    configuration.check(_config(**values))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"count": "x"}, "part.count=x: a whole number expected"),
        ({"count": 1.5}, "part.count=1.5: a whole number expected"),
        ({"count": True}, "part.count=True: a whole number expected"),
        ({"share": "half"}, "part.share=half: a number expected"),
        ({"kind": "c"}, "part.kind=c: a or b expected"),
        ({"names": "x"}, "part.names=x"),
        ({"size": [1]}, "part.size"),
        ({"counts": 1}, "part.counts: .* did you mean part.count?"),
        ({"count": "???"}, "part.count has no value"),
    ],
    ids=str,
)
def test_check__refuses_other_keys_and_types(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        configuration.check(_config(**values))


def test_check__finds_mistakes_inside_lists_and_nested_parts() -> None:
    config = OmegaConf.create({"parts": [_config().part, _config(count="x").part], "trainer": {"accelerator": "cpu"}})
    with pytest.raises(ConfigError, match=r"parts\.1\.count=x"):
        configuration.check(config)


def test_check__more_gpus_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    config = OmegaConf.create({"trainer": {"accelerator": "gpu", "devices": 4}})
    with pytest.raises(ConfigError, match=r"trainer\.devices=4: this machine has 2 GPU"):
        configuration.check(config)


@pytest.mark.parametrize(
    ("precision", "clip", "fused", "refused"),
    [
        ("16-mixed", 1.0, True, True),
        ("bf16-mixed", 1.0, True, True),
        ("32-true", 1.0, True, False),
        ("bf16-mixed", None, True, False),
        ("bf16-mixed", 1.0, None, False),
    ],
)
def test_check__refuses_clipping_where_the_optimizer_unscales_by_itself(
    precision: str, clip: float | None, fused: bool | None, refused: bool
) -> None:
    config = _config()
    config.trainer.update({"precision": precision, "gradient_clip_val": clip})
    config.model = {"optimizer": {"fused": fused}}
    if refused:
        with pytest.raises(ConfigError, match=r"needs model\.optimizer\.fused=null"):
            configuration.check(config)
    else:
        configuration.check(config)
