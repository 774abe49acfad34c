"""Phantoms in the layout of PadChest (Bustos et al. 2020, 10.1016/j.media.2020.101797), and in a simpler one.

The csv has the real header, the unnamed first column included, and its quirks: labels as text with stray blanks,
labels that are no finding, numbers too long for 64 bits, views that are not frontal.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmo.phantom.anatomy import Anatomy
from pulmo.phantom.drawing import draw
from pulmo.phantom.findings import Distractor, Finding
from pulmo.phantom.lateral import draw_lateral
from pulmo.phantom.padchest_list import LIST_NAME, Projection, Shot, of_study, row_of
from pulmo.phantom.writing import fresh, generator, grey8, in_parallel, mark, write_mask, write_png

_FINDINGS: tuple[Finding, ...] = ("normal", "distractor", "bacteria", "virus")
_SHARES = (0.44, 0.14, 0.25, 0.17)
_VIEWS: tuple[tuple[Projection, ...], ...] = (("PA",), ("PA", "L"), ("AP",), ("AP_horizontal",))
# What stands in the real csv in place of a finding; by the text, an empty one is no normal one.
_ODD = ("", "['']", "['exclude']", "['unchanged']", "['suboptimal study']", "['exclude', 'pneumonia']")


def write_padchest(root: Path, *, images: int = 240, seed: int = 0, size: int = 256, unreadable: int = 0) -> None:
    """Write `images` 16-bit PNGs to images/, the lungs of the frontal ones to masks/, and the csv, into `root`.

    The first `unreadable` frontal files are cut off in the middle, as a broken download leaves them.
    Raises DataError if `root` holds something already.
    """
    fresh(root, "images", "masks")
    shots = _shots(seed, images)
    broken = {shot.number for shot in [s for s in shots if s.projection != "L"][:unreadable]}

    def write(shot: Shot) -> dict[str, Any]:
        rng = generator(seed, 1, shot.number)
        path = root / "images" / f"{shot.stem}.png"
        seen: tuple[Distractor, ...] = ()
        if shot.projection == "L":
            write_png(path, _grey16(draw_lateral(rng, shot.anatomy, size=size)))
        else:
            view: Literal["PA", "AP"] = "PA" if shot.projection == "PA" else "AP"
            phantom = draw(rng, shot.anatomy, shot.finding, size=size, view=view)
            seen = phantom.distractors
            write_png(path, _grey16(phantom.image))
            write_mask(root / "masks" / f"{shot.stem}.png", phantom.lungs)
        if shot.number in broken:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return row_of(shot, seen, size)

    rows = of_study(in_parallel(write, shots))
    pd.DataFrame(rows).rename(columns={"index": ""}).to_csv(root / LIST_NAME, index=False)
    mark(root, seed)


def write_padchest_simple(root: Path, *, images: int = 60, seed: int = 0, size: int = 256) -> None:
    """Write `images` 8-bit PNGs to raw_images/{train,valid,test}/{Normal,Diseased}, their lungs to lung_masks/.

    Below lung_masks the folders and file stems are the same. Every image is a patient of its own; the first
    three fifths are train. Raises DataError if `root` holds something already.
    """
    splits, classes = ("train", "valid", "test"), ("Normal", "Diseased")
    tops = ("raw_images", "lung_masks")
    fresh(root, *(f"{top}/{split}/{name}" for top in tops for split in splits for name in classes))

    def write(number: int) -> None:
        rng = generator(seed, 1, number)
        finding = _FINDINGS[0 if number % 2 == 0 else int(rng.integers(1, 4))]
        phantom = draw(rng, Anatomy.sample(rng), finding, size=size)
        split = splits[min(2, max(0, 5 * number // max(1, images) - 2))]
        place = f"{split}/{classes[number % 2]}/{seed:03d}{number:05d}.png"
        write_png(root / "raw_images" / place, grey8(phantom.image))
        write_mask(root / "lung_masks" / place, phantom.lungs)

    in_parallel(write, range(images))
    mark(root, seed)


def _shots(seed: int, images: int) -> list[Shot]:
    rng = generator(seed, 0)
    shots: list[Shot] = []
    studies = 0
    patient = 0
    while len(shots) < images:
        anatomy, key = Anatomy.sample(rng), _digits(rng, 39)
        finding = _FINDINGS[rng.choice(4, p=_SHARES)]
        year = int(rng.integers(2009, 2018))
        # The first patient came back twice, so that even a small set has several studies of one.
        for visit in range(3 if patient == 0 else int(rng.choice((1, 2), p=(0.85, 0.15)))):
            if visit and rng.random() < 0.5:
                finding = _FINDINGS[rng.choice(4, p=_SHARES)]
            study = _digits(rng, 39)
            date = f"{year + visit}{int(rng.integers(1, 13)):02d}{int(rng.integers(1, 29)):02d}"
            odd = _ODD[studies // 11 % len(_ODD)] if studies % 11 == 6 else None
            by_network = bool(rng.random() < 0.4) or odd in ("", "['']")
            # The first two studies have a lateral view and a lying patient, for the same reason.
            views = _VIEWS[(1, 3)[studies] if studies < 2 else rng.choice(4, p=(0.62, 0.26, 0.07, 0.05))]
            for projection in views[: images - len(shots)]:
                tag = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz0123456789"), 6))
                stem, number = f"{study}_{tag}", len(shots)
                shots.append(Shot(number, stem, key, study, date, projection, odd, by_network, anatomy, finding))
            studies += 1
        patient += 1
    return shots


def _digits(rng: np.random.Generator, count: int) -> str:
    return str(rng.integers(1, 10)) + "".join(map(str, rng.integers(0, 10, count - 1)))


def _grey16(image: NDArray[np.float32]) -> NDArray[np.uint16]:
    """12 bits of grey spread over 16."""
    return np.round(image * 4095).astype(np.uint16) * np.uint16(16)
