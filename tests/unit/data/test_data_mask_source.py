"""Lung masks that come from elsewhere than the data set's own folder, such as from another run's network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from tests.unit.data.loading import ready

from pulmo.data.rsna import RSNA
from pulmo.transforms.preprocess import Preprocess
from pulmo.types import Target

PLAIN = Preprocess(size=16)

Write = Callable[[Path, Any], Path]


class LeftHalf:
    """A source of masks whose left half is lung; keeps the ids that it was asked for."""

    said = "the left half"

    def __init__(self, folder: Path) -> None:
        self.path, self.asked = folder / "left_half.png", []
        folder.mkdir()
        cv2.imwrite(str(self.path), np.array([[255, 0]], np.uint8).repeat(16, 1).repeat(32, 0))

    def masks_of(self, table: pd.DataFrame) -> list[str]:
        self.asked.append(table["image_id"].tolist())
        return [str(self.path)] * len(table)


@pytest.mark.parametrize("use", ["lungs", "crop"])
def test_mask_source__draws_the_masks_that_preprocess_needs(
    rsna: Callable[..., RSNA], tmp_path: Path, write_image: Write, use: str
) -> None:
    source = LeftHalf(tmp_path / "drawn")
    for index in range(12):
        write_image(tmp_path / f"masks/r{index:02d}.png", 0)  # the data set's own, which would be refused as empty
    module = rsna(preprocess=Preprocess(size=16, use=use, margin=0.0), masks=str(tmp_path / "masks"), cache="ram")
    module.mask_source = source
    for batch in ready(module).test_dataloader():
        for row, image in zip(batch["row"].tolist(), batch["image"][:, 0], strict=True):
            grey = int(module.rows_of("test")["image_id"][row][1:])  # an image's grey is its number
            assert image[:, :8].eq(grey).all()
            assert image[:, 8:].eq(0 if use == "lungs" else grey).all()
    assert source.asked == [[f"r{index:02d}" for index in range(12)]]  # once, for all


@pytest.mark.parametrize(
    ("preprocess", "needs"),
    [
        (PLAIN, ("label",)),
        (Preprocess(size=16, use="lungs", mask="none"), ("label",)),
        (PLAIN, ("lung_mask",)),  # masks to learn from are never drawn ones
    ],
)
def test_mask_source__is_not_asked_where_preprocess_needs_no_mask(
    rsna: Callable[..., RSNA], tmp_path: Path, write_image: Write, preprocess: Preprocess, needs: tuple[Target, ...]
) -> None:
    source = LeftHalf(tmp_path / "drawn")
    for index in range(12):
        write_image(tmp_path / f"masks/r{index:02d}.png", 255)
    module = rsna(preprocess=preprocess, masks=str(tmp_path / "masks"), cache="ram")
    module.mask_source = source
    batch = next(iter(ready(module, *needs).test_dataloader()))
    assert source.asked == []
    if "lung_mask" in needs:
        assert batch["lung_mask"].eq(1).all()


def test_mask_source__draws_those_of_unlabelled_images_too(rsna: Callable[..., RSNA], tmp_path: Path) -> None:
    source = LeftHalf(tmp_path / "drawn")
    module = rsna(preprocess=Preprocess(size=16, use="lungs"), cache="ram")
    module.mask_source = source
    image = next(iter(ready(module).predict_dataloader()))["image"][1, 0]
    assert source.asked[1:] == [["u00", "u01"]]
    assert image[:, :8].eq(1).all()
    assert image[:, 8:].eq(0).all()
