"""What the cache says of files that cannot be read, and of disks that cannot be written."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pulmo.data import cache, preparing
from pulmo.data.cache import DONE, FAILED, Cache
from pulmo.data.grey import Reading
from pulmo.data.preparing import Recipe
from pulmo.errors import DataError, UnreadableImageError
from pulmo.transforms.preprocess import Preprocess

SIZE = 16  # of the prepared images

Write = Callable[[Path, Any], Path]
Reads = Callable[[], list[str]]


def damage(recipe: Recipe, row: int) -> Path:
    path = Path(recipe.table["path"].iat[row])
    path.write_bytes(path.read_bytes()[:50])
    return path


def test_cache__a_file_that_fails_is_kept_with_its_cause(recipe: Recipe, tmp_path: Path) -> None:
    damage(recipe, 3)
    for store in (cache.in_memory(recipe, 0), cache.on_disk(recipe, 0, tmp_path / "cache")):
        assert store.failures == {3: "cut short: the file ends after 50 bytes, inside the image"}
        assert [int(state) for state in store.state] == [DONE] * 3 + [FAILED] + [DONE] * 5


def test_cache__a_mask_that_fails_is_named_itself(recipe: Recipe) -> None:
    mask = Path(recipe.table["mask"].iat[3])
    mask.write_bytes(b"")
    assert cache.in_memory(recipe, 0).failures == {3: f"{mask}: the file is empty"}


def test_cache__an_empty_mask_fails_where_it_is_needed(recipe: Recipe, write_image: Write) -> None:
    write_image(Path(recipe.table["mask"].iat[3]), 0)
    assert cache.in_memory(recipe, 0).failures == {}
    crop = replace(recipe, preprocess=Preprocess(size=SIZE, use="crop"))
    assert cache.in_memory(crop, 0).failures == {3: "its lung mask is missing or empty"}


def test_cache__failures_come_back_from_workers(recipe: Recipe) -> None:
    damage(recipe, 3)
    twice = replace(recipe, table=pd.concat([recipe.table] * 2, ignore_index=True))
    assert list(cache.in_memory(twice, 2).failures) == [3, 12]


def test_cache__what_failed_is_tried_again(
    recipe: Recipe, tmp_path: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = preparing.read_grey

    def offline(path: str, side: int | None) -> Reading:
        if path.endswith("3.png"):
            raise UnreadableImageError(path, "Stale file handle")
        return recording(path, side)

    with monkeypatch.context() as patch:
        patch.setattr(preparing, "read_grey", offline)
        assert cache.on_disk(recipe, 0, tmp_path / "cache").failures == {3: "Stale file handle"}
    mended = cache.on_disk(recipe, 0, tmp_path / "cache")
    assert mended.failures == {}
    assert reads()[8:] == ["3.png"]
    np.testing.assert_array_equal(mended.images, cache.in_memory(recipe, 0).images)
    assert cache.on_disk(recipe, 0, tmp_path / "cache").failures == {}


def test_cache__a_mended_file_is_read(recipe: Recipe, tmp_path: Path, write_image: Write) -> None:
    path = damage(recipe, 3)
    assert list(cache.on_disk(recipe, 0, tmp_path / "cache").failures) == [3]
    write_image(path, 200)
    mended = cache.on_disk(recipe, 0, tmp_path / "cache")
    assert mended.failures == {}
    assert (mended.images[3] == 200).all()


def test_cache__a_line_of_notes_cut_by_a_crash_loses_no_other(recipe: Recipe, tmp_path: Path) -> None:
    damage(recipe, 3)
    damage(recipe, 5)
    cause = "cut short: the file ends after 50 bytes, inside the image"
    notes = cache.on_disk(recipe, 0, tmp_path / "cache")
    assert notes.failures == {3: cause, 5: cause}
    file = tmp_path / "cache" / cache.key(recipe) / "notes.jsonl"
    for cut in (20, 30):  # the note of row 5 first, then whatever the next opening wrote last
        file.write_text(file.read_text()[:-cut])
        again = cache.on_disk(recipe, 0, tmp_path / "cache")
        assert again.failures == {3: cause, 5: cause}
    again.mark({7: {"sex": "M"}})
    reopened = Cache(9, SIZE, True, file.parent)
    assert reopened.notes == {3: {"error": cause}, 5: {"error": cause}, 7: {"sex": "M"}}
    assert json.loads(file.read_text().splitlines()[-1]) == {"row": 7, "sex": "M"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_cache__a_full_disk_is_told_with_its_remedy_and_given_back(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", full)
    big = replace(recipe, preprocess=Preprocess(size=4000))  # 9 × 16 MB, and as much for the masks
    with pytest.raises(DataError, match=r"cache of 288 MB to .*; give another data\.cache_dir, or data\.cache=ram"):
        cache.on_disk(big, 0, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.part"))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_cache__a_folder_that_cannot_be_written_is_told_with_its_remedy(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DataError, match=f"{os.strerror(number)}; give another data.cache_dir, or data.cache=ram"):
        cache.on_disk(recipe, 0, tmp_path / "cache")


def test_cache__a_file_in_the_place_of_its_folder_is_told(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(DataError, match=r"cannot write the cache .*give another data\.cache_dir"):
        cache.on_disk(recipe, 0, tmp_path / "cache")


def test_cache__builds_where_blocks_cannot_be_taken_beforehand(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")  # as on macOS
    built = cache.on_disk(recipe, 0, tmp_path / "cache")
    np.testing.assert_array_equal(built.images, cache.in_memory(recipe, 0).images)
