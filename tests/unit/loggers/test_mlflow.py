"""MLflow, without the package: a server in memory that may be away."""

import errno
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pytorch_lightning.loggers import mlflow as lightnings

from pulmo.errors import ConfigError, MissingExtraError
from pulmo.loggers import mlflow as module
from pulmo.loggers.logged import add_picture, close, conclude
from pulmo.loggers.mlflow import MLFlow

URI = "http://server"
Make = Callable[..., MLFlow]


class MlflowException(Exception):  # noqa: N818 (its own name)
    pass


class Server:
    """What the client's methods do, kept in dictionaries."""

    def __init__(self) -> None:
        self.away = False
        self.runs: dict[str, dict[str, Any]] = {}

    def __call__(self, uri: str) -> "Server":
        return self

    def __getattribute__(self, name: str) -> Any:
        if name not in ("away", "runs") and not name.startswith("_") and self.away:
            return self._no_answer
        return super().__getattribute__(name)

    def _no_answer(self, *args: Any, **kwargs: Any) -> None:
        raise MlflowException("API request failed: Max retries exceeded (Caused by: Connection refused)")

    def search_experiments(self, max_results: int) -> list[object]:
        return []

    def create_experiment(self, name: str, artifact_location: str | None) -> str:
        return "1"

    def get_experiment_by_name(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(experiment_id="1", lifecycle_stage="active")

    def create_run(self, experiment_id: str, tags: dict[str, str]) -> SimpleNamespace:
        run_id = str(len(self.runs))
        self.runs[run_id] = {"params": {}, "metrics": [], "tags": tags, "files": [], "status": "RUNNING"}
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def get_run(self, run_id: str) -> SimpleNamespace:
        info = SimpleNamespace(lifecycle_stage="active", experiment_id="1")
        return SimpleNamespace(info=info, data=SimpleNamespace(params=dict(self.runs[run_id]["params"])))

    def update_run(self, run_id: str, status: str) -> None:
        self.runs[run_id]["status"] = status

    set_terminated = update_run

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        self.runs[run_id]["tags"][key] = value

    def log_batch(self, run_id: str, params: Any = (), metrics: Any = ()) -> None:
        for param in params:
            assert param.key not in self.runs[run_id]["params"], "MLflow refuses to change one"
            self.runs[run_id]["params"][param.key] = param.value
        self.runs[run_id]["metrics"] += [(metric.key, metric.value, metric.step) for metric in metrics]

    def log_image(self, run_id: str, image: Any, artifact_file: str) -> None:
        self.runs[run_id]["files"].append(artifact_file)

    def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
        self.runs[run_id]["files"].append(artifact_file)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    parts: dict[str, dict[str, Any]] = {
        "mlflow": {"set_tracking_uri": lambda uri: None},
        "mlflow.exceptions": {"MlflowException": MlflowException},
        "mlflow.entities": {"Param": SimpleNamespace, "Metric": SimpleNamespace},
        "mlflow.tracking": {"MlflowClient": server},
        "mlflow.tracking.context": {"resolve_tags": lambda tags: tags},
        "mlflow.utils": {},
        "mlflow.utils.mlflow_tags": {"MLFLOW_RUN_NAME": "mlflow.runName"},
    }
    for name, content in parts.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(
        sys.modules["mlflow.tracking"], "context", sys.modules["mlflow.tracking.context"], raising=False
    )
    monkeypatch.setattr(lightnings, "_MLFLOW_AVAILABLE", True)
    return server


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda name="run": MLFlow(folder=str(tmp_path / name), experiment_name="rsna_unet", tracking_uri=URI)


def test_run__has_settings_curve_picture_results_and_its_end(server: Server, make: Make) -> None:
    logger = make("evening")
    logger.log_hyperparams({"lr": 0.1})
    logger.log_metrics({"val/auroc": 0.5}, 30)
    add_picture(logger, "input/train_batch", np.zeros((2, 2, 3), np.uint8), "0, 1")
    conclude(logger, {}, {"final/test/auroc": 0.75}, 60)
    logger.finalize("success")  # Lightning's, behind the fit: not the end of ours
    close(logger, "finished")
    assert server.runs == {
        "0": {
            "params": {"lr": "0.1"},
            "metrics": [("val/auroc", 0.5, 30), ("final/test/auroc", 0.75, 60)],
            "tags": {"mlflow.runName": "evening"},
            "files": ["input/train_batch.png", "input/train_batch_labels.txt"],
            "status": "FINISHED",
        }
    }


def test_resumed_run__goes_on_in_the_same_one_and_tags_what_changed(server: Server, make: Make) -> None:
    for epochs in (2, 4):
        logger = make()
        logger.log_hyperparams({"lr": 0.1, "max_epochs": epochs})
        assert server.runs["0"]["status"] == "RUNNING"
        logger.log_metrics({"val/auroc": 0.5}, epochs)
        close(logger, "killed" if epochs == 2 else "finished")
    (run,) = server.runs.values()
    assert run["params"] == {"lr": "0.1", "max_epochs": "2"}
    assert run["tags"]["resumed_with.max_epochs"] == "4"
    assert [step for _, _, step in run["metrics"]] == [2, 4]
    assert run["status"] == "FINISHED"
    make("another").log_hyperparams({})
    assert len(server.runs) == 2


def test_server__away_is_told_before_the_training(server: Server, make: Make) -> None:
    server.away = True
    with pytest.raises(ConfigError, match=r"tracking_uri=http://server: Connection refused; start the server"):
        make()


def test_server__that_goes_away_in_training_ends_nothing(
    server: Server, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    logger = make()
    logger.log_hyperparams({})
    server.away = True
    logger.log_metrics({"val/auroc": 0.5}, 1)
    close(logger, "finished")
    assert "2 entries are lost to it" in caplog.text
    assert server.runs["0"]["metrics"] == []


@pytest.mark.parametrize(("code", "refused"), [(400, True), (404, True), (408, False), (429, False), (503, False)])
def test_entry__that_the_server_would_refuse_again_is_told_by_its_status(code: int, refused: bool) -> None:
    error = MlflowException("no")
    error.get_http_status_code = lambda: code  # type: ignore[attr-defined]
    assert module._is_refusal(error) is refused
    assert not module._is_refusal(ConnectionError())


def test_full_disk__is_not_the_servers(server: Server, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def remember(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "remember", remember)
    with pytest.raises(OSError, match="No space left"):
        make().log_hyperparams({})


def test_missing_package__is_told_with_its_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Make) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.exceptions", None)
    with pytest.raises(MissingExtraError, match=r"^logger=mlflow needs a package: pip install 'pulmo\[mlflow\]'$"):
        make()


@pytest.mark.slow
def test_store__in_a_file_keeps_a_whole_run(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow.tracking", reason="needs pulmo[mlflow]")
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    logger = MLFlow(folder=str(tmp_path / "run"), experiment_name="rsna_unet", tracking_uri=uri)
    logger.log_hyperparams({"lr": 0.1})
    logger.log_metrics({"val/auroc": 0.5}, 30)
    add_picture(logger, "figures/roc", np.zeros((2, 2, 3), np.uint8))
    close(logger, "finished")
    client = mlflow.MlflowClient(uri)
    run = client.get_run(logger.run_id)
    assert (run.data.params, run.data.metrics, run.info.status) == ({"lr": "0.1"}, {"val/auroc": 0.5}, "FINISHED")
    assert (tmp_path / "new" / "mlflow_artifacts" / logger.run_id / "artifacts" / "figures" / "roc.png").is_file()
