"""`python -m benchmarks.augment_pictures FOLDER`: albumentations' draws above, those of whole batches below.

One drawn radiograph, its box filled as a mask (yellow) and around it (red), six draws, a file for each preset.
"""

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from pulmo.data.dataset import filled
from pulmo.data.reading import read_grey
from pulmo.launch import CONF
from pulmo.phantom.rsna import write_rsna
from pulmo.transforms.batch_augment import BatchAugment
from pulmo.transforms.preprocess import Preprocess

SIZE, DRAWS = 224, 6
Pixels = npt.NDArray[np.uint8]


def main(folder: Path) -> None:
    """Write `augment_PRESET.png` for each preset that does anything."""
    folder.mkdir(parents=True, exist_ok=True)
    image, boxes = _radiograph()
    mask = filled(boxes, SIZE)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for preset in sorted(path.stem for path in (CONF / "augment").glob("*.yaml") if path.stem != "none"):
            augment = instantiate(compose("train", [f"augment={preset}"]).augment, _convert_="all")
            above = [_shown(*augment(image, seed, [mask], boxes)) for seed in range(DRAWS)]
            made, (masks,), moved = BatchAugment(augment)(
                torch.from_numpy(image).expand(DRAWS, 1, -1, -1),
                np.arange(DRAWS),
                [torch.from_numpy(mask).expand(DRAWS, -1, -1)],
                [torch.from_numpy(boxes)] * DRAWS,
            )
            below = [_shown(made[k, 0].numpy(), [masks[k].numpy()], moved[k].numpy()) for k in range(DRAWS)]
            cv2.imwrite(str(folder / f"augment_{preset}.png"), np.vstack([np.hstack(above), np.hstack(below)]))


def _radiograph() -> tuple[Pixels, npt.NDArray[np.float32]]:
    with tempfile.TemporaryDirectory() as folder:
        write_rsna(Path(folder), images=8, size=512, monochrome1=0, uncompressed=0)
        row = pd.read_csv(Path(folder) / "stage_2_train_labels.csv").query("Target == 1").iloc[0]
        grey = read_grey(Path(folder) / "stage_2_train_images" / f"{row.patientId}.dcm").image
    image, geometry = Preprocess(size=SIZE)(grey)
    box = np.array([[row.x, row.y, row.x + row.width, row.y + row.height]], np.float32)
    return np.array(image), geometry.boxes(box)


def _shown(image: Pixels, masks: list[Pixels], boxes: npt.NDArray[np.float32]) -> Pixels:
    shown = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    contours, _ = cv2.findContours(masks[0], cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(shown, contours, -1, (0, 255, 255), 1)
    for x1, y1, x2, y2 in np.rint(boxes).astype(int):
        cv2.rectangle(shown, (x1, y1), (x2 - 1, y2 - 1), (0, 0, 255), 1)
    return np.asarray(shown, np.uint8)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/bench"))
