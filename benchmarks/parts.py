"""What is measured beside what, and which ratio is aimed at."""

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.jobs import Figures, run_job

Part = dict[str, Any]
# Network → batch and batches an epoch on a CPU, of a minute or more, so that what is paid once an epoch weighs as it
# does in a real one: checkpoints of 1.6 GB (VGG16) after half a minute would be no user's case.
NETWORKS = {
    "resnet18": (32, 100),
    "resnet50": (32, 45),
    "vgg16": (16, 40),
    "mobilenet_v2": (32, 100),
    "unet_resnet50": (16, 50),
}
GPU = torch.cuda.is_available()


def training(asked: argparse.Namespace) -> list[Part]:
    """Whole epochs against the network alone, and the network against the usual way's."""
    with tempfile.TemporaryDirectory() as folder:
        boxes = repeated(asked.rsna, Path(folder) / "rsna", 2000)
        data = {True: ["data=rsna", f"data.root={boxes}", "data.target=opacity", f"data.cache_dir={folder}/cache"]}
        data[False] = ["data=kermany", f"data.root={asked.kermany}"]
        return _training([name for name in asked.networks.split(",") if name], data)


def _training(networks: list[str], data: dict[bool, list[str]]) -> list[Part]:
    """The two tables of `training`, where `data` has the overrides of each data set, True for masks."""
    steps = 20 if GPU else 5
    ceilings, shares = [], []
    for name in networks:
        batch, batches = (256, None) if GPU else NETWORKS.get(name, (16, 20))
        usual = run_job("step_usual", model=name, size=224, batch_size=32 if GPU else batch, steps=steps)
        overrides = [f"model={name}", f"data.batch_size={batch}", "model.input.size=224", "trainer.max_epochs=3"]
        overrides += data[name.startswith("un")]
        short = [f"trainer.limit_train_batches={batches}", "trainer.limit_val_batches=4"]
        overrides += ["strategy=gpu", "strategy.compile=true"] if GPU else short
        overrides.append("callbacks.progress_bar=null")
        ours = run_job("epochs_ours", overrides=overrides, steps=steps)
        base = usual.get("train")
        ceilings += [
            _row(f"{name}, as torch comes", base, baseline=True),
            _row(f"pulmo: {name}", ours.get("train"), base, aim=None if GPU else 2.0),
        ]
        shares += [
            _row(f"{name} alone", ours.get("ceiling"), baseline=True),
            _row(f"pulmo: epochs of {name}", ours.get("rate"), ours.get("ceiling"), aim=0.95 if GPU else 0.97),
        ]
    return [
        _part("Training step of the network alone", "images/s", ceilings, "224 pixels; Adam; the same batch each step"),
        _part(
            "Whole epochs",
            "images/s",
            shares,
            "data, augment=light, metrics, logging, validation, checkpoints; the first epoch aside. The network alone: "
            "its training steps and evaluating forwards on the same numbers of images, in the same process",
        ),
    ]


def cold(asked: argparse.Namespace) -> list[Part]:
    """From DICOM files to the cache."""
    count = 4000
    with tempfile.TemporaryDirectory() as folder:
        root = str(repeated(asked.rsna, Path(folder) / "rsna", count))
        usual = run_job("decode_usual", root=root, size=224, count=500).get("rate")
        rows = [_row("pydicom.pixel_array and cv2.resize", usual, baseline=True)]
        ways: tuple[tuple[int, list[str], str], ...] = (
            (224, [], "to 224"),
            (512, [], "to 512"),
            (224, ["preprocess=clahe"], "to 224 with CLAHE, full scale"),
        )
        walls = []
        for size, extra, name in ways:
            found = {
                alone: run_job("cache_ours", root=root, size=size, extra=extra, alone=alone) for alone in (True, False)
            }
            aim = 5.0 if name == "to 224" else None
            rows.append(_row(f"pulmo: {name}", found[True].get("core_rate"), usual, aim=aim))
            walls.append(_row(f"pulmo: {name}", found[False].get("rate")))
    note = f"{count} links to files of {asked.rsna.name}; for pulmo index, reading, preprocess, hash and writing"
    return [
        _part("Cold start: DICOM to cache", "images in a second of one core", rows, note),
        _part(f"Cold start, {os.cpu_count()} cores", "images/s", walls, note),
    ]


