"""What figures are called wherever people read them: on the screen, on pages and in drawings."""

TITLES = {
    "auroc": "AUROC",
    "brier": "Brier score",
    "ece": "expected calibration error",
    "ece_equal_mass": "expected calibration error, bins of equal size",
    "slope": "calibration slope (1 is right)",
    "in_the_large": "calibration in the large (0 is right)",
    "precision": "precision (PPV)",
    "npv": "NPV",
    "f1": "F1",
    "dice": "Dice",
    "dice_pooled": "Dice, pooled",
    "dice_with_empty": "Dice, images without a true mask too",
    "iou": "IoU",
    "iou_pooled": "IoU, pooled",
    "iou_with_empty": "IoU, images without a true mask too",
    "area_error": "predicted − true area, as share of the image",
    "rsna_score": "RSNA score",
    "froc_score": "FROC score",
    "box_precision": "box precision (PPV)",
    "map": "mAP at 0.5 to 0.95",
    "map_50": "mAP at 0.5",
    "map_75": "mAP at 0.75",
}
"""Figure, as metrics.json names it → its title; those that read well as they are lack."""


def title_of(figure: str) -> str:
    """The figure's name as people write it; of a class or a stage, `auroc/NAME`, that behind a comma."""
    name, slash, rest = figure.partition("/")
    return TITLES.get(name, name.replace("_", " ")) + (f", {rest}" if slash else "")
