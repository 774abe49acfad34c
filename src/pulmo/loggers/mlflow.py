"""MLflow: a store in a file or a server."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pytorch_lightning.loggers import MLFlowLogger
from pytorch_lightning.utilities import rank_zero_only

from pulmo.errors import ConfigError, MissingExtraError
from pulmo.loggers.continued import known_id, named, remember
from pulmo.loggers.outbox import Outbox

log = logging.getLogger(__name__)

# By default MLflow tries for minutes whether a server is there.
HTTP = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"}
STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


class MLFlow(MLFlowLogger):
    """Lightning's, that refuses a server which is away before the training, and outlasts one that goes away in it.

    Entries are sent by a thread, so that no training step waits for the server. A run that is resumed goes on in the
    run that its `folder` remembers.

    tracking_uri       http://…, sqlite:///FILE or file:FOLDER; a file's folder is made
    artifact_location  where pictures go; None: a server's own choice, else a folder beside the file
    run_name           None: by the run folder
    """

    def __init__(
        self,
        folder: str,
        experiment_name: str,
        tracking_uri: str,
        artifact_location: str | None = None,
        run_name: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        self._folder, self._server = Path(folder), tracking_uri
        for name, value in {**HTTP, **QUIET}.items():
            os.environ.setdefault(name, value)
        if "://" not in tracking_uri:  # MLflow 3 wants to be told that its plain files are meant
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        try:
            from mlflow.exceptions import MlflowException
        except ImportError:
            raise MissingExtraError("logger=mlflow needs a package: pip install 'pulmo[mlflow]'") from None
        self._failure: type[Exception] = MlflowException
        database = tracking_uri.removeprefix("sqlite:///")
        if database != tracking_uri:
            Path(database).parent.mkdir(parents=True, exist_ok=True)
            artifact_location = artifact_location or str(Path(database).with_suffix("").absolute()) + "_artifacts"
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # the outbox says it once
        with self._told():
            super().__init__(
                experiment_name=experiment_name,
                run_name=run_name or named(self._folder),
                tracking_uri=tracking_uri,
                tags=tags,
                artifact_location=artifact_location,
            )
            self._mlflow_client.search_experiments(max_results=1)
        self._outbox = Outbox(f"mlflow ({tracking_uri})", (MlflowException, OSError), _is_refusal, _reason)

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any]) -> None:  # type: ignore[override]
        """Begin the run, or go on with it; of settings that it has already, those that differ become tags."""
        with self._told():
            self._run_id = self._run_to_continue()
            if self._run_id is None:
                with suppress(self._failure):  # there already; or Lightning says below why it cannot be
                    self._mlflow_client.create_experiment(self._experiment_name, self._artifact_location)
            else:
                self._mlflow_client.update_run(self._run_id, status="RUNNING")
            run_id = str(self.run_id)
        remember(self._folder, self._server, run_id)
        with self._told():
            had = self._mlflow_client.get_run(run_id).data.params
            for name, value in params.items():
                if name in had and had[name] != str(value)[:250]:
                    self._mlflow_client.set_tag(run_id, f"resumed_with.{name}", str(value))
            super().log_hyperparams({name: value for name, value in params.items() if name not in had})
        log.info("mlflow: run %s of experiment %s, %s", named(self._folder), self._experiment_name, self._server)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send the figures when those before them are sent."""
        self._outbox.put(partial(super().log_metrics, dict(metrics), step))

    def add_picture(self, name: str, picture: npt.NDArray[np.uint8], caption: str = "") -> None:
        """Keep (H, W, 3) as the run's artifact `name`.png, and a caption beside it."""
        client, run_id = self.experiment, str(self.run_id)
        self._outbox.put(partial(client.log_image, run_id, picture, artifact_file=f"{name}.png"))
        if caption:
            self._outbox.put(partial(client.log_text, run_id, caption, f"{name}_labels.txt"))

    def finalize(self, status: str = "success") -> None:
        """Nothing yet: Lightning says this after the fit and after each measurement; see `close`."""

    def close(self, ending: str) -> None:
        """Say on the server how the run ended, after all that it logged."""
        if self._initialized:
            self._outbox.put(partial(self._mlflow_client.set_terminated, str(self._run_id), STATUS[ending]))
        self._outbox.close()

    def _run_to_continue(self) -> str | None:
        run_id = known_id(self._folder, self._server)
        if run_id is None:
            return None
        try:
            run = self._mlflow_client.get_run(run_id)
        except self._failure:  # deleted for good
            return None
        return run_id if run.info.lifecycle_stage == "active" else None

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (self._failure, OSError) as error:
            raise ConfigError(
                f"logger.mlflow.tracking_uri={self._server}: {_reason(error)}; start the server, or give "
                "sqlite:///outputs/mlflow.db"
            ) from error


def _reason(error: Exception) -> str:
    """What was said, of a connection that failed only the end: all else is how often it was tried, and by what."""
    first = str(error).splitlines()[0]
    return first.rpartition(": ")[2].strip("\"')") if "Max retries exceeded" in first else first[:300]


def _is_refusal(error: Exception) -> bool:
    """Whether the server answered that the entry is wrong: it would say so again."""
    code = getattr(error, "get_http_status_code", lambda: 500)()
    return 400 <= code < 500 and code not in (408, 429)  # it took too long, or there were too many
