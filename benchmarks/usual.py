"""The same jobs as people write them today, to be timed beside pulmo; each as its users would write it, none crippled.

Workers persist, and the augmentation is as strong as `conf/augment/light.yaml`, except timm's, which is its own. With
`train=False` no loader shuffles or augments. Each has its own greys: validate with the loader that trained.
"""

import math
from collections.abc import Iterator, Sequence
from importlib import import_module
from operator import methodcaller
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pandas as pd
import pydicom
import pytorch_lightning as pl
import timm.data
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import BinaryAUROC
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

from pulmo.errors import DataError, MissingExtraError

Where = Path | str
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DEGREES, SHIFT, SCALE, EXPOSURE = 7.0, 0.05, 0.05, 0.1  # as conf/augment/light.yaml
PINS = {"monai": "monai==1.6.1", "torchxrayvision": "torchxrayvision==1.5.7"}  # with requirements.lock


def image_folder(
    root: Where, *, size: int, batch_size: int, workers: int, train: bool = True
) -> "DataLoader[tuple[Tensor, Tensor]]":
    """A loader of a folder of class folders by torchvision's ImageFolder and its transforms on PIL images."""
    return _loader(ImageFolder(str(root), _on_pil(size, train)), batch_size, workers, train)


class PydicomDataset(Dataset[tuple[Tensor, int]]):
    """RSNA's DICOMs decoded by pydicom at each access and resized by PIL, as in most notebooks of the challenge.

    `folder` holds `<patientId>.dcm`; `labels_csv` has `patientId` and `Target`, a row for each box. Items are the
    (3, size, size) float32 image, normalised as for ImageNet, and 0 or 1.
    """

    def __init__(self, folder: Where, labels_csv: Where, size: int, train: bool = True) -> None:
        self.folder = Path(folder)
        self.table = _one_row_an_image(Path(labels_csv))
        self.transform = _on_pil(size, train)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        row = self.table.iloc[index]
        pixels = pydicom.dcmread(self.folder / f"{row['patientId']}.dcm").pixel_array
        return self.transform(Image.fromarray(pixels)), int(row["Target"])


def pydicom_loader(
    root: Where, *, size: int, batch_size: int, workers: int, labels_csv: Where | None = None, train: bool = True
) -> "DataLoader[tuple[Tensor, Tensor]]":
    """A loader of `PydicomDataset` on the challenge's folder; `labels_csv` may name a part of its images."""
    labels = Path(labels_csv) if labels_csv else Path(root) / "stage_2_train_labels.csv"
    dataset = PydicomDataset(Path(root) / "stage_2_train_images", labels, size, train)
    return _loader(dataset, batch_size, workers, train)


def monai_persistent(
    root: Where, cache: Where, *, size: int, batch_size: int, workers: int, train: bool = True
) -> "DataLoader[dict[str, Any]]":
    """A loader of MONAI's PersistentDataset: the first epoch writes each resized image to `cache`, later ones read it.

    `root` is a folder of class folders (JPEG, PNG) or the challenge's folder (DICOM). The key of a cached file is the
    image's path: another `size` needs another `cache`.
    """
    data = _need("monai.data")
    dataset = data.PersistentDataset(records(root), _monai_transform(root, size, train), cache_dir=str(cache))
    return _loader(dataset, batch_size, workers, train, data.DataLoader)


def monai_cache(
    root: Where, *, size: int, batch_size: int, workers: int, train: bool = True
) -> "DataLoader[dict[str, Any]]":
    """A loader of MONAI's CacheDataset, which has read and resized every image into memory when this returns.

    `root` as for `monai_persistent`; an image takes 4 · size² bytes. `workers` threads fill the memory, and as many
    processes load from it.
    """
    data = _need("monai.data")
    transform = _monai_transform(root, size, train)
    dataset = data.CacheDataset(records(root), transform, num_workers=max(workers, 1), progress=False)
    return _loader(dataset, batch_size, workers, train, data.DataLoader)


