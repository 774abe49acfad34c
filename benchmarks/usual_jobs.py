"""Measurements of the usual ways."""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.jobs import Figures, core_seconds, job, one_core, timed


@job
def step_usual(model: str, size: int, batch_size: int, steps: int) -> Figures:
    """A training step as torch comes: float32, NCHW, Adam, nothing said to the allocator."""
    import torch

    from benchmarks import training

    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"model={model}", "data.root=.", "trainer.precision=32-true", "model.optimizer.fused=null"]
        config = training.compose([*overrides, f"model.input.size={size}"], Path(folder))
        task = training.task_of(config)
        batch = training.random_batch(task, size, batch_size)
        if torch.cuda.is_available():
            task.cuda()
        train, forward = training.ceilings(task, config, batch, steps)
    return {"train": train, "forward": forward}


@job
def decode_usual(root: str, size: int, count: int) -> Figures:
    """DICOMs to pixels by pydicom's `pixel_array` and `cv2.resize`: images in a second of one core's time."""
    import cv2
    import pydicom

    one_core()
    files = sorted(Path(root).rglob("*.dcm"))[:count]
    pydicom.dcmread(files[0]).pixel_array  # noqa: B018 (its decoders are imported at the first use)
    began = core_seconds()
    for file in files:
        cv2.resize(pydicom.dcmread(file).pixel_array, (size, size))
    return {"rate": len(files) / (core_seconds() - began)}


@job
def epoch_usual(way: str, root: str, size: int, batch_size: int, workers: int, extra: dict[str, Any]) -> Figures:
    """Two epochs of ResNet-18 by Lightning's defaults on a usual loader: seconds of the first and of the second."""
    from benchmarks import training, usual

    settings: dict[str, Any] = {"size": size, "batch_size": batch_size, "workers": workers}
    with tempfile.TemporaryDirectory() as folder:
        makers: dict[str, Callable[[], Any]] = {
            "image_folder": lambda: usual.image_folder(root, **settings),
            "timm": lambda: usual.timm_loader(root, **settings),
            "pydicom": lambda: usual.pydicom_loader(root, **settings),
            "monai_persistent": lambda: usual.monai_persistent(root, f"{folder}/monai", **settings),
            "monai_cache": lambda: usual.monai_cache(root, **settings),
            "xrv": lambda: usual.xrv_rsna(root, engine=extra.get("engine", "cv2"), scratch=f"{folder}/xrv", **settings),
        }
        if way.startswith("monai"):
            import monai  # noqa: F401 (seconds that are not the loader's)
        began = time.perf_counter()
        loader = makers[way]()
        filled = time.perf_counter() - began
        clock = training.EpochClock()
        usual.fit_usual(loader, None, 2, folder=folder, callbacks=[clock])
        images = len(loader.dataset)
    first, second = (later - earlier for earlier, later in zip(clock.marks, clock.marks[1:], strict=False))
    return {"first": filled + first, "second": second, "images": images, "rate": images / second}


@job
def predict_usual(root: str, size: int, count: int, model: str) -> Figures:
    """Scores of a folder of DICOMs by the plain loop: pydicom, resize, one image at a time, float32."""
    import cv2
    import pydicom
    import torch

    from benchmarks import training

    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"model={model}", "data.root=.", f"model.input.size={size}"]
        task = training.task_of(training.compose(overrides, Path(folder))).eval()
    files = sorted(Path(root).rglob("*.dcm"))[:count]
    began = time.perf_counter()
    with torch.no_grad():
        for file in files:
            image = cv2.resize(pydicom.dcmread(file).pixel_array, (size, size))
            task(torch.from_numpy(image)[None, None]).sigmoid()
    return {"rate": len(files) / (time.perf_counter() - began)}


@job
def detector_usual(size: int, batch_size: int, steps: int) -> Figures:
    """torchvision's Mask R-CNN in a plain loop, as its tutorial has it: float images, a mask for each box."""
    import torch
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=2, min_size=size, max_size=size).to(
        device
    )
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    images = [torch.rand(3, size, size, device=device) for _ in range(batch_size)]
    box = torch.tensor([[0.2, 0.2, 0.5, 0.6]], device=device) * size
    mask = torch.zeros((1, size, size), dtype=torch.uint8, device=device)
    mask[:, size // 5 : size // 2 + size // 10, size // 5 : size // 2] = 1
    target = {"boxes": box, "labels": torch.ones(1, dtype=torch.int64, device=device), "masks": mask}

    from benchmarks.training import seconds_of

    def step() -> None:
        losses = net(images, [dict(target) for _ in images])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()

    return {"rate": batch_size / seconds_of(step, steps, device)}


@job
def imports(modules: list[str]) -> Figures:
    """Seconds from a new interpreter to these modules."""
    code = "import " + ", ".join(modules)
    return {"seconds": timed([sys.executable, "-c", code])}
