"""What a command line of `pulmo predict` asks for, and what comes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pulmo.errors import ConfigError, DataError
from pulmo.prediction.paths import nothing_there
from pulmo.prediction.table import refuse_what_is_there


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a command line of `pulmo predict` asks for.

    runs        the first one's kind is everyone's; several are an ensemble
    paths       see `paths.images_in`; `listed` is a file of them
    out         the table, csv or parquet; what else there is lies beside it
    resume      go on with `out`; `retry`: and try those again whose row is an error or lacks its DICOM result
    threshold   in place of the runs' own: a score, or a policy that is fitted on their validation, such as youden
    tta         four views of each image, see `views`
    masks       folder for drawn masks; None: beside the table. `dicom`: folder for DICOM results; None: none
    masks_from  folder of lung masks; `lungs`: a run that draws them
    batch_size  images that the network sees at once; None: 4 for boxes, else 16, and 64 on a GPU
    workers     processes that decode; None: as many as pay; 0: this one, which a decoder that aborts takes along
    seconds     that a process may be at a file; then that is the file's error
    device      "auto" is the GPU where there is one
    precision   "bf16", "32", or "auto": each run's own where the device has instructions for it, and so its scores
                are those that it gave itself; 32 for detectors, whose boxes torchvision would round to 2 pixels of 512,
                and for lungs, as they were drawn for training
    """

    runs: Sequence[str]
    paths: Sequence[str]
    out: Path
    listed: str | None = None
    resume: bool = False
    retry: bool = False
    threshold: str | None = None
    tta: bool = False
    masks: Path | None = None
    dicom: Path | None = None
    dicom_ids: bool = False
    masks_from: Path | None = None
    lungs: str | None = None
    batch_size: int | None = None
    workers: int | None = None
    seconds: float = 120.0
    device: str = "auto"
    precision: str = "auto"

    def check(self) -> None:
        """Raise `PulmoError` for what can be known to be wrong before torch is loaded."""
        if not self.paths and self.listed is None:
            raise ConfigError("give images, folders or patterns, or --list FILE")
        if self.listed is None and (wrong := nothing_there(self.paths)):
            raise DataError(wrong)
        if self.retry and not self.resume:
            raise ConfigError("--retry goes on with a table: give --resume too")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"--device {self.device}: auto, cpu or cuda")
        if self.precision not in ("auto", "32", "bf16"):
            raise ConfigError(f"--precision {self.precision}: auto, 32 or bf16")
        least = ((self.batch_size, 1), (self.workers, 0), (self.seconds, 1e-3))
        if any(number is not None and number < low for number, low in least):
            raise ConfigError("--batch-size is at least 1, --workers at least 0, --seconds above 0")
        refuse_what_is_there(self.out, resume=self.resume)


@dataclass(frozen=True)
class CutOff:
    """Score from which something counts as positive, None among several classes; and where it comes from."""

    value: float | None
    source: str


@dataclass
class Outcome:
    """What a job has done.

    images     with a row; of these `errors` have no score
    lacking    why images that have their score have no DICOM result → how many
    before     rows that were there
    runs       what the runs are called
    passed     files of folders that are no images, by name or content
    phantoms   a run was trained on drawn phantoms
    failed     the first errors, path and cause
    """

    cut_off: CutOff
    runs: tuple[str, ...] = ()
    images: int = 0
    passed: int = 0
    errors: int = 0
    phantoms: bool = False
    before: int = 0
    seconds: float = 0.0
    files: tuple[Path, ...] = ()
    failed: list[str] = field(default_factory=list)
    lacking: dict[str, int] = field(default_factory=dict)
