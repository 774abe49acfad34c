"""A file decoded and prepared, in each of several ways; what is wrong with it is told instead."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pulmo.data.grey import Reading
from pulmo.data.reading import read_grey, read_mask
from pulmo.errors import DataError, UnreadableImageError
from pulmo.prediction.paths import Found
from pulmo.transforms.components import largest_components
from pulmo.transforms.geometry import Geometry
from pulmo.transforms.preprocess import Preprocess

IDS = {"patient_id": "PatientID", "study_uid": "StudyInstanceUID", "sop_uid": "SOPInstanceUID"}


@dataclass(frozen=True)
class DrawnLungs:
    """Lungs as a network drew them: (S, S) probabilities, how they lie in the file, and the network's cut-off.

    shape  (H, W) of the file when they were drawn
    """

    probabilities: npt.NDArray[np.float32]
    geometry: Geometry
    cut_off: float
    shape: tuple[int, int]

    def mask(self, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Both lungs, filled, as (H, W) uint8 {0, 1} of the file's `shape`; `DataError` where it is no longer that."""
        if shape != self.shape:
            raise DataError("the file was replaced while its lungs were drawn")
        shares = self.geometry.unmask(self.probabilities, shape)
        return largest_components((shares >= np.float32(self.cut_off)).astype(np.uint8), 2, fill=True)


@dataclass(frozen=True)
class Job:
    """A file to prepare, and its lungs where preprocess asks for them: a mask's path, or drawn ones."""

    image: Found
    lungs: str | DrawnLungs | None = None


@dataclass(frozen=True)
class Prepared:
    """A file's (S, S) uint8 image for each preprocess, and its geometry; or the `error` that there is in its place.

    `shape` (H, W) is the file's; `ids` are those of `IDS` that a DICOM file has.
    """

    image: Found
    error: str = ""
    images: tuple[npt.NDArray[np.uint8], ...] = ()
    geometries: tuple[Geometry, ...] = ()
    shape: tuple[int, int] = (0, 0)
    ids: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reader:
    """Reads a file once and prepares it in each of several ways; `with_ids` also gives its DICOM ids."""

    preprocesses: tuple[Preprocess, ...]
    with_ids: bool = False

    def __call__(self, job: Job) -> Prepared:
        """Give the prepared file; what is wrong with it is its `error`."""
        if job.image.error:
            return Prepared(job.image, job.image.error)
        try:
            return self._prepared(job)
        except UnreadableImageError as error:
            return Prepared(job.image, error.cause or str(error))
        except DataError as error:
            return Prepared(job.image, str(error))
        except MemoryError:
            return Prepared(job.image, "there is not enough memory to decode it")

    def _prepared(self, job: Job) -> Prepared:
        readings: dict[int | None, Reading] = {}
        lungs, made = None, []
        for preprocess in self.preprocesses:
            side = preprocess.side
            if side not in readings:
                readings[side] = read_grey(job.image.path, side)
                _refuse_blank(readings[side], job.image.path)
            reading = readings[side]
            if preprocess.needs_mask and lungs is None:
                lungs = _lungs(job, reading.shape)
            made.append(preprocess(reading.image, lungs, reading.shape))
        images, geometries = zip(*made, strict=True)
        shape = next(iter(readings.values())).shape
        return Prepared(job.image, "", images, geometries, shape, _ids(job.image.path) if self.with_ids else {})


def _lungs(job: Job, shape: tuple[int, int]) -> npt.NDArray[np.uint8] | None:
    if isinstance(job.lungs, DrawnLungs):
        return job.lungs.mask(shape)
    try:
        return read_mask(job.lungs, shape) if job.lungs else None
    except UnreadableImageError as error:
        raise DataError(f"its lung mask {error}") from error


def _refuse_blank(reading: Reading, path: str) -> None:
    """Raise where all pixels are alike: a network would answer, and its answer would mean nothing."""
    if reading.image.min() == reading.image.max():
        height, width = reading.shape
        raise UnreadableImageError(path, f"all of its {width}×{height} pixels are alike: there is nothing on it")


def _ids(path: str) -> dict[str, str]:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(IDS.values()))
    except (InvalidDicomError, OSError, ValueError, LookupError, AttributeError):
        return {}
    return {column: str(header.get(tag) or "") for column, tag in IDS.items()}
