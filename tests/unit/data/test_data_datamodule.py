"""What every data module promises, shown on a folder of classes and on RSNA."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
from tests.unit.data.loading import number, ready

from pulmo.data.folder import Folder
from pulmo.data.preparing import Recipe
from pulmo.data.rsna import RSNA
from pulmo.errors import ConfigError, DataError
from pulmo.transforms.augment import Augment
from pulmo.transforms.preprocess import Preprocess
from pulmo.types import TABLE_COLUMNS

PLAIN = Preprocess(size=16)

Write = Callable[[Path, Any], Path]
ClassFolders = Callable[..., Path]


def test_check__refuses_lacking_targets_with_both_lists(folder: Callable[..., Folder]) -> None:
    module = folder()
    module.needs = frozenset({"boxes", "label"})
    with pytest.raises(ConfigError, match="Folder gives label, lung_mask; the model needs boxes, label: choose"):
        module.check()


@pytest.mark.parametrize(
    ("needs", "choices"),
    [
        ({"opacity_mask", "boxes"}, "boxes, opacity_mask: choose another data.target, data= or model="),
        ({"lung_mask", "boxes"}, "boxes, lung_mask: choose another data= or model="),  # the mask is there
    ],
)
def test_check__names_the_target_as_a_remedy_where_it_is_a_mask_that_lacks(
    folder: Callable[..., Folder], needs: set[str], choices: str
) -> None:
    module = folder()
    module.needs = frozenset(needs)
    with pytest.raises(ConfigError, match=f"the model needs {choices}$"):
        module.check()


@pytest.mark.parametrize("use", ["lungs", "thorax", "crop"])
def test_check__who_is_to_draw_the_lungs_must_not_be_shown_them(folder: Callable[..., Folder], use: str) -> None:
    module = folder(preprocess=Preprocess(size=16, use=use))
    module.needs = frozenset({"lung_mask"})
    with pytest.raises(ConfigError, match="must not be shown them: choose preprocess=plain"):
        module.check()
    module.preprocess = Preprocess(size=16, use=use, mask="none")  # which turns `use` off
    module.check()


def test_check__who_draws_opacities_may_be_shown_the_lungs(rsna: Callable[..., RSNA]) -> None:
    module = rsna(preprocess=Preprocess(size=16, use="crop"))
    module.needs = frozenset({"opacity_mask", "boxes"})
    module.check()


def test_target__is_the_lungs_but_of_rsna_the_opacities(
    folder: Callable[..., Folder], rsna: Callable[..., RSNA]
) -> None:
    assert (folder().target, rsna().target) == ("lungs", "opacity")


def test_check__reads_no_file(folder: Callable[..., Folder], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Folder, "index", lambda _: pytest.fail("the folder was read"))
    folder().check()


@pytest.mark.parametrize("key", ["root", "masks"])
def test_check__a_missing_folder_names_its_key(folder: Callable[..., Folder], key: str) -> None:
    module = folder()
    setattr(module, key, "/no/such/folder")
    with pytest.raises(DataError, match=rf"no folder /no/such/folder: give data\.{key}=FOLDER"):
        module.check()


def test_module__refuses_settings_that_cannot_work(folder: Callable[..., Folder]) -> None:
    with pytest.raises(ConfigError, match=r"data\.on_error=skip must know .* data\.cache=disk or ram"):
        folder(cache="off", on_error="skip")
    with pytest.raises(ConfigError, match=r"data\.batch_size=0: at least 1"):
        folder(batch_size=0)


@pytest.mark.parametrize("cache", ["disk", "ram", "off"])
def test_loaders__give_each_split_its_own_images(folder: Callable[..., Folder], cache: str) -> None:
    module = ready(folder(cache=cache))
    seen = {
        "train": sorted(grey for batch in module.train_dataloader() for grey in number(batch)),
        "val": [grey for batch in module.val_dataloader() for grey in number(batch)],
        "test": [grey for batch in module.test_dataloader() for grey in number(batch)],
    }
    train, val, test = range(9), [10, 12, 9, 11], [14, 16, 13, 15, 17]  # normal ones first, as the folders lie
    # Nine by four leave one, which batch norm refuses: one of the nine is missing in this epoch.
    assert len(seen["train"]) == 8
    assert set(seen["train"]) < set(train)
    assert seen["val"] == val
    assert seen["test"] == test


def test_loaders__rows_and_labels_are_those_of_the_table(folder: Callable[..., Folder]) -> None:
    module = ready(folder(cache="ram"))
    for split, loader in (("train", module.train_dataloader()), ("test", module.test_dataloader())):
        table = module.rows_of(split)
        assert set(TABLE_COLUMNS) <= set(table.columns)
        for batch in loader:
            rows = table.iloc[batch["row"].tolist()]
            assert rows["label"].tolist() == batch["label"].tolist()
            assert [int(Path(path).stem) for path in rows["path"]] == number(batch)


@pytest.mark.parametrize(("batch_size", "batches"), [(4, [4, 4]), (3, [3, 3, 3]), (7, [7, 2]), (16, [9]), (1, [1] * 9)])
def test_train_loader__drops_a_last_batch_of_one(
    folder: Callable[..., Folder], batch_size: int, batches: list[int]
) -> None:
    module = ready(folder(cache="ram", batch_size=batch_size))
    assert [len(batch["row"]) for batch in module.train_dataloader()] == batches


def test_evaluation_loaders__keep_a_last_batch_of_one(folder: Callable[..., Folder]) -> None:
    module = ready(folder(cache="ram"))
    assert [len(batch["row"]) for batch in module.test_dataloader()] == [4, 1]


def test_loaders__worker_count_changes_nothing(folder: Callable[..., Folder]) -> None:
    augment = Augment([A.Affine(rotate=(-30, 30), p=1), A.RandomBrightnessContrast(p=0.5)])
    epochs = []
    for workers in (0, 1, 2):
        module = ready(folder(cache="ram", num_workers=workers, augment=augment, batch_size=2))
        loader = module.train_dataloader()
        epochs.append([])
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            epochs[-1] += [(batch["row"], batch["image"]) for batch in loader]
    for other in epochs[1:]:
        for (row, image), (other_row, other_image) in zip(epochs[0], other, strict=True):
            assert torch.equal(row, other_row)
            assert torch.equal(image, other_image)
    assert not torch.equal(epochs[0][0][1], epochs[0][4][1])  # the epochs differ


def test_loaders__only_training_is_augmented(folder: Callable[..., Folder]) -> None:
    white = Augment([A.InvertImg(p=1)])
    module = ready(folder(cache="ram", augment=white))
    assert min(grey for batch in module.train_dataloader() for grey in number(batch)) > 200
    assert max(grey for batch in module.test_dataloader() for grey in number(batch)) < 20


def test_class_counts__are_of_training_images(folder: Callable[..., Folder]) -> None:
    assert ready(folder(cache="ram")).class_counts == [5, 4]
    module = ready(folder(cache="ram", classes=["pneumonia", "normal", "abscess"]))
    assert module.class_counts == [4, 5, 0]


def test_train_loader__balanced_draws_the_rare_class_as_often(tmp_path: Path, write_image: Write) -> None:
    for index in range(60):
        write_image(tmp_path / "train" / ("normal" if index < 54 else "pneumonia") / f"{index}.png", index)
    for split in ("val", "test"):
        write_image(tmp_path / split / "normal" / f"{split}.png", 0)
    module = ready(Folder(root=str(tmp_path), preprocess=PLAIN, split="official", cache="ram", sampling="balanced"))
    loader = module.train_dataloader()
    labels = []
    for epoch in range(10):
        loader.sampler.set_epoch(epoch)
        labels += [int(label) for batch in loader for label in batch["label"]]
    assert abs(np.mean(labels) - 0.5) < 4 * 0.5 / 600**0.5


def test_cache__is_shared_by_splits_whatever_they_leave_out(
    folder: Callable[..., Folder], tmp_path: Path, write_csv: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ready(folder(split="official")).table
    kept = first[["image_id", "split"]].drop(index=[3, 7]).sample(frac=1, random_state=0)
    write_csv(tmp_path / "split.csv", [("image_id", "split"), *kept.to_numpy()])
    monkeypatch.setattr(Recipe, "prepare", lambda *_: pytest.fail("an image was read again"))
    other = ready(folder(split=str(tmp_path / "split.csv")))
    assert len(other.table) == 16
    rows = other.rows_of("test")
    assert [int(Path(path).stem) for path in rows["path"]] == [
        grey for batch in other.test_dataloader() for grey in number(batch)
    ]


def test_split__depends_on_split_seed_and_not_on_seed(class_folders: ClassFolders) -> None:
    root = class_folders(splits={"": 40})
    tables = []
    for seeds in ({"seed": 0}, {"seed": 1}, {"split_seed": 1}):
        module = Folder(root=str(root), preprocess=PLAIN, cache="off", **seeds)
        tables.append(ready(module).table["split"].tolist())
    assert tables[0] == tables[1] != tables[2]


def test_seed__decides_the_order(folder: Callable[..., Folder]) -> None:
    rows = []
    for seed in (0, 0, 1):
        loader = ready(folder(cache="ram", seed=seed)).train_dataloader()
        rows.append([row for batch in loader for row in batch["row"].tolist()])
    assert rows[0] == rows[1] != rows[2]


def test_table__before_setup_says_what_to_do(folder: Callable[..., Folder]) -> None:
    with pytest.raises(RuntimeError, match="setup"):
        _ = folder().table


def test_images__a_repeated_id_is_told(folder: Callable[..., Folder]) -> None:
    module = folder()
    twin = next(Path(module.root).rglob("04.png"))
    twin.with_suffix(".bmp").write_bytes(twin.read_bytes())
    with pytest.raises(DataError, match="1 image ids stand twice, such as train/normal/04"):
        ready(module)


def test_table__headers_tell_sex_and_age(rsna: Callable[..., RSNA]) -> None:
    for _ in range(2):  # while the cache is built, and from the cache
        table = ready(rsna()).table.set_index("image_id")
        assert table.loc[["r00", "r01", "r11"], "sex"].tolist() == ["M", "F", "F"]
        assert table.loc[["r00", "r01", "r11"], "age"].tolist() == ["40", "41", "51"]


def test_predict_loader__gives_each_unlabelled_image_once(rsna: Callable[..., RSNA]) -> None:
    module = ready(rsna(batch_size=16))
    batches = list(module.predict_dataloader())
    assert [batch["image"][:, 0, 0, 0].tolist() for batch in batches] == [[0, 1]]
    assert batches[0]["label"].tolist() == [-1, -1]
    assert module.rows_of("predict")["image_id"].tolist() == ["u00", "u01"]


def test_predict_loader__uses_the_masks_that_preprocess_needs(
    rsna: Callable[..., RSNA], tmp_path: Path, write_image: Write
) -> None:
    for name in [f"r{index:02d}" for index in range(12)] + ["u00", "u01"]:
        write_image(tmp_path / f"masks/{name}.png", np.array([[255, 0], [0, 0]], np.uint8))
    module = ready(rsna(preprocess=Preprocess(size=16, use="lungs"), masks=str(tmp_path / "masks")))
    image = next(iter(module.predict_dataloader()))["image"][1, 0]
    assert image[:8, :8].eq(1).all()
    assert image.sum() == 64


def test_predict_loader__without_such_images_says_so(folder: Callable[..., Folder]) -> None:
    with pytest.raises(DataError, match="no unlabelled images to predict: leave out predict=true"):
        ready(folder(cache="ram")).predict_dataloader()


def test_boxes__reach_the_batch_in_its_pixels(rsna: Callable[..., RSNA]) -> None:
    module = ready(rsna(cache="ram"), "boxes", "opacity_mask", "label")
    for batch in module.test_dataloader():
        for label, boxes, mask in zip(batch["label"], batch["boxes"], batch["opacity_mask"], strict=True):
            assert boxes.tolist() == ([[4, 4, 12, 8]] if label else [])
            assert mask.sum() == (32 if label else 0)
            assert mask[4:8, 4:12].all() == bool(label)


@pytest.mark.parametrize(("shape", "pixels"), [("box", 32), ("ellipse", 28)])
def test_opacity_mask__fills_the_box_as_the_data_set_says(rsna: Callable[..., RSNA], shape: str, pixels: int) -> None:
    # The box is 8 × 4: of its upper and lower row the ellipse has six pixels, of the two between all eight.
    module = ready(rsna(cache="ram", opacity_shape=shape), "opacity_mask", "label")
    for batch in module.test_dataloader():
        assert batch["opacity_mask"].sum((1, 2)).tolist() == (batch["label"] * pixels).tolist()