def start(asked: argparse.Namespace) -> list[Part]:
    """From the command to work."""
    overrides = ["data=kermany", f"data.root={asked.kermany}", "model=resnet18", "data.batch_size=2"]
    run_job("first_step", overrides=overrides)  # fills the cache
    libraries = ["torch", "torchvision", "pytorch_lightning"]
    pairs = [
        (run_job("imports", modules=libraries)["seconds"], run_job("first_step", overrides=overrides).get("seconds"))
        for _ in range(3)
    ]
    base, ours = min(pair[0] for pair in pairs), min(pair[1] or float("nan") for pair in pairs)
    help_seconds = min(run_job("command", arguments=["--help"]).get("seconds", float("nan")) for _ in range(3))
    rows = [
        _row("import torch, torchvision, pytorch_lightning", base, baseline=True),
        _row("pulmo: train.py to the end of its first step, warm", ours, base, aim=1 / 1.3, lower=True),
    ]
    note = "best of three; the step is of two images"
    return [
        _part("Warm start", "s", rows, note, better="lower"),
        _part("Help", "s", [_row("pulmo --help", help_seconds, aim=0.3)], "best of three", better="lower"),
    ]


def against(asked: argparse.Namespace) -> list[Part]:
    """The same job, two epochs of ResNet-18, as people write it today."""
    python = {"python": asked.python} if asked.python else {}
    workers = 1 if not GPU else 8
    settings: dict[str, Any] = {"size": 224, "batch_size": 32, "workers": workers, "extra": {}}
    with tempfile.TemporaryDirectory() as folder:
        classes = _classes(asked.kermany, Path(folder) / "kermany", 320)
        rsna = repeated(asked.rsna, Path(folder) / "rsna", 320)
        parts = []
        for title, root, ways, overrides in (
            ("Kermany, ResNet-18", classes, ("image_folder", "timm", "monai_cache", "monai_persistent"), "folder"),
            ("RSNA, ResNet-18", rsna, ("pydicom", "monai_cache", "monai_persistent", "xrv"), "rsna"),
        ):
            found = {way: run_job("epoch_usual", way=way, root=str(root), **settings, **python) for way in ways}
            places = [f"data={overrides}", f"data.root={root}", f"data.cache_dir={folder}/cache_{overrides}"]
            places += ["data.val_fraction=0.02", "data.test_fraction=0.02"]
            ours = run_job("first_and_second", overrides=[*places, "model=resnet18", "trainer.max_epochs=2"])
            for which, label in (("first", "first epoch, from files"), ("second", "second epoch")):
                rates = {way: _rate(figures, which) for way, figures in found.items()}
                base = next(iter(rates.values()))
                rows = [_row(way, rate, base, baseline=way == ways[0]) for way, rate in rates.items()]
                best = max((rate for rate in rates.values() if rate), default=None)
                aim = best / base if best and base else None
                rows.append(_row("pulmo", _rate(ours, which), base, aim=aim))
                note = "320 images at 224 pixels, batch 32; the aim is the best of the others"
                parts.append(_part(f"{title}: {label}", "images/s", rows, note))
    return parts


def prediction(asked: argparse.Namespace) -> list[Part]:
    """From a folder of DICOMs to scores."""
    with tempfile.TemporaryDirectory() as folder:
        root = repeated(asked.rsna, Path(folder) / "rsna", 400)
        usual = run_job("predict_usual", root=str(root), size=224, count=200, model="resnet18").get("rate")
        overrides = ["data=rsna", f"data.root={root}", "model=resnet18", f"data.cache_dir={folder}/cache"]
        images = str(root / "stage_2_train_images")
        ours = run_job("predict_ours", overrides=overrides, root=images).get("rate")
        single = run_job("predict_ours", overrides=overrides, root=images, batch_size=1).get("rate")
    rows = [
        _row("plain loop, an image at a time", usual, baseline=True),
        _row("pulmo predict", ours, usual, aim=3.0),
        _row("pulmo predict, an image at a time", single, usual),
    ]
    return [
        _part(
            "Prediction of DICOMs",
            "images/s",
            rows,
            "ResNet-18, 224 pixels; 400 files for pulmo, half as many for the loop",
        )
    ]


