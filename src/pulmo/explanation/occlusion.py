"""Radiographs of which a part is taken away: what is left for a network that looks where it should not.

What is taken away becomes one grey, half of the full range, the same in all images. A mean of the image would carry
news across: of what is taken away, its brightness; of what is kept, its exposure, to where the network looks for lungs.
Lung masks, of whatever source, often leave consolidations out: then these stay with the rest, and the masks' outline
tells of them. `lung box removed` hides both, and `outline alone` shows the outline and nothing else.
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

    blind    no lung is left: a network that ranks such images well reads something else; `where` says what
    outside  takes away, or spares, what lies outside of the lungs: nothing to a network that is shown lungs alone
    """

    name: str
    shows: str
    apply: Callable[[Grey, Lungs | None], Grey]
    needs_lungs: bool
    blind: bool = False
    outside: bool = False
    where: str = ""


def kept(grey: Grey, visible: npt.NDArray[np.bool_]) -> Grey:
    """The grey where it is `visible`, half of the full range everywhere else."""
    return np.where(visible, grey, np.asarray(np.iinfo(grey.dtype).max // 2 + 1, grey.dtype))


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
    Occlusion("lungs only", "all but the lungs filled", _lungs_only, needs_lungs=True, outside=True),
    Occlusion("centre only", "the outer tenth of each side filled", _centre, needs_lungs=False),
    Occlusion(
        "lungs removed",
        "all inside the lung masks filled",
        _lungs_removed,
        needs_lungs=True,
        blind=True,
        where="with all that lies inside the lung masks taken away",
    ),
    Occlusion(
        "lung box removed",
        "the box around both lungs filled",
        _box_removed,
        needs_lungs=True,
        blind=True,
        outside=True,
        where="with the whole box around the lungs taken away",
    ),
    Occlusion(
        "borders only",
        "the outer tenth of each side, the lungs in it filled",
        _borders,
        needs_lungs=False,
        blind=True,
        outside=True,
        where="from the outer tenth of the image alone",
    ),
    Occlusion("outline alone", "the lung mask's shape in two greys, nothing else", _outline, needs_lungs=True),
)
