"""`pulmo explain RUN --probe`: the shortcut probe's table, figures and page."""

from pathlib import Path

from pulmo.errors import DataError
from pulmo.explanation.asked import Asked, on_device
from pulmo.explanation.images import Images
from pulmo.explanation.probe import Probe, as_plain, probe, table_of
from pulmo.explanation.writing import Folder, told
from pulmo.finished import FinishedRun
from pulmo.report.html import Facts, Grid, Picture, Section, Text, TextKind
from pulmo.report.probing import occluded_aurocs, occlusion_examples
from pulmo.report.screen import grid, screen

KINDS: dict[str, TextKind] = {"told on": "warning", "cleared": "good"}
LIMITS = (
    "An interval without lungs that leaves 0.5 out, above it or below, proves that the network reads what is left. One "
    "that holds 0.5 does not prove that it never does: it was not trained on such images, and what shows only together "
    "with the lungs, such as their exposure, is not probed. Lung masks often leave consolidations out, which then are "
    "among the rest: the box around the lungs and the borders are the harder tests. The outline alone is a drawing of "
    "the masks' shape: it says what masks give away, not what the network reads in a whole film."
)


def probe_run(run: FinishedRun, asked: Asked) -> Path:
    """Probe all images of the split, tell what came out, and give the page."""
    images = asked.images(run)
    if images.preprocess.needs_mask and not images.lungs:
        raise DataError("the run was trained on images with lung masks: give --lungs=FOLDER")
    task = on_device(run.task)
    folder = Folder(asked.folder(run, "probe", images))
    probed = probe(task, images, asked.resamples)
    folder.csv("probe_scores.csv", probed.scores)
    folder.json("probe.json", {"run": run.name, "images": images.name, **as_plain(probed)})
    page = folder.page(f"Shortcut probe of {images.name}", run.said, _sections(run, images, probed, folder))
    screen().print(grid(table_of(probed), f"shortcut probe: {run.said} on {images.name}"))
    for said in probed.verdict:
        name = said.kind if said.kind in ("told on", "note") else "verdict"
        screen().print(f"{name}: {said.text}", markup=False, soft_wrap=True)
    return page


def _sections(run: FinishedRun, images: Images, probed: Probe, folder: Folder) -> list[Section]:
    rows, of_class = probed.rows, run.class_names[-1]
    names, blind = [row.occlusion.name for row in rows], [row.occlusion.blind for row in rows]
    curve = folder.figure("probe", occluded_aurocs(names, [row.auroc for row in rows], blind))
    labels = [run.class_names[label] for label in probed.labels_shown]
    shown = folder.figure("probe_examples", occlusion_examples(probed.examples, labels))
    verdict = [
        Text(f"{said.text[0].upper()}{said.text[1:]}.", KINDS.get(said.kind, "plain")) for said in probed.verdict
    ]
    what = " ".join(f"{row.occlusion.name.capitalize()}: {row.occlusion.shows}." for row in rows)
    caption = f"AUROC of {of_class} against the rest; 95 % intervals by patient, percentile bootstrap"
    return [
        Section("Verdict", verdict),
        Section(
            "The images again, with parts taken away",
            [
                Grid(table_of(probed), caption),
                Picture.of(curve, "AUROC of each occlusion. Squares: the lungs were taken away."),
                Picture.of(shown, "What the network was shown."),
                Text(
                    f"{what} What is taken away becomes one grey, the same in all images. Drop: AUROC of the whole "
                    "image less that of this one, on the same images."
                ),
                Text(LIMITS),
            ],
        ),
        Section("What was probed", [Facts({"run": run.name, "images": images.name, "class": of_class}), *told(images)]),
    ]
