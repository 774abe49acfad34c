"""Checkpoints on a disk that fills up."""

import errno
import io
from pathlib import Path
from typing import Any

import pytest
import torch

from pulmo.callbacks.checkpoint import AtomicCheckpoints


class Full(io.BytesIO):
    """Takes a little, then nothing more."""

    def write(self, data: Any) -> int:
        if self.tell() > 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_save__a_full_disk_is_told_and_the_old_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpoints().save_checkpoint({"epoch": 1}, path)
    monkeypatch.setattr(Path, "open", lambda *_, **__: Full())
    with pytest.raises(OSError, match="No space left on device") as raised:
        AtomicCheckpoints().save_checkpoint({"epoch": 2, "weights": torch.zeros(10_000)}, path)
    assert raised.value.errno == errno.ENOSPC
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
