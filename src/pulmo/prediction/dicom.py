"""Answers as DICOM: a segmentation object for masks, a structured report for scores and boxes.

Both name the algorithm, refer to the image they are about and belong to its study, so that an archive files them there.
Segmentation IOD: PS3.3 A.51; report: template TID 1500, Measurement Report, PS3.16.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmo.errors import DataError, MissingExtraError
from pulmo.prediction.table import NO_DICOM_FILE
from pulmo.prediction.whole import whole

logging.getLogger("highdicom").setLevel(logging.WARNING)  # it tells each attribute that it copies

PRIVATE = "99PULMO"  # PS3.16, 8: designators of private coding schemes begin with 99
NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "PatientID", "Rows", "Columns")
OPTIONAL = ("PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime")
REFUSALS = (AttributeError, ValueError, TypeError, LookupError)  # highdicom's of what it is given
MASKS = {"lungs": ("91723000", "SCT", "Anatomical Structure", "39607008", "SCT", "Lung")}
OPACITY = ("49755003", "SCT", "Morphologically Abnormal Structure", "112001", "DCM", "Opacity")


class NoResultError(DataError):
    """An image's file has no result, for a cause of its own: the others are none the worse."""


@dataclass(frozen=True)
class DicomResults:
    """Writes one object for each image: of `target` masks (lungs or opacity) segmentations, else reports.

    finding   what the score is of: a class's name
    version   of pulmo, and `algorithm` the runs with their checkpoints' digests
    """

    finding: str
    target: str | None
    algorithm: str
    version: str

    def __post_init__(self) -> None:
        try:
            import highdicom  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("--dicom needs highdicom: pip install 'pulmo[dicom-results]'") from error

    def write(
        self,
        source: str,
        path: Path,
        *,
        score: float,
        cut_off: float | None,
        decision: str,
        mask: npt.NDArray[np.uint8] | None = None,
        boxes: Sequence[Sequence[float]] = (),
    ) -> None:
        """Write the result on the DICOM file `source` to `path`, whole or not at all.

        `boxes` are xyxy with score in pixels of the file. Raises `NoResultError` for a source that is gone or no DICOM
        file, or lacks what ties a result to its study; `DataError` where `path` cannot be written.
        """

        def made(image: Any) -> bytes:
            if mask is not None:
                result = self._segmentation(image, mask)
            else:
                result = self._report(image, score, cut_off, decision, boxes)
            content = BytesIO()
            result.save_as(content)
            return content.getvalue()

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's and highdicom's about values that others wrote
            content = _accepted(made, _header(source))
        with whole(path) as part:
            part.write_bytes(content)

    def _segmentation(self, image: Any, mask: npt.NDArray[np.uint8]) -> Any:
        import highdicom as hd
        from highdicom.content import AlgorithmIdentificationSequence
        from highdicom.seg import Segmentation, SegmentDescription
        from pydicom.sr.codedict import codes
        from pydicom.sr.coding import Code

        if (
            "PixelSpacing" in image
        ):  # the image keeps it; a projection has no thickness, without which nobody reads it here
            del image.PixelSpacing
        category, kind = _codes(MASKS.get(self.target or "", OPACITY), Code)
        algorithm = AlgorithmIdentificationSequence(
            name="pulmo",
            family=codes.DCM.ArtificialIntelligence,
            version=self.version,
            parameters={"runs": self.algorithm.translate(str.maketrans(",=", ";:"))},  # its own separators
        )
        segment = SegmentDescription(
            segment_number=1,
            segment_label=kind.meaning,
            segmented_property_category=category,
            segmented_property_type=kind,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        return Segmentation(
            source_images=[image],
            pixel_array=mask[None],
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[segment],
            omit_empty_frames=False,  # a lung field without opacity is a result too
            series_description=f"pulmo: {kind.meaning}"[:64],
            **self._equipment(hd),
        )

    def _report(
        self, image: Any, score: float, cut_off: float | None, decision: str, boxes: Sequence[Sequence[float]]
    ) -> Any:
        import highdicom as hd
        from highdicom import sr
        from pydicom.sr.codedict import codes

        algorithm = sr.AlgorithmIdentification(name="pulmo", version=self.version, parameters=[self.algorithm])
        finding = sr.CodedConcept(_value(self.finding), PRIVATE, self.finding[:64])
        reference = sr.SourceImageForMeasurementGroup.from_source_image(image)
        whole_image = sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(hd.UID(), "whole image"),
            source_images=[reference],
            algorithm_id=algorithm,
            finding_type=finding,
            measurements=_measured(score, cut_off),
            qualitative_evaluations=[
                sr.QualitativeEvaluation(
                    sr.CodedConcept("decision", PRIVATE, "Decision"),
                    sr.CodedConcept(_value(decision), PRIVATE, decision[:64]),
                )
            ],
        )
        groups = [whole_image]
        for number, (x1, y1, x2, y2, surety) in enumerate(boxes, 1):
            corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]], float)
            corners = corners.clip(0, [image.Columns, image.Rows])
            region = sr.ImageRegion(
                sr.GraphicTypeValues.POLYLINE, corners, sr.SourceImageForRegion.from_source_image(image)
            )
            groups.append(
                sr.PlanarROIMeasurementsAndQualitativeEvaluations(
                    tracking_identifier=sr.TrackingIdentifier(hd.UID(), f"box {number}"),
                    referenced_region=region,
                    algorithm_id=algorithm,
                    finding_type=finding,
                    measurements=_measured(surety, cut_off),
                )
            )
        device = sr.ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(uid=hd.UID(), name="pulmo"),
        )
        content = sr.MeasurementReport(
            observation_context=sr.ObservationContext(observer_device_context=device),
            procedure_reported=sr.CodedConcept("399208008", "SCT", "Plain chest X-ray"),
            imaging_measurements=groups,
            title=codes.DCM.ImagingMeasurementReport,
        )
        return sr.ComprehensiveSR(
            evidence=[image],
            content=content[0],
            is_complete=True,
            is_final=False,
            is_verified=False,
            series_description=f"pulmo: {self.finding}"[:64],
            **self._equipment(hd),
        )

    def _equipment(self, hd: Any) -> dict[str, Any]:
        return {
            "series_instance_uid": hd.UID(),
            "series_number": 900,
            "sop_instance_uid": hd.UID(),
            "instance_number": 1,
            "manufacturer": "pulmo",
            "manufacturer_model_name": "pulmo",
            "software_versions": self.version,
            "device_serial_number": "none",
        }


