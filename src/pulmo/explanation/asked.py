"""What a user asks to be explained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pulmo.execution import keep_freed_memory
from pulmo.explanation.images import Images, of_paths, of_split
from pulmo.explanation.looking import Choice
from pulmo.finished import FinishedRun
from pulmo.run_data.selection import Wanted
from pulmo.tasks.base import Task


@dataclass(frozen=True)
class Asked:
    """Images, what is drawn of them, and where it goes.

    paths       files and folders; without any, the `split` of the run's data or of the data that `overrides` choose;
                None: "test", of another data set "all"
    choice      which of the images are drawn: `count` of the worst or best, the errors, all, or those of `image_ids`
    method, layer, predicted  how the heat is computed: see `HeatMaps`
    feature_maps  the maps of `layer` too
    lungs       folder of lung masks, or a run that draws them
    out         None: below the run's `explanations`
    """

    paths: Sequence[Path] = ()
    split: Wanted | None = None
    overrides: Sequence[str] = ()
    choice: Choice = "worst"
    count: int = 16
    image_ids: Sequence[str] = ()
    method: str = "gradcam"
    layer: str | None = None
    predicted: bool = False
    feature_maps: bool = False
    lungs: str | None = None
    out: Path | None = None
    resamples: int = 10_000

    def images(self, run: FinishedRun) -> Images:
        """The images; those of a split are indexed, none is read."""
        if self.paths:
            return of_paths(run, self.paths, self.lungs)
        return of_split(run, self.split, self.overrides, self.lungs)

    def folder(self, run: FinishedRun, what: str, images: Images) -> Path:
        """Where the results go: named by `what`, by the images where they are not of the run's own data, and by the
        checkpoint where it is not the best."""
        own = not self.paths and not any(override.startswith("data=") for override in self.overrides)
        of = images.name.rpartition(" ")[2] if own else images.name.replace(" ", "_")
        which = f"_{run.other_checkpoint}" if run.other_checkpoint else ""
        return self.out or run.folder / "explanations" / f"{what}_{of}{which}"


def on_device(task: Task) -> Task:
    """The task on the GPU where there is one; on a CPU laid out as it was trained, freed memory kept."""
    task.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if torch.cuda.is_available():
        return task.to("cuda")
    keep_freed_memory()
    return task
