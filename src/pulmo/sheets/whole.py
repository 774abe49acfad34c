"""All that the tables of a split say, of images, masks and boxes alike."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pulmo.sheets.boxes import BoxSheet, box_sheet
from pulmo.sheets.images import ImageSheet, image_sheet
from pulmo.sheets.masks import MaskSheet, mask_sheet


@dataclass(frozen=True)
class Sheets:
    """What there is to say of a split; None where a run does not answer that question.

    images  whether each image holds a finding; None of a segmentation whose images are all of one label: every image
            has lungs, there is nothing to tell apart
    """

    images: ImageSheet | None
    masks: MaskSheet | None = None
    boxes: BoxSheet | None = None

    @property
    def probabilities(self) -> ImageSheet | None:
        """The sheet of images whose scores are meant as probabilities; that of a mask or a box is not."""
        return self.images if self.masks is None and self.boxes is None else None


def sheets_of(
    table: pd.DataFrame,
    boxes: pd.DataFrame | None,
    val: pd.DataFrame | None,
    cut_off: float,
    *,
    prevalence: float | None = None,
    resamples: int = 10_000,
    given: Mapping[str, float] | None = None,
    true_boxes: pd.DataFrame | None = None,
) -> Sheets:
    """Measure a predictions table, with the tables of boxes where a run writes them; see `image_sheet`, `box_sheet`.

    Raises `DataError` where a column is missing, a score is none, or nothing is labelled.
    """
    of_masks = "dice" in table
    of_boxes = boxes is not None and "true_boxes" in table
    labels = table["label"][table["label"] >= 0].nunique() if "label" in table else 0
    return Sheets(
        image_sheet(table, val, cut_off, prevalence=prevalence, resamples=resamples, given=given)
        if labels > 1 or not of_masks
        else None,
        mask_sheet(table, resamples=resamples) if of_masks else None,
        box_sheet(table, boxes, cut_off, true_boxes, resamples=resamples) if boxes is not None and of_boxes else None,
    )