def xrv_rsna(
    root: Where,
    *,
    size: int,
    batch_size: int,
    workers: int,
    engine: Literal["skimage", "cv2"] = "skimage",
    scratch: Where | None = None,
    train: bool = True,
) -> "DataLoader[dict[str, Any]]":
    """A loader of torchxrayvision's RSNA_Pneumonia_Dataset on the challenge's folder of DICOMs.

    Crop and resize as in its README, RandomAffine as its `data_aug`. `engine` is what XRayResizer resizes with: its
    default is scikit-image, OpenCV is faster. The dataset keeps only images whose view it knows, from a table of all
    26,684 headers in the package; for images that are not of the challenge, such as phantoms, give a `scratch` folder:
    a table of their own headers is written there and used instead. Both of frontal views, PA and AP, are kept.
    """
    xrv = _need("torchxrayvision").datasets
    images = Path(root) / "stage_2_train_images"
    headers = {"dicomcsvpath": str(_write_headers(images, Path(scratch)))} if scratch else {}
    affine = T.RandomAffine(DEGREES, translate=(SHIFT, SHIFT), scale=(1 - SCALE, 1 + SCALE))
    dataset = xrv.RSNA_Pneumonia_Dataset(
        imgpath=str(images),
        csvpath=str(Path(root) / "stage_2_train_labels.csv"),
        views=["PA", "AP"],
        transform=T.Compose([xrv.XRayCenterCrop(), xrv.XRayResizer(size, engine=engine)]),
        data_aug=T.Compose([xrv.ToPILImage(), affine, T.ToTensor()]) if train else None,
        extension=".dcm",
        **headers,
    )
    if not len(dataset):
        raise DataError(f"torchxrayvision knows the view of no image in {images}: give xrv_rsna a scratch folder")
    return _loader(dataset, batch_size, workers, train)


def timm_loader(
    root: Where, *, size: int, batch_size: int, workers: int, train: bool = True
) -> "DataLoader[tuple[Tensor, Tensor]]":
    """A loader of a folder of class folders by timm, with timm's own training transforms and its prefetcher off.

    RandomResizedCrop, horizontal flip and ColorJitter 0.4 are timm's defaults. In training it drops the last,
    incomplete batch; otherwise it crops the centre.
    """
    dataset = timm.data.create_dataset("", root=str(root), search_split=False, is_training=train)
    loader: DataLoader[tuple[Tensor, Tensor]] = timm.data.create_loader(
        dataset,
        input_size=(3, size, size),
        batch_size=batch_size,
        is_training=train,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        device=torch.device("cpu"),
        use_prefetcher=False,
    )
    return loader


def batches(loader: "DataLoader[Any]") -> Iterator[tuple[Tensor, Tensor]]:
    """Go once through any loader of this file: images (B, 3, S, S) float32 in its own scale, labels (B,)."""
    for batch in loader:
        yield unpack(batch)


def unpack(batch: Any) -> tuple[Tensor, Tensor]:
    """Give the images (B, 3, S, S) float32 and labels (B,) of a pair, of MONAI's dict or of torchxrayvision's."""
    if isinstance(batch, dict):
        images, labels = (batch["image"], batch["label"]) if "image" in batch else (batch["img"], batch["lab"][:, 0])
    else:
        images, labels = batch
    if hasattr(images, "as_tensor"):
        images = images.as_tensor()  # MONAI's MetaTensor
    return images.float().expand(-1, 3, -1, -1), labels  # one grey channel is shown three times, without a copy