def detection(asked: argparse.Namespace) -> list[Part]:
    """A training step of Mask R-CNN."""
    parts = []
    for size, batch in ((512, 16), (1024, 8)) if GPU else ((256, 4),):
        usual = run_job("detector_usual", size=size, batch_size=batch, steps=4).get("rate")
        rows = [_row("torchvision's, in a plain loop", usual, baseline=True)]
        for name, extra in (("", []), (", float32", ["trainer.precision=32-true"])):
            ours = run_job("detector_ours", size=size, batch_size=batch, steps=4, extra=extra).get("rate")
            rows.append(_row(f"pulmo: mask_rcnn{name}", ours, usual, aim=None if name else 3.0))
        note = "one box an image; training steps on a batch that lies ready"
        parts.append(_part(f"Mask R-CNN, {size} pixels, batch {batch}", "images/s", rows, note))
    return parts


def growth(asked: argparse.Namespace) -> list[Part]:
    """Seconds at more and more images, and the exponent: 1 is linear."""
    parts, memory = [], []
    for what in ("index", "cache", "epoch", "prediction"):
        rows, before = [], None
        for count in (1_000, 10_000, 100_000):
            with tempfile.TemporaryDirectory() as folder:
                root = repeated(asked.rsna, Path(folder) / "rsna", count)
                found = run_job("growth", what=what, root=str(root))
            seconds = found.get("seconds")
            if "megabytes" in found:
                memory.append(_row(f"{count:,} images", found["megabytes"]))
            exponent = None
            if before and seconds:
                exponent = torch.tensor(seconds / before).log10().item()
            rows.append(_row(f"{count:,} images" + (f", exponent {exponent:.2f}" if exponent else ""), seconds))
            before = seconds
        parts.append(_part(f"Growth: {what}", "s", rows, "32 pixels, a small network", better="lower"))
    parts.append(_part("Growth: memory of prediction", "MB", memory, "the first process", better="lower"))
    return parts


def repeated(rsna: Path, root: Path, count: int) -> Path:
    """An RSNA folder of `count` images: links to the files of another, under new names, half of them positive."""
    (images := root / "stage_2_train_images").mkdir(parents=True)
    (root / "stage_2_test_images").mkdir()
    files = sorted((rsna / "stage_2_train_images").glob("*.dcm"))
    lines = ["patientId,x,y,width,height,Target"]
    for number in range(count):
        os.symlink(files[number % len(files)].resolve(), images / f"i{number:06d}.dcm")
        lines.append(f"i{number:06d}," + ("100,100,200,200,1" if number % 2 else ",,,,0"))
    (root / "stage_2_train_labels.csv").write_text("\n".join(lines) + "\n")
    return root


def _classes(kermany: Path, root: Path, count: int) -> Path:
    """The first images of each class of Kermany's training folder."""
    for name in ("NORMAL", "PNEUMONIA"):
        (root / name).mkdir(parents=True)
        for file in sorted((kermany / "train" / name).iterdir())[: count // 2]:
            shutil.copy(file, root / name)
    return root


def _rate(figures: Figures, which: str) -> float | None:
    return figures["images"] / figures[which] if which in figures else None


def _row(
    name: str,
    value: float | None,
    base: float | None = None,
    *,
    baseline: bool = False,
    aim: float | None = None,
    lower: bool = False,
) -> Part:
    ratio = None
    if base and value and not baseline:
        ratio = base / value if lower else value / base
    return {"name": name, "value": value, "baseline": baseline, "ratio": ratio, "aim": aim}


def _part(title: str, unit: str, rows: list[Part], note: str, better: str = "higher") -> Part:
    return {"title": title, "note": note, "unit": unit, "better": better, "rows": rows}


PARTS: dict[str, Callable[[argparse.Namespace], list[Part]]] = {
    part.__name__: part for part in (start, cold, training, detection, prediction, against, growth)
}
