"""Radiographs of which a part is taken away: what is left for a network that looks where it should not.

What is taken away is filled with the mean grey of what is kept, so that nothing of its brightness is left behind, and
no edge is stronger than it must be. Its outline stays visible: of lungs that a segmenter drew, that outline tells of
consolidations too, since they are often left out of it. `lung box removed` hides it, and `outline alone` shows nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmo.transforms.preprocess import lung_box

FRAME = 0.1
"""Share of each side that counts as border."""
MARGIN = 0.06
"""Of the box around the lungs, as a share of its sides."""

Grey = npt.NDArray[Any]
Lungs = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Occlusion:
    """One way to take something away: (H, W) grey and its lungs {0, 1} or None in, the grey that is left out.

    blind  no lung is to be seen: a network that ranks such images well reads something else
    """

    name: str
    shows: str
    apply: Callable[[Grey, Lungs | None], Grey]
    needs_lungs: bool
    blind: bool = False


def kept(grey: Grey, visible: npt.NDArray[np.bool_]) -> Grey:
    """The grey where it is `visible`, the mean of that everywhere else."""
    if visible.all():
        return grey
    level = grey[visible].mean() if visible.any() else np.iinfo(grey.dtype).max / 2
    return np.where(visible, grey, np.asarray(round(float(level)), grey.dtype))


def _lungs_only(grey: Grey, lungs: Lungs | None) -> Grey:
    return kept(grey, _known(lungs) > 0)


def _lungs_removed(grey: Grey, lungs: Lungs | None) -> Grey:
    return kept(grey, _known(lungs) == 0)


def _box_removed(grey: Grey, lungs: Lungs | None) -> Grey:
    x1, y1, x2, y2 = lung_box(_known(lungs), MARGIN)
    outside = np.ones(grey.shape, bool)
    outside[y1:y2, x1:x2] = False
    return kept(grey, outside)


def _outline(grey: Grey, lungs: Lungs | None) -> Grey:
    full = np.iinfo(grey.dtype).max
    return np.where(_known(lungs) > 0, np.asarray(full // 4, grey.dtype), np.asarray(full // 2, grey.dtype))


def _borders(grey: Grey, lungs: Lungs | None) -> Grey:
    frame = ~_centre_of(grey.shape)
    return kept(grey, frame if lungs is None else frame & (lungs == 0))


def _centre(grey: Grey, lungs: Lungs | None) -> Grey:
    return kept(grey, _centre_of(grey.shape))


def _centre_of(shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    height, width = shape
    dy, dx = round(height * FRAME), round(width * FRAME)
    centre = np.zeros(shape, bool)
    centre[dy : height - dy, dx : width - dx] = True
    return centre


def _known(lungs: Lungs | None) -> Lungs:
    if lungs is None:
        raise ValueError("this occlusion needs a lung mask")
    return lungs


WHOLE = Occlusion("whole image", "as it is", lambda grey, lungs: grey, needs_lungs=False)

OCCLUSIONS = (
    Occlusion("lungs only", "all but the lungs filled", _lungs_only, needs_lungs=True),
    Occlusion("centre only", "the outer tenth of each side filled", _centre, needs_lungs=False),
    Occlusion("lungs removed", "the lungs filled, their outline stays", _lungs_removed, needs_lungs=True, blind=True),
    Occlusion("lung box removed", "the box around both lungs filled", _box_removed, needs_lungs=True, blind=True),
    Occlusion("borders only", "the outer tenth of each side, no lung in it", _borders, needs_lungs=False, blind=True),
    Occlusion("outline alone", "the lung mask's shape in two greys, nothing else", _outline, needs_lungs=True),
)