class LightningClassifier(pl.LightningModule):
    """The LightningModule that most tutorials arrive at: torchvision's ResNet-18, one logit, Adam.

    Logs `train_loss` of steps and epochs, `val_loss` and `val_auroc`; takes the batches of any loader of this file.
    """

    def __init__(self, lr: float = 1e-4, weights: str | None = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torchvision.models.resnet18(weights=weights)
        self.net.fc = nn.Linear(self.net.fc.in_features, 1)
        self.loss = nn.BCEWithLogitsLoss()
        self.val_auroc = BinaryAUROC()

    def forward(self, images: Tensor) -> Tensor:
        """Give logits (B,) of images (B, 3, S, S)."""
        logits: Tensor = self.net(images)
        return logits.squeeze(1)

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """Give the loss of a batch."""
        images, labels = unpack(batch)
        loss: Tensor = self.loss(self(images), labels.float())
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True, batch_size=len(labels))
        return loss

    def validation_step(self, batch: Any, batch_index: int) -> None:
        """Add a batch to the loss and AUROC of the epoch."""
        images, labels = unpack(batch)
        logits = self(images)
        self.val_auroc.update(logits, labels.int())
        figures = {"val_loss": self.loss(logits, labels.float()), "val_auroc": self.val_auroc}
        self.log_dict(figures, prog_bar=True, batch_size=len(labels))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Give Adam over all parameters."""
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])


def fit_usual(
    train_loader: "DataLoader[Any]",
    val_loader: "DataLoader[Any] | None",
    epochs: int,
    *,
    folder: Where = ".",
    model: pl.LightningModule | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> pl.Trainer:
    """Fit with Lightning's defaults: progress bar, logger and a checkpoint an epoch, below `folder`/lightning_logs.

    The trainer that is given back holds the last figures in `callback_metrics` and the network in `model`.
    """
    trainer = pl.Trainer(max_epochs=epochs, default_root_dir=str(folder), callbacks=list(callbacks))
    trainer.fit(model or LightningClassifier(), train_loader, val_loader)
    return trainer


def records(root: Where) -> list[dict[str, Any]]:
    """List the images of a folder as MONAI wants them: dicts of `image`, a path, and `label`, 0 or 1.

    `root` is the challenge's folder, or one of class folders, which are numbered in the order of their names.
    """
    root = Path(root)
    if (root / "stage_2_train_labels.csv").exists():
        table = _one_row_an_image(root / "stage_2_train_labels.csv")
        files = [str(root / "stage_2_train_images" / f"{image_id}.dcm") for image_id in table["patientId"]]
        labels = table["Target"].tolist()
    else:
        files, labels = map(list, zip(*ImageFolder(str(root)).samples, strict=True))
    return [{"image": file, "label": int(label)} for file, label in zip(files, labels, strict=True)]


def _on_pil(size: int, train: bool) -> T.Compose:
    random = [
        T.RandomAffine(DEGREES, translate=(SHIFT, SHIFT), scale=(1 - SCALE, 1 + SCALE)),
        T.ColorJitter(brightness=EXPOSURE, contrast=EXPOSURE),
    ]
    before = [T.Resize((size, size)), T.Grayscale(3)]  # in this order a DICOM is resized in one channel
    return T.Compose([*before, *(random if train else []), T.ToTensor(), T.Normalize(IMAGENET_MEAN, IMAGENET_STD)])


def _loader(dataset: Any, batch_size: int, workers: int, shuffle: bool, cls: type = DataLoader) -> "DataLoader[Any]":
    speed = {"persistent_workers": workers > 0, "pin_memory": torch.cuda.is_available()}
    loader: DataLoader[Any] = cls(dataset, batch_size=batch_size, shuffle=shuffle, num_workers=workers, **speed)
    return loader


def _monai_transform(root: Where, size: int, train: bool) -> Any:
    m = _need("monai.transforms")
    dicom = (Path(root) / "stage_2_train_labels.csv").exists()
    grey = {"converter": methodcaller("convert", "L")}
    reader = {"reader": "PydicomReader"} if dicom else {"reader": "PILReader", **grey}
    fixed = [
        m.LoadImaged("image", **reader),
        m.EnsureChannelFirstd("image"),
        m.ScaleIntensityd("image"),
        m.Resized("image", (size, size)),
    ]
    shift, scale = (SHIFT * size,) * 2, (SCALE,) * 2  # for each axis: of one number, only the first would move
    ranges = {"rotate_range": math.radians(DEGREES), "translate_range": shift, "scale_range": scale}
    random = [
        m.RandAffined("image", prob=0.8, padding_mode="zeros", **ranges),
        m.RandAdjustContrastd("image", prob=0.5, gamma=(1 - EXPOSURE, 1 + EXPOSURE)),
    ]
    return m.Compose(fixed + random if train else fixed)


def _one_row_an_image(labels_csv: Path) -> pd.DataFrame:
    return pd.read_csv(labels_csv).drop_duplicates("patientId").reset_index(drop=True)


def _write_headers(images: Path, folder: Path) -> Path:
    headers = {path.stem: pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(images.glob("*.dcm"))}
    rows = [(image_id, header.get("ViewPosition", "PA")) for image_id, header in headers.items()]
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=["PatientID", "ViewPosition"]).to_csv(folder / "dicom_headers.csv", index=False)
    return folder / "dicom_headers.csv"


def _need(module: str) -> ModuleType:
    package = module.split(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:  # there, but broken: that is another message
            raise
        raise MissingExtraError(f"{package} is not installed: pip install {PINS[package]}") from error
