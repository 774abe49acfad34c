"""A split in the device's memory gives what worker processes give; here the device is the CPU."""

import logging
from collections.abc import Callable

import albumentations as A
import pytest
import torch
from tests.unit.data.loading import ready

from pulmo.data import loaders, resident
from pulmo.data.folder import Folder
from pulmo.data.rsna import RSNA
from pulmo.errors import ConfigError
from pulmo.transforms.augment import Augment

MOVING = [A.Affine(rotate=(-30, 30), translate_percent=(-0.2, 0.2), p=1), A.RandomBrightnessContrast(p=0.5)]


def test_resident__gives_the_batches_that_a_dataloader_gives(rsna: Callable[..., RSNA]) -> None:
    sets = [ready(rsna(resident=choice, batch_size=3), "label", "boxes", "opacity_mask") for choice in (True, False)]
    for split in ("train", "val", "test"):
        ours, plain = ([*getattr(module, f"{split}_dataloader")()] for module in sets)
        assert len(ours) == len(plain) > 0
        for batch, other in zip(ours, plain, strict=True):
            assert set(batch) == set(other)
            for name in batch:
                if name == "boxes":
                    assert all(torch.equal(a, b) for a, b in zip(batch["boxes"], other["boxes"], strict=True))
                else:
                    assert batch[name].dtype == other[name].dtype
                    assert torch.equal(batch[name], other[name])


def test_resident__each_epoch_is_drawn_by_its_number_alone(folder: Callable[..., Folder]) -> None:
    epochs = []
    for numbers in ((0, 1), (1,)):  # the second begins in the second epoch, as a resumed run does
        loader = ready(folder(resident=True, augment=Augment(MOVING), batch_size=2)).train_dataloader()
        for number in numbers:
            loader.sampler.set_epoch(number)
            epochs.append([(batch["row"], batch["image"]) for batch in loader])
    for (row, image), (other_row, other_image) in zip(epochs[1], epochs[2], strict=True):
        assert torch.equal(row, other_row)
        assert torch.equal(image, other_image)
    assert not all(torch.equal(one[0], other[0]) for one, other in zip(epochs[0], epochs[1], strict=True))


def test_resident__masks_and_boxes_move_with_the_image(rsna: Callable[..., RSNA]) -> None:
    augment = Augment([A.HorizontalFlip(p=1)])
    plain, moved = (
        ready(rsna(resident=True, augment=choice, batch_size=12), "label", "boxes", "opacity_mask")
        for choice in (None, augment)
    )
    (one,), (other,) = plain.train_dataloader(), moved.train_dataloader()
    assert one["opacity_mask"].any()
    assert torch.equal(other["opacity_mask"], one["opacity_mask"].flip(-1))
    for boxes, mirrored in zip(one["boxes"], other["boxes"], strict=True):
        assert torch.equal(
            mirrored[:, [2, 1, 0, 3]], torch.tensor([16, 0, 16, 0]) + boxes * torch.tensor([-1, 1, -1, 1])
        )
    assert torch.equal(
        moved.test_dataloader().__iter__().__next__()["image"], next(iter(plain.test_dataloader()))["image"]
    )


def test_resident__what_cannot_be_done_in_batches_is_said_once(
    folder: Callable[..., Folder], caplog: pytest.LogCaptureFixture
) -> None:
    module = ready(folder(resident=True, augment=Augment([A.InvertImg(p=1)])))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert isinstance(module.train_dataloader(), torch.utils.data.DataLoader)
            assert isinstance(module.val_dataloader(), resident.ResidentLoader)
    assert [record.message.partition(": ")[2] for record in caplog.records] == ["augment's InvertImg"]


def test_resident__falls_back_where_there_is_no_room(
    folder: Callable[..., Folder], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 2000))
    module = ready(folder())
    datasets = [module._datasets[name] for name in ("train", "val", "test")]
    assert sum(dataset.bytes for dataset in datasets) == 18 * 16 * 16
    assert resident.why_not(datasets, torch.device("cuda")) == "0.0 GiB of images, 0.0 GiB free on the GPU"
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (18 * 16 * 16 * 2, 10**6))
    assert resident.why_not(datasets, torch.device("cuda")) == ""


def test_resident__is_off_on_the_cpu_and_without_a_cache(folder: Callable[..., Folder]) -> None:
    for module in (folder(), folder(cache="off"), folder(resident=False)):
        assert isinstance(ready(module).train_dataloader(), torch.utils.data.DataLoader)
    with pytest.raises(ConfigError, match=r"data\.resident=true keeps prepared images: give data\.cache=disk or ram"):
        folder(cache="off", resident=True)


@pytest.mark.parametrize(("cache", "workers"), [("disk", 0), ("off", 2)])
def test_workers__are_none_where_a_cpu_trains_from_the_cache(
    folder: Callable[..., Folder], monkeypatch: pytest.MonkeyPatch, cache: str, workers: int
) -> None:
    monkeypatch.setattr(loaders, "cores", lambda: 8)
    loader = ready(folder(cache=cache, num_workers=None)).train_dataloader()
    assert isinstance(loader, torch.utils.data.DataLoader)
    assert loader.num_workers == workers
