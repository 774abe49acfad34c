"""W&B offline: most needs the package, and nothing a server."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pulmo.errors import ConfigError, MissingExtraError
from pulmo.loggers.logged import add_picture, close, conclude
from pulmo.loggers.wandb import Wandb


@pytest.fixture
def package() -> None:
    pytest.importorskip("wandb", reason="needs pulmo[wandb]")


def test_missing_package__is_told_with_its_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"^logger=wandb needs a package: pip install 'pulmo\[wandb\]'$"):
        Wandb(folder=str(tmp_path), project="rsna_unet")


@pytest.mark.parametrize(
    ("name", "message", "remedy"),
    [
        ("AuthenticationError", "permission denied", "wandb login"),
        ("UsageError", "No API key configured.", "wandb login"),
        ("CommError", "Run initialization has timed out after 20.0 sec.", "See to the connection"),
    ],
)
def test_refusal__names_a_login_only_where_that_is_lacking(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, message: str, remedy: str
) -> None:
    package, errors = ModuleType("wandb"), ModuleType("wandb.errors")
    base = type("Error", (Exception,), {})
    kinds = {kind: type(kind, (base,), {}) for kind in ("AuthenticationError", "UsageError", "CommError")}
    vars(errors).update({"Error": base} | kinds)
    monkeypatch.setitem(sys.modules, "wandb", package)
    monkeypatch.setitem(sys.modules, "wandb.errors", errors)

    def begin(self: Wandb) -> None:
        raise kinds[name](message)

    monkeypatch.setattr(Wandb, "experiment", property(begin))
    logger = Wandb.__new__(Wandb)
    logger._folder = tmp_path
    with pytest.raises(ConfigError, match=f"{remedy}.*, or give logger.wandb.offline=true") as raised:
        logger.log_hyperparams({})
    assert ("wandb login" in str(raised.value)) is (remedy == "wandb login")


@pytest.mark.slow
@pytest.mark.usefixtures("package")
def test_offline__goes_on_under_the_same_id_and_ends_with_the_run(tmp_path: Path) -> None:
    for _ in range(2):
        logger = Wandb(folder=str(tmp_path), project="rsna_unet", offline=True)
        logger.log_hyperparams({"lr": 0.1})
        logger.log_metrics({"val/auroc": 0.5}, 30)
        add_picture(logger, "figures/roc", np.zeros((2, 2, 3), np.uint8))
        conclude(logger, {}, {"final/test/auroc": 0.75}, 60)
        assert logger.experiment.summary["final/test/auroc"] == 0.75
        assert logger.experiment.config["lr"] == 0.1
        close(logger, "finished")
    runs = [path.name for path in (tmp_path / "wandb").glob("offline-run-*")]
    assert len({name.rpartition("-")[2] for name in runs}) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("package")
def test_online__without_a_login_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"wandb login.*logger.wandb.offline=true"):
        Wandb(folder=str(tmp_path), project="rsna_unet").log_hyperparams({})
