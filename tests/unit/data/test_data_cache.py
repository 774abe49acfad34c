"""The cache: what it holds, when it is built anew, and what it survives."""

import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pulmo.data import cache, preparing
from pulmo.data.cache import DONE, TODO
from pulmo.data.grey import Reading
from pulmo.data.preparing import OnTheFly, Recipe
from pulmo.transforms.preprocess import Preprocess

SIZE = 16
FORK = multiprocessing.get_context("fork")

Write = Callable[[Path, Any], Path]
Reads = Callable[[], list[str]]


def folders(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(size=SIZE),
        Preprocess(size=SIZE, use="lungs", keep_aspect=True),
        Preprocess(size=SIZE, clahe=2.0, use="crop"),
    ],
)
def test_cache__disk_and_ram_and_off_agree_to_the_pixel(recipe: Recipe, tmp_path: Path, preprocess: Preprocess) -> None:
    recipe = replace(recipe, preprocess=preprocess)
    off, ram, disk = OnTheFly(recipe), cache.in_memory(recipe, 0), cache.on_disk(recipe, 0, tmp_path / "cache")
    for row in range(len(recipe)):
        for store in (ram, disk):
            np.testing.assert_array_equal(store[row].image, off[row].image)
            np.testing.assert_array_equal(store[row].lung_mask, off[row].lung_mask)
            assert store[row].geometry == off[row].geometry
            assert store[row].header == off[row].header


def test_cache__any_number_of_workers_builds_the_same(recipe: Recipe, tmp_path: Path) -> None:
    twice = replace(recipe, table=pd.concat([recipe.table] * 2, ignore_index=True))
    built = cache.on_disk(twice, 2, tmp_path / "cache")
    np.testing.assert_array_equal(built.images, cache.in_memory(twice, 0).images)
    assert (built.state == DONE).all()


