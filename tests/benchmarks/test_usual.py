"""The rivals read what they are given, each as labels 0 or 1 and images of one shape."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.usual import (
    PydicomDataset,
    batches,
    image_folder,
    monai_cache,
    pydicom_loader,
    records,
    timm_loader,
    unpack,
)
from PIL import Image
from torch.utils.data import DataLoader

from pulmo.errors import MissingExtraError

GREYS = {"NORMAL": 40, "PNEUMONIA": 200}


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """Five images, flat and of unequal sizes: two dark normal ones, three bright ones with pneumonia."""
    for name, count in (("NORMAL", 2), ("PNEUMONIA", 3)):
        (tmp_path / name).mkdir()
        for k in range(count):
            Image.fromarray(np.full((40 + k, 50), GREYS[name], np.uint8)).save(tmp_path / name / f"{k}.png")
    return tmp_path


def test_image_folder__normalised_grey_and_label_of_each_image_once(class_folders: Path) -> None:
    seen = list(batches(image_folder(class_folders, size=32, batch_size=2, workers=0, train=False)))
    images, labels = torch.cat([images for images, _ in seen]), torch.cat([labels for _, labels in seen])
    assert images.shape == (5, 3, 32, 32)
    assert images.dtype == torch.float32
    assert labels.tolist() == [0, 0, 1, 1, 1]
    for image, label in zip(images, labels.tolist(), strict=True):
        grey = GREYS["PNEUMONIA" if label else "NORMAL"] / 255
        expected = (torch.tensor([grey] * 3) - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
            [0.229, 0.224, 0.225]
        )
        torch.testing.assert_close(image, expected[:, None, None].expand_as(image))


def test_image_folder__in_training_shuffled_by_torchs_seed_and_moved(class_folders: Path) -> None:
    def epoch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(seed)
        return next(batches(image_folder(class_folders, size=32, batch_size=5, workers=0)))

    images, labels = epoch(0)
    assert sorted(labels.tolist()) == [0, 0, 1, 1, 1]
    assert torch.equal(images, epoch(0)[0])
    assert len({tuple(epoch(seed)[1].tolist()) for seed in range(8)}) > 1
    assert images.flatten(1).std(dim=1).max() > 0.5  # flat images that were moved have a black border


def test_timm__drops_the_last_incomplete_batch_in_training(class_folders: Path) -> None:
    pytest.importorskip("timm", minversion="1.0.20")  # an older one cannot do without workers
    loader = timm_loader(class_folders, size=32, batch_size=2, workers=0)
    assert [tuple(images.shape) for images, _ in batches(loader)] == [(2, 3, 32, 32)] * 2


def test_pydicom__one_item_an_image_however_many_boxes(phantoms: Path) -> None:
    pytest.importorskip("PIL", minversion="11")  # an older one resizes no 16-bit image
    table = (phantoms / "rsna" / "stage_2_train_labels.csv").read_text().splitlines()[1:]
    target = {line.split(",")[0]: int(line.split(",")[-1]) for line in table}
    assert len(table) > len(target)  # some have several boxes
    folder, labels = phantoms / "rsna" / "stage_2_train_images", phantoms / "rsna" / "stage_2_train_labels.csv"
    assert dict(PydicomDataset(folder, labels, 32).table[["patientId", "Target"]].to_numpy()) == target
    loader = pydicom_loader(phantoms / "rsna", size=32, batch_size=8, workers=0)
    assert sum(map(len, (labels for _, labels in batches(loader)))) == len(target)


def test_records__of_both_layouts(class_folders: Path, phantoms: Path) -> None:
    assert [record["label"] for record in records(class_folders)] == [0, 0, 1, 1, 1]
    dicoms = records(phantoms / "rsna")
    assert all(Path(record["image"]).is_file() and record["label"] in (0, 1) for record in dicoms)
    assert len({record["image"] for record in dicoms}) == len(dicoms)


@pytest.mark.parametrize(
    "items",
    [
        [(torch.full((3, 4, 4), k), k % 2) for k in range(4)],
        [{"image": torch.full((1, 4, 4), k), "label": k % 2} for k in range(4)],
        [{"img": torch.full((1, 4, 4), k), "lab": np.float32([k % 2, k % 2]), "idx": k} for k in range(4)],
    ],
    ids=["pair", "monai", "torchxrayvision"],
)
def test_batches__one_shape_for_all(items: Any) -> None:
    (images, labels), (later, _) = batches(DataLoader(items, batch_size=2))
    assert images.shape == later.shape == (2, 3, 4, 4)
    assert images.dtype == torch.float32
    assert later[1].unique().tolist() == [3.0]
    assert labels.tolist() == [0, 1]


def test_unpack__gives_a_plain_tensor_of_a_subclass() -> None:
    class MetaTensor(torch.Tensor):
        def as_tensor(self) -> torch.Tensor:
            return self.as_subclass(torch.Tensor)

    images, _ = unpack({"image": torch.zeros(2, 1, 4, 4).as_subclass(MetaTensor), "label": torch.zeros(2)})
    assert type(images) is torch.Tensor


def test_monai__absent_names_the_command(class_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_monai(name: str, *rest: Any) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])

    monkeypatch.setattr("benchmarks.usual.import_module", without_monai)
    with pytest.raises(MissingExtraError, match=r"pip install monai=="):
        monai_cache(class_folders, size=32, batch_size=2, workers=0)
