"""A checkpoint from elsewhere runs no code of its maker's, whatever command opens it."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from pulmo.cli import app
from pulmo.errors import PulmoError
from pulmo.finished import opened
from pulmo.tasks.base import Task


@pytest.fixture
def spoilt(classifier: Path, tmp_path: Path) -> Path:
    """A checkpoint whose network is the reading of a pickle that leaves a file behind."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "executed",)

    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil()))
    content = torch.load(classifier / "checkpoints" / "best.ckpt", weights_only=True)
    reads = {"_target_": "pandas.read_pickle", "filepath_or_buffer": str(tmp_path / "evil.pkl")}
    content["pulmo"]["origin"]["task"]["net"] = reads
    content["pulmo"]["origin"]["preprocess"] = reads
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    torch.save(content, tmp_path / "run" / "checkpoints" / "best.ckpt")
    return tmp_path / "run"


def test_checkpoint__runs_no_pickled_code_by_the_names_that_it_holds(spoilt: Path, phantoms: Path) -> None:
    run = opened(spoilt)
    for load in (lambda: Task.load_from_checkpoint(run.best), lambda: run.task, run.preprocess):
        with pytest.raises(PulmoError, match="no part of a network"):
            load()
    film = next((phantoms / "rsna" / "stage_2_train_images").glob("*.dcm"))
    for command in (
        ["predict", spoilt, film, "--out", spoilt / "x.csv"],
        ["explain", spoilt, film],
        ["evaluate", spoilt, "data=rsna", f"data.root={phantoms / 'rsna'}"],
    ):
        result = CliRunner().invoke(app, list(map(str, command)))
        assert result.exit_code == 1
        assert "names pandas.read_pickle" in result.output
    assert not (spoilt.parent / "executed").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"PK garbage", pickle.dumps({"state_dict": {}})],
    ids=["empty", "garbage", "pickle"],
)
def test_checkpoint__that_is_none_is_told_in_a_line(classifier: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.ckpt"
    path.write_bytes(content)
    for load in (lambda: Task.load_from_checkpoint(path), lambda: opened(path).origin, lambda: opened(path).task):
        with pytest.raises(PulmoError, match=r"broken.ckpt is no checkpoint of pulmo \("):
            load()
    whole = (classifier / "checkpoints" / "best.ckpt").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PulmoError, match="no checkpoint of pulmo"):
        _ = opened(path).origin