def test_cache__is_built_once(recipe: Recipe, tmp_path: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    built = cache.on_disk(recipe, 0, tmp_path / "cache")
    assert reads() == [f"{number}.png" for number in range(9)]
    monkeypatch.setattr(Recipe, "prepare", lambda *_: pytest.fail("an image was read again"))
    np.testing.assert_array_equal(cache.on_disk(recipe, 0, tmp_path / "cache").images, built.images)


def test_cache__a_moved_data_set_keeps_its_cache(recipe: Recipe, tmp_path: Path) -> None:
    key = cache.key(recipe)
    (tmp_path / "images").rename(tmp_path / "moved")
    moved = recipe.table.assign(path=recipe.table["path"].str.replace("/images/", "/moved/"))
    assert cache.key(replace(recipe, table=moved)) == key


@pytest.mark.parametrize("column", ["path", "mask"])
def test_cache__a_changed_file_is_read_anew(recipe: Recipe, tmp_path: Path, write_image: Write, column: str) -> None:
    before = cache.on_disk(recipe, 0, tmp_path / "cache")
    changed = Path(recipe.table[column].iat[4])
    size, changed_at = changed.stat().st_size, changed.stat().st_mtime_ns
    write_image(changed, 255)
    changed.write_bytes(changed.read_bytes().ljust(size, b"\0"))  # by its size alone nobody could tell
    os.utime(changed, ns=(changed_at + 1, changed_at + 1))
    after = cache.on_disk(recipe, 0, tmp_path / "cache")
    kind = "images" if column == "path" else "masks"
    assert getattr(after, kind)[4].min() == (255 if column == "path" else 1)
    np.testing.assert_array_equal(getattr(after, kind)[:4], getattr(before, kind)[:4])


def test_cache__a_file_of_another_size_is_read_anew_though_its_time_was_kept(
    recipe: Recipe, tmp_path: Path, write_image: Write
) -> None:
    cache.on_disk(recipe, 0, tmp_path / "cache")
    changed = Path(recipe.table["path"].iat[4])
    changed_at = changed.stat().st_mtime_ns
    write_image(changed, 255)
    os.utime(changed, ns=(changed_at, changed_at))
    assert cache.on_disk(recipe, 0, tmp_path / "cache").images[4].min() == 255


def test_cache__masks_that_nobody_asks_for_do_not_count(recipe: Recipe) -> None:
    without = replace(recipe, with_masks=False)
    key = cache.key(without)
    for mask in recipe.table["mask"]:
        Path(mask).unlink()
    assert cache.key(without) == key


def test_cache__other_settings_or_images_have_another_folder(recipe: Recipe, tmp_path: Path) -> None:
    others = [
        recipe,
        replace(recipe, preprocess=Preprocess(size=SIZE, clahe=2.0)),
        replace(recipe, with_masks=False),
        replace(recipe, table=recipe.table[:5]),
    ]
    for other in others:
        cache.on_disk(other, 0, tmp_path / "cache")
    assert folders(tmp_path / "cache") == sorted({cache.key(other) for other in others})
    assert len({cache.key(other) for other in others}) == 4


def test_cache__only_what_is_missing_is_read(recipe: Recipe, tmp_path: Path, reads: Reads) -> None:
    built = cache.on_disk(recipe, 0, tmp_path / "cache")
    whole = np.array(built.images)
    built.state[[2, 5]], built.images[[2, 5]] = TODO, 0
    again = cache.on_disk(recipe, 0, tmp_path / "cache")
    np.testing.assert_array_equal(again.images, whole)
    assert reads()[9:] == ["2.png", "5.png"]


def test_cache__a_killed_build_goes_on_where_it_ended(
    recipe: Recipe, tmp_path: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = preparing.read_grey

    def hanging(path: str, side: int | None) -> Reading:
        if path.endswith("6.png"):
            (tmp_path / "hangs").touch()
            time.sleep(60)
        return recording(path, side)

    with monkeypatch.context() as patch:
        patch.setattr(preparing, "read_grey", hanging)
        process = FORK.Process(target=cache.on_disk, args=(recipe, 0, tmp_path / "cache"))
        process.start()
        while process.is_alive() and not (tmp_path / "hangs").exists():
            time.sleep(0.01)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    finished = cache.on_disk(recipe, 0, tmp_path / "cache")
    assert reads() == [f"{number}.png" for number in range(9)]  # each once: 0 to 5 before, the rest after
    np.testing.assert_array_equal(finished.images, cache.in_memory(recipe, 0).images)
    np.testing.assert_array_equal(finished.masks, cache.in_memory(recipe, 0).masks)


def test_cache__two_processes_build_it_once(
    recipe: Recipe, tmp_path: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording, barrier = preparing.read_grey, FORK.Barrier(2)

    def slow(path: str, side: int | None) -> Reading:
        time.sleep(0.02)
        return recording(path, side)

    def build(name: str) -> None:
        barrier.wait()
        np.save(tmp_path / name, cache.on_disk(recipe, 0, tmp_path / "cache").images)

    with monkeypatch.context() as patch:
        patch.setattr(preparing, "read_grey", slow)
        processes = [FORK.Process(target=build, args=(name,)) for name in ("a", "b")]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert sorted(reads()) == [f"{number}.png" for number in range(9)]
    for name in ("a", "b"):
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), cache.in_memory(recipe, 0).images)


def test_cache__headers_are_kept(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(np.zeros((20, 24), np.uint8), (20, 24), {"sex": "F", "age": "48"})
    monkeypatch.setattr(preparing, "read_grey", lambda path, side: reading)
    for _ in range(2):  # built, then opened
        assert cache.on_disk(recipe, 0, tmp_path / "cache")[8].header == {"sex": "F", "age": "48"}


def test_recipe__prepares_by_hand_worked_pixels(tmp_path: Path, write_image: Write) -> None:
    quarters: NDArray[np.uint8] = np.kron(np.array([[10, 20], [30, 40]], np.uint8), np.ones((32, 32), np.uint8))
    left: NDArray[np.uint8] = np.kron(np.array([[255, 0], [255, 0]], np.uint8), np.ones((32, 32), np.uint8))
    image = write_image(tmp_path / "x.png", quarters)
    mask = write_image(tmp_path / "mask.png", left)
    table = pd.DataFrame({"image_id": ["x"], "path": [str(image)], "mask": [str(mask)]})
    prepared = Recipe(table, Preprocess(size=16, use="lungs"), with_masks=True).prepare(0)
    np.testing.assert_array_equal(prepared.image, np.kron([[10, 0], [30, 0]], np.ones((8, 8))))
    np.testing.assert_array_equal(prepared.lung_mask, np.kron([[1, 0], [1, 0]], np.ones((8, 8))))


def test_cache__a_pickled_one_opens_its_files_instead_of_carrying_them(recipe: Recipe, tmp_path: Path) -> None:
    built = cache.on_disk(recipe, 0, tmp_path / "cache")
    sent = pickle.dumps(built)
    assert len(sent) < 1000
    opened = pickle.loads(sent)
    np.testing.assert_array_equal(opened.images, built.images)
    assert all(opened[row].header == built[row].header for row in range(len(recipe)))
    in_memory = cache.in_memory(recipe, 0)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(in_memory)).images, in_memory.images)
