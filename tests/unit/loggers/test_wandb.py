"""W&B offline: most needs the package, and nothing a server."""

import sys
from pathlib import Path

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
