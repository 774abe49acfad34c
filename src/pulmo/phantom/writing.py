"""What every layout's writer needs: seeded generators, encoders that report failure, the marker file, workers."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pulmo.errors import DataError
from pulmo.phantom.film import Layer, Mask

MARKER = "PHANTOM.txt"

Job = TypeVar("Job")
Result = TypeVar("Result")


def generator(seed: int, *place: int) -> np.random.Generator:
    """A generator of its own for each `place` (image number, patient number …) under one `seed`."""
    return np.random.default_rng([seed, *place])


def in_parallel(work: Callable[[Job], Result], jobs: Iterable[Job]) -> list[Result]:
    """The results of `work` on each job, in the order of `jobs`, on all cores.

    Threads suffice: nearly all the time is spent in OpenCV and NumPy, which let go of the interpreter's lock.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(work, jobs))


def grey8(image: Layer) -> NDArray[np.uint8]:
    """An image in [0, 1] as uint8 in [0, 255]."""
    return np.round(image * 255).astype(np.uint8)


def jpeg(image: NDArray[np.uint8], quality: int = 90) -> bytes:
    """The bytes of a baseline JPEG of a (H, W) or (H, W, 3) image."""
    return _encoded(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])


def write_png(path: Path, image: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write an 8-bit or 16-bit grey PNG."""
    path.write_bytes(_encoded(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 4]))


def write_mask(path: Path, mask: Mask, *, bilevel: bool = False) -> None:
    """Write a {0, 1} mask as a PNG of 0 and 255, or of 1 bit a pixel."""
    path.write_bytes(_encoded(".png", mask * np.uint8(255), [cv2.IMWRITE_PNG_BILEVEL, int(bilevel)]))


def _encoded(suffix: str, image: NDArray[Any], options: list[int]) -> bytes:
    done, data = cv2.imencode(suffix, image, options)
    if not done:
        raise DataError(f"OpenCV could not encode an image of shape {image.shape} as {suffix}")
    return bytes(data)


def mark(root: Path, seed: int) -> None:
    """Put the file in `root` that tells phantoms from patients."""
    try:
        release = version("pulmo")
    except PackageNotFoundError:  # run from a checkout that was never installed
        release = "of an uninstalled checkout"
    (root / MARKER).write_text(
        "The images in this folder are drawn phantoms, not patients: every radiograph, mask, box, name, date and "
        f"label in it was made up by pulmo {release} from seed {seed}. They copy the layout of a public data set, "
        "so that programs can be tried without it. Nothing measured on them says anything about medicine.\n"
    )


def fresh(root: Path, *folders: str) -> None:
    """Make `root` and `folders` in it; refuse a `root` that holds something already.

    Raises DataError, because phantoms mixed among a user's own images could not be told apart.
    """
    if root.is_dir() and any(root.iterdir()):
        raise DataError(f"{root} is not empty: phantoms are written into a new folder only; name another")
    for folder in folders or ("",):
        (root / folder).mkdir(parents=True, exist_ok=True)