def _header(source: str) -> Any:
    """The DICOM file without its pixels, its text decoded; raises `NoResultError` where it has no study."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        header = pydicom.dcmread(source, stop_before_pixels=True)
        header.decode()
        header.SpecificCharacterSet = "ISO_IR 192"  # UTF-8: of the others highdicom takes some; and for a class's name
    except InvalidDicomError as error:
        raise NoResultError(NO_DICOM_FILE) from error
    except (OSError, EOFError, *REFUSALS) as error:
        cause = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise NoResultError(f"its header cannot be read ({cause})") from error
    lacking = [name for name in NEEDED if not header.get(name)]
    if lacking:
        raise NoResultError(f"the file has no {', '.join(lacking)}")
    for name in OPTIONAL:  # highdicom asks for each, empty or not
        if name not in header:
            setattr(header, name, None)
    return header


def _accepted(made: Callable[[Any], bytes], header: Any) -> bytes:
    """What is made of the header; of `OPTIONAL` elements that highdicom refuses, such as a date that is none, without.

    Raises `NoResultError` where these are not the cause.
    """
    try:
        return made(header)
    except REFUSALS as error:
        refused = error
    given = {name: header.get(name) for name in OPTIONAL if header.get(name)}
    for name in given:
        setattr(header, name, None)
    try:
        content = made(header)
    except REFUSALS:
        raise NoResultError(f"{str(refused).partition(chr(10))[0]}") from refused
    for name, value in given.items():
        setattr(header, name, value)
        try:
            content = made(header)
        except REFUSALS:
            setattr(header, name, None)
    return content


def _measured(score: float, cut_off: float | None) -> list[Any]:
    from highdicom import sr
    from pydicom.sr.codedict import codes

    measured = [sr.Measurement(codes.DCM.CertaintyOfFinding, round(100 * score, 4), codes.UCUM.Percent)]
    if cut_off is not None:
        name = sr.CodedConcept("threshold", PRIVATE, "Decision threshold of the certainty")
        measured.append(sr.Measurement(name, round(100 * cut_off, 4), codes.UCUM.Percent))
    return measured


def _value(name: str) -> str:
    """A code; one of more than sixteen characters is DICOM's Long Code Value."""
    return "".join(part for part in name.title() if part.isalnum()) or "finding"


def _codes(names: tuple[str, ...], code: Any) -> tuple[Any, Any]:
    return code(*names[:3]), code(*names[3:])
