"""Phantoms in the layout of the paediatric set of Kermany et al. 2018 (10.17632/rscbjbr9sj), as Kaggle has it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pulmo.phantom.anatomy import Anatomy
from pulmo.phantom.drawing import draw
from pulmo.phantom.findings import Finding
from pulmo.phantom.writing import fresh, generator, grey8, in_parallel, jpeg, mark, write_mask

Split = Literal["train", "val", "test"]
Series = Literal["IM", "NORMAL2-IM", "bacteria", "virus"]

_SPLITS: tuple[Split, ...] = ("train", "val", "test")
_CLASSES = ("NORMAL", "PNEUMONIA")
# Where a split's numbers begin. Each series counts its own people, and the splits of the real set overlap in
# number but not in person: person1_bacteria trains while person1_virus tests.
_FIRST: dict[tuple[Split, Series], int] = {
    ("train", "IM"): 115,
    ("train", "NORMAL2-IM"): 383,
    ("train", "bacteria"): 1,
    ("train", "virus"): 78,
    ("val", "IM"): 1427,
    ("val", "NORMAL2-IM"): 1427,
    ("val", "bacteria"): 1946,
    ("val", "virus"): 1946,
    ("test", "IM"): 1,
    ("test", "NORMAL2-IM"): 115,
    ("test", "bacteria"): 78,
    ("test", "virus"): 1,
}


@dataclass(frozen=True)
class Picture:
    """One file of the set."""

    number: int
    split: Split
    folder: str
    stem: str
    anatomy: Anatomy
    finding: Finding


def write_kermany(root: Path, *, masks: Path | None = None, images: int = 300, seed: int = 0, size: int = 400) -> None:
    """Write `images` JPEGs of about `size` pixels in height, wider than high, into {train,val,test}/{CLASS}.

    val has 16 of them (a sixth where there are fewer than 96), test a fifth. Some files have three channels.
    With `masks`, the lungs of train and test go to `masks`/{train,test}/<stem>.png, 1 bit a pixel.
    Raises DataError if `root` or `masks` holds something already.
    """
    fresh(root, *(f"{split}/{folder}" for split in _SPLITS for folder in _CLASSES))
    if masks is not None:
        fresh(masks, "train", "test")
        mark(masks, seed)

    def write(picture: Picture) -> None:
        rng = generator(seed, 1, picture.number)
        height, aspect = round(size * rng.uniform(0.85, 1.15)), rng.uniform(1.2, 1.6)
        phantom = draw(rng, picture.anatomy, picture.finding, size=height, aspect=aspect, view="AP")
        pixels = grey8(phantom.image)
        if picture.number % 20 == 3:  # about one in twenty of the real files is RGB
            pixels = np.repeat(pixels[:, :, None], 3, axis=2)
        path = root / picture.split / picture.folder / f"{picture.stem}.jpeg"
        path.write_bytes(jpeg(pixels))
        if masks is not None and picture.split != "val":
            write_mask(masks / picture.split / f"{picture.stem}.png", phantom.lungs, bilevel=True)

    in_parallel(write, _pictures(seed, images))
    mark(root, seed)


def _pictures(seed: int, images: int) -> list[Picture]:
    rng = generator(seed, 0)
    val = min(16, images // 12 * 2)
    test = images // 5
    pictures: list[Picture] = []
    taken: set[tuple[Series, int]] = set()
    files = dict.fromkeys(("bacteria", "virus"), 0)  # file numbers run through all people of a pathogen
    for split, total in zip(_SPLITS, (images - val - test, val, test), strict=True):
        sick = total // 2 if split == "val" else round(0.6 * total)
        for folder, wanted in zip(_CLASSES, (total - sick, sick), strict=True):
            for stem, finding, anatomy in _people(rng, split, folder, wanted, taken, files):
                pictures.append(Picture(len(pictures), split, folder, stem, anatomy, finding))
    return pictures


def _people(
    rng: np.random.Generator,
    split: Split,
    folder: str,
    wanted: int,
    taken: set[tuple[Series, int]],
    files: dict[str, int],
) -> Iterator[tuple[str, Finding, Anatomy]]:
    """File stem, finding and anatomy of `wanted` images, of people who are nowhere else."""
    made = 0
    series: tuple[Series, Series] = ("IM", "NORMAL2-IM") if folder == "NORMAL" else ("bacteria", "virus")
    following = {one: _FIRST[split, one] for one in series}
    person = 0
    while made < wanted:
        # The first two people are one of each series, so that small sets have both.
        one = series[person] if person < 2 else series[int(rng.random() < 0.4)]
        while (one, following[one]) in taken:
            following[one] += 1
        number = following[one]
        taken.add((one, number))
        following[one] += int(rng.integers(1, 4))
        seen = min(wanted - made, 2 if person == 0 else int(rng.choice((1, 2, 3), p=(0.7, 0.2, 0.1))))
        anatomy = Anatomy.sample(rng, child=True)
        for image in range(1, seen + 1):
            if one in files:
                files[one] += 1
                yield f"person{number}_{one}_{files[one]}", "virus" if one == "virus" else "bacteria", anatomy
            else:
                stem = f"{one}-{number:04d}-0001"
                yield stem if seen == 1 else f"{stem}-{image:04d}", "normal", anatomy
        made += seen
        person += 1
