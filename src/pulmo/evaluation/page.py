"""The evaluation as a page of one file, for those who were not at the terminal."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from pulmo.evaluation import screen, tables
from pulmo.evaluation.evaluation import Evaluation
from pulmo.report.html import Block, Facts, Grid, Picture, Pictures, Section, Text, page
from pulmo.sheets.images import ImageSheet

POINTS = (
    "Cut-offs of policies are fitted on the run's validation, never on these images. PPV and NPV depend on how many "
    "are ill: at the share among these images, and at another where one was given, by Bayes' theorem."
)
SUBGROUPS = "Figures at the cut-off; of fewer than 10 images of a class none is given, for its interval says nothing."
INTERVALS = (
    "In parentheses: the 95 % percentile interval over resampled patients, each with all of their images (cluster "
    "bootstrap). A share of 0 or 1 has the exact interval of Clopper and Pearson, ECE that of the basic bootstrap. An "
    "AUROC of 1, which no resample changes, has none, nor has any of a single patient."
)


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
    named = tables.figure_tables(of)
    grids: list[Block] = [Grid(table, title if len(named) > 1 else "") for title, table in named.items()]
    sections = [Section("What was measured", [Facts(facts), *warned]), Section("Figures", [*grids, Text(INTERVALS)])]

    def shown(*names: str) -> Pictures:
        return Pictures([Picture.of(*figures[name]) for name in names if name in figures])

    if of.masks is not None or of.boxes is not None:
        blocks: list[Block] = [shown("dice", "dice_by_area", "froc")]
        if of.masks is not None and of.masks.groups:
            blocks.append(Grid(tables.mask_group_table(of.masks)))
        sections.append(Section("Masks and boxes", blocks))
    if of.images is not None:
        wide = [Picture.of(*figures[name]) for name in ("confusion",) if name in figures]
        sections += _of_images(of, [shown("roc", "precision_recall", "scores"), *wide], shown("reliability"))
        if of.images.subgroups:
            forests = [Picture.of(*figures[name]) for name in figures if name.startswith("subgroups_")]
            grid = Grid(tables.subgroup_table(of.images))
            sections.append(Section("Subgroups", [Text(SUBGROUPS), grid, *forests]))
    return page(f"Evaluation: {first}", rest[0], sections)


def _points(sheet: ImageSheet) -> list[Block]:
    """Two tables, a row each point: side by side they would be wider than a page."""
    table = tables.points_table(sheet).set_index("").T.rename_axis("").reset_index()
    rates = ["", "cut-off", "sensitivity", "specificity", "PPV", "NPV"]
    return [Grid(table[rates]), Grid(table[["", *(name for name in table.columns if name not in rates)]])]


def _of_images(of: Evaluation, curves: list[Block], reliability: Pictures) -> list[Section]:
    sheet = of.images
    if sheet is None:
        return []
    sections = []
    if sheet.operating_points:
        absent = tables.absent_points(sheet)
        said: list[Block] = [Text(f"Absent are {absent}.", "warning")] if absent else []
        sections.append(Section("Operating points", [Text(POINTS), *said, *_points(sheet), *curves]))
    else:
        sections.append(Section("Curves", curves))
    if reliability.pictures:
        blocks: list[Block] = [Text(screen.calibration_note(of)), Grid(tables.calibration_table(sheet)), reliability]
        sections.append(Section("Calibration", blocks))
    return sections
