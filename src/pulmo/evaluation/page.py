"""The evaluation as a page of one file, for those who were not at the terminal."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from pulmo.evaluation import screen
from pulmo.evaluation.evaluation import Evaluation
from pulmo.report import sheet_blocks
from pulmo.report.html import Block, Facts, Picture, Pictures, Section, Text, page


def page_of(of: Evaluation, figures: Mapping[str, tuple[Figure, str]]) -> str:
    """The whole page as text, pictures inside."""
    first, *rest = screen.headline(of)
    warned: list[Block] = [Text(line, "warning") for line in screen.warnings(of)]
    facts = {"run": of.facts["run"], "checkpoint": of.facts["checkpoint"]}
    facts |= {"data": f"{of.facts['data']} at {of.facts['root'] or 'an unknown place'}"}
    facts |= {"images": rest[0], "cut-off": of.cut.said, "scores": of.facts["predicted_by"]}
    if "told_apart" in of.facts:
        facts["not the run's own"] = of.facts["told_apart"]
    if of.facts["overrides"]:
        facts["overrides"] = " ".join(of.facts["overrides"])
    measured = sheet_blocks.figures(of.sheets, of.predicted.metrics, of.facts["resamples"])
    sections = [Section("What was measured", [Facts(facts), *warned]), Section("Figures", measured)]

    def shown(*names: str) -> list[Block]:
        found = [Picture.of(*figures[name]) for name in names if name in figures]
        return [Pictures(found)] if found else []

    def alone(*names: str) -> list[Block]:
        return [Picture.of(*figures[name]) for name in names if name in figures]

    blocks = [*shown("dice", "dice_by_area", "froc"), *sheet_blocks.masks_and_boxes(of.sheets)]
    sections += [Section("Masks and boxes", blocks)] if blocks else []
    images = of.sheets.images
    curves = [*shown("roc", "precision_recall", "scores"), *alone("confusion")]
    if images is not None and images.operating_points:
        of_validation = of.facts["own"] and of.facts["split"] == "val"
        points = sheet_blocks.operating_points(images, of_validation=of_validation)
        sections.append(Section("Operating points", [*points, *curves]))
    elif curves:
        sections.append(Section("Curves", curves))
    if of.sheets.probabilities is not None:
        sections.append(
            Section("Calibration", [*sheet_blocks.calibration(of.sheets.probabilities), *shown("reliability")])
        )
    if images is not None and images.subgroups:
        forests = alone(*(name for name in figures if name.startswith("subgroups_")))
        sections.append(Section("Subgroups", [*sheet_blocks.subgroups(images), *forests]))
    return page(f"Evaluation: {first}", rest[0], sections)
