"""Images that cannot take part, because they cannot be read or lack a mask: told, or left out where asked."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.unit.data.loading import damaged, number, ready

from pulmo.data import left_out
from pulmo.data.folder import Folder
from pulmo.errors import DataError, UnreadableImageError
from pulmo.transforms.preprocess import Preprocess

Write = Callable[[Path, Any], Path]


def test_setup__a_file_that_cannot_be_read_is_named_with_the_remedy(folder: Callable[..., Folder]) -> None:
    module = folder()
    first, second = damaged(module, "13.png"), damaged(module, "04.png")  # as the folders lie
    with pytest.raises(DataError, match=r"cut short: .* \(and 1 more\); data\.on_error=skip leaves") as caught:
        ready(module)
    assert str(first) in str(caught.value)
    assert str(second) not in str(caught.value)


@pytest.mark.parametrize("cache", ["disk", "ram"])
def test_setup__skip_leaves_it_out_and_says_so(
    folder: Callable[..., Folder], caplog: pytest.LogCaptureFixture, cache: str
) -> None:
    module = folder(on_error="skip", cache=cache)
    paths = [damaged(module, "13.png"), damaged(module, "04.png")]
    ready(module)
    assert f"skipped 2 of 18 images that cannot be read: {paths[0]}: cut short" in caplog.text
    assert module.skipped["image_id"].tolist() == ["test/pneumonia/13", "train/normal/04"]
    assert module.skipped["path"].tolist() == [str(path) for path in paths]
    assert module.skipped["cause"].str.startswith("cut short").all()
    assert len(module.table) == 16
    assert module.class_counts == [4, 4]
    assert [grey for batch in module.test_dataloader() for grey in number(batch)] == [14, 16, 15, 17]


def test_setup__a_damaged_image_that_takes_no_part_is_no_matter(
    folder: Callable[..., Folder], tmp_path: Path, write_csv: Callable[..., Path]
) -> None:
    module = folder(split=str(tmp_path / "split.csv"))
    images = ready(folder(cache="off")).table.set_index("image_id")["split"].drop("train/normal/04")
    write_csv(tmp_path / "split.csv", [("image_id", "split"), *images.items()])
    damaged(module, "04.png")
    assert len(ready(module).table) == 17
    assert module.skipped.empty


def test_setup__skipping_may_not_empty_a_split(folder: Callable[..., Folder]) -> None:
    module = folder(on_error="skip")
    for index in range(9, 13):
        damaged(module, f"{index:02d}.png")
    with pytest.raises(DataError, match="the val split has no image"):
        ready(module)


def test_loaders__without_cache_the_reading_error_names_the_file(folder: Callable[..., Folder]) -> None:
    module = folder(cache="off")
    path = damaged(module, "15.png")
    with pytest.raises(UnreadableImageError, match=re.escape(str(path))):
        list(ready(module).test_dataloader())


def test_setup__missing_masks_are_counted_by_split(
    folder: Callable[..., Folder], tmp_path: Path, write_image: Write
) -> None:
    for index in (0, 2, 4, 6, 8, 9, 10, 13, 14):
        write_image(tmp_path / f"masks/{index:02d}.png", 255)
    module = folder(preprocess=Preprocess(size=16, use="lungs"), masks=str(tmp_path / "masks"))
    with pytest.raises(DataError, match=r"9 of 18 images have no lung mask \(4 of train, 3 of test, 2 of val\)") as e:
        ready(module)
    remedies = "has none called so (preprocess.mask=RUN takes those that a run draws); preprocess.missing=skip"
    assert str(e.value).endswith(f"{tmp_path / 'masks'} {remedies} leaves them out")


def test_setup__images_without_mask_are_skipped_where_asked(
    folder: Callable[..., Folder], tmp_path: Path, write_image: Write, caplog: pytest.LogCaptureFixture
) -> None:
    for index in (0, 2, 4, 6, 8, 9, 10, 13, 14):
        write_image(tmp_path / f"masks/{index:02d}.png", 255)
    skip = Preprocess(size=16, use="lungs", missing="skip")
    module = ready(folder(preprocess=skip, masks=str(tmp_path / "masks")))
    assert module.table["split"].value_counts().to_dict() == {"train": 5, "val": 2, "test": 2}
    assert "left out: 9 of 18 images have no lung mask" in caplog.text


def test_setup__no_mask_at_all_is_an_error_even_where_missing_ones_are_skipped(folder: Callable[..., Folder]) -> None:
    with pytest.raises(DataError, match=r"18 of 18 images have no lung mask .*give data\.masks=FOLDER"):
        ready(folder(preprocess=Preprocess(size=16, use="crop", missing="skip")))


def test_setup__a_task_that_learns_masks_needs_them_too(
    folder: Callable[..., Folder], tmp_path: Path, write_image: Write
) -> None:
    with pytest.raises(DataError, match="18 of 18 images have no lung mask"):
        ready(folder(), "lung_mask")
    half = np.zeros((20, 24), np.uint8)
    half[:10] = 1
    for index in range(18):
        write_image(tmp_path / f"masks/{index:02d}.png", half)
    module = ready(folder(masks=str(tmp_path / "masks")), "lung_mask")
    batch = next(iter(module.test_dataloader()))
    assert batch["lung_mask"].shape == (4, 16, 16)
    assert torch.equal(batch["lung_mask"][0], torch.tensor([[1]] * 8 + [[0]] * 8, dtype=torch.uint8).expand(16, 16))


def table(**columns: list[Any]) -> pd.DataFrame:
    """Six images a to f, two of each split, all with a mask unless said otherwise."""
    given = {"image_id": list("abcdef"), "patient_id": list("abcdef"), "path": [f"{name}.png" for name in "abcdef"]}
    given |= {"split": ["train", "train", "val", "val", "test", "test"], "mask": ["m.png"] * 6}
    return pd.DataFrame(given | {"row_in_store": [10, 11, 12, 13, 14, 15]} | columns)


def test_with_masks__keeps_all_where_all_have_one() -> None:
    images = table()
    kept, others = left_out.with_masks(images, "masks", "raise")
    assert kept is images
    assert others.empty
    assert list(others) == list(left_out.nothing()) == ["image_id", "path", "split", "cause"]


def test_with_masks__lists_the_others_with_the_cause() -> None:
    kept, others = left_out.with_masks(table(mask=["m.png", "", "m.png", "m.png", "", "m.png"]), "masks", "skip")
    assert kept["image_id"].tolist() == ["a", "c", "d", "f"]
    assert others.to_dict("list") == {
        "image_id": ["b", "e"],
        "path": ["b.png", "e.png"],
        "split": ["train", "test"],
        "cause": ["no lung mask", "no lung mask"],
    }


def test_with_masks__images_that_no_split_has_yet_are_counted_without_one() -> None:
    images = table(split=[""] * 6, mask=["", *["m.png"] * 5])
    with pytest.raises(DataError, match=r"^1 of 6 images have no lung mask, such as a\.png: give data\.masks=FOLDER; "):
        left_out.with_masks(images, left_out.remedy(None, None, learnt=True), "raise")


def test_with_masks__only_those_that_are_asked_for_are_missed(caplog: pytest.LogCaptureFixture) -> None:
    images = table(mask=["", "m.png", "m.png", "m.png", "m.png", "m.png"])
    kept, others = left_out.with_masks(images, "none", "raise", images.iloc[4:])
    assert (kept["image_id"].tolist(), others["image_id"].tolist()) == (list("bcdef"), ["a"])
    assert not caplog.text
    with pytest.raises(DataError, match=r"^1 of 2 images have no lung mask \(1 of train\), such as a\.png: none; "):
        left_out.with_masks(images, "none", "raise", images.iloc[:2])
    with pytest.raises(DataError, match=r"^6 of 6 images have no lung mask"):
        left_out.with_masks(table(mask=[""] * 6), "none", "skip", images.iloc[4:])


def test_remedy__names_where_masks_were_looked_for() -> None:
    class Source:
        said = "--lungs=there"

    assert left_out.remedy("/masks", Source(), learnt=False) == "--lungs=there has none for them"  # type: ignore[arg-type]
    assert left_out.remedy("/masks", None, learnt=True) == "/masks has none called so"


def test_without_failures__those_of_images_that_take_no_part_are_no_matter() -> None:
    images = table()
    kept, others = left_out.without_failures(images, {3: "cut short", 99: "cut short"}, "raise")
    assert kept is images
    assert others.empty


def test_without_failures__skips_by_place_in_the_store_and_numbers_the_rest_anew() -> None:
    kept, others = left_out.without_failures(table(), {15: "it is empty", 11: "cut short"}, "skip")
    assert kept["image_id"].tolist() == ["a", "c", "d", "e"]
    assert kept.index.tolist() == [0, 1, 2, 3]
    assert others.to_dict("list") == {
        "image_id": ["b", "f"],
        "path": ["b.png", "f.png"],
        "split": ["train", "test"],
        "cause": ["cut short", "it is empty"],
    }
