"""Weights & Biases, online or offline."""

import logging
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from pulmo.errors import ConfigError, MissingExtraError
from pulmo.loggers.continued import known_id, named, remember

log = logging.getLogger(__name__)

SERVER = "wandb"  # its address is W&B's own affair


class Wandb(WandbLogger):
    """Lightning's, that says before the training where nobody is logged in, and ends its run with ours.

    W&B sends from a process of its own, which tries again by itself where the server goes away. A run that is resumed
    goes on under the id that its `folder` remembers.

    offline       write to the run folder alone, for `wandb sync` later
    name          None: by the run folder
    init_timeout  seconds that the server may take at the start
    """

    def __init__(
        self,
        folder: str,
        project: str,
        offline: bool = False,
        name: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        init_timeout: float = 20.0,
    ) -> None:
        try:
            from wandb import Settings
        except ImportError:
            raise MissingExtraError("logger=wandb needs a package: pip install 'pulmo[wandb]'") from None
        self._folder, self._run_id = Path(folder), known_id(Path(folder), SERVER) or uuid.uuid4().hex[:8]
        # Lightning's own `offline` would put it into the environment, for the runs that follow as well.
        mode = {"mode": "offline"} if offline else {}
        super().__init__(
            name=name or named(self._folder),
            save_dir=folder,
            id=self._run_id,
            project=project,
            entity=entity,
            group=group,
            tags=tags,
            settings=Settings(init_timeout=init_timeout, console="off", silent=True, **mode),
        )
        self._wandb_init.pop("anonymous", None)  # Lightning's; W&B warns of it at every run

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any]) -> None:  # type: ignore[override]
        """Begin the run, or go on with it."""
        from wandb.errors import AuthenticationError, Error

        self._folder.mkdir(parents=True, exist_ok=True)  # else W&B writes to the system's temporary folder
        try:
            run = self.experiment
        except Error as error:
            said = str(error).splitlines()[0].rstrip(".")
            lacks_login = isinstance(error, AuthenticationError) or "api key" in said.lower()
            remedy = "Log in by `wandb login`" if lacks_login else "See to the connection and the project"
            raise ConfigError(f"logger=wandb: {said}. {remedy}, or give logger.wandb.offline=true") from error
        remember(self._folder, SERVER, self._run_id)
        super().log_hyperparams(dict(params))
        log.info("wandb: %s", f"offline; `wandb sync {Path(run.dir).parent}` sends it" if run.offline else run.url)

    def close(self, ending: str) -> None:
        """End the run; another one of this process begins its own."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if ending == "finished" else 1)
            self._experiment = None
