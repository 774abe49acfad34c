"""What a user gets wrong ends in a line or two that name the remedy, before any image is read."""

import shutil
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from pulmo import launch
from tests.conftest import SMALL, small_with


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model=resnet5"], ["no model=resnet5", "did you mean resnet50?"]),
        (["dat=rsna"], ["no key or group 'dat'", "did you mean data?"]),
        (["model.optimizer.lrr=1"], ["no key or group 'model.optimizer.lrr'", "did you mean model.optimizer.lr?"]),
        (["+data.batchsize=4"], ["data.batchsize", "did you mean data.batch_size?"]),
        (["epochs=3"], ["did you mean trainer.max_epochs?"]),
        (["lr=0.1"], ["did you mean model.optimizer.lr?"]),
        (["batch_size=8"], ["did you mean data.batch_size?"]),
        (["resnet50"], ["resnet50 is an option of model: did you mean model=resnet50?"]),
        (["quickly"], ["quickly: a value is given as key=value"]),
        (["model.optimizer.lr=abc"], ["model.optimizer.lr=abc: a number expected"]),
        (["data.batch_size=many"], ["data.batch_size=many: a whole number expected"]),
        (["data.batch_size=0"], ["data.batch_size=0: at least 1"]),
        (["data.negatives=some"], ["data.negatives=some: all or normal or not_normal expected"]),
        (["trainer.max_epochs=ten"], ["trainer.max_epochs=ten: a whole number or null expected"]),
        (["model.loss.class_weights=[1,2,3]"], ["3 values for 2 classes"]),
        (["data.root=/nowhere/rsna"], ["no folder /nowhere/rsna", "data.root=FOLDER", "pulmo sample"]),
        (["strategy=gpu"], ["no GPU", "strategy=cpu"]),
        (["model=unext", "model.input.size=48"], ["multiples of 32", "model.input.size=64"]),
        (["model=mask_rcnn", "model.input.size=100"], ["model.input.size=100", "multiple of 32"]),
        (["data.folds=5"], ["data.folds=5 needs data.fold between 0 and 4"]),
        (["data.split=nowhere.csv"], ["data.split=nowhere.csv: no such file"]),
        (["preprocess=lungs"], ["images have no lung mask", "data.masks=FOLDER"]),
        (["model.weights=/nowhere.pth"], ["/nowhere.pth"]),
        (["callbacks.checkpoint.monitor=val/auc"], ["watches 'val/auc'", "did you mean val/auroc?"]),
        (["finetune=head_then_layer4"], ["no block 'fc'", "features, head"]),
        (["data=padchest", "data.labels=[Normal,Pneumonia]"], ["data.labels", "a list of {name: …, findings: …}"]),
        (["threshold=0.3"], ["threshold=half threshold.value=0.3"]),
        (["model.task.report_thresholds=[1.7]"], ["report_thresholds=[1.7]: scores between 0 and 1"]),
        (["trainer.max_epochs=0"], ["trainer.max_epochs=0: at least 1"]),
        (["data.val_fraction=1.5"], ["data.val_fraction=1.5: a share"]),
        (["resume=last"], ["resume=last: no run of model=custom_cnn with a checkpoint"]),
        (["threshold.value=2", "threshold=half"], ["threshold.value=2"]),
        (["data.labels={"], ["data.labels={"]),
        (["seed=1", "seed=2"], ["seed=1 and seed=2 contradict each other: give one of them"]),
        (["logger=[csvv,tensorboard]"], ["no logger=csvv; did you mean csv?"]),
        (["logger=[csv,wandb]", "logger.wandb.ofline=true"], ["'logger.wandb.ofline'", "logger.wandb.offline?"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_mistake__is_told_with_its_remedy(
    overrides: list[str],
    said: list[str],
    phantoms: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    root = (
        [] if any(override.startswith("data.root=") for override in overrides) else [f"data.root={phantoms / 'rsna'}"]
    )
    places = [*root, f"data.cache_dir={tmp_path / 'cache'}"]
    monkeypatch.setattr(sys, "argv", ["train.py", *places, *small_with(*overrides)])
    with pytest.raises(SystemExit) as exit_:
        launch.launch()
    error = capfd.readouterr().err.strip()
    assert exit_.value.code == 1
    for part in said:
        assert part in error
    assert len(error.splitlines()) <= 2, error
    assert not (tmp_path / "cache").exists(), "told before any image is read"
    assert "Traceback" not in error


def test_mistake__leaves_no_empty_run_folder(phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", *SMALL, "data.root=/nowhere"])
    with pytest.raises(SystemExit):
        launch.launch()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_run_folder__is_not_written_over(phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "metrics.json").write_text("an earlier run")
    monkeypatch.setattr(sys, "argv", ["train.py", *SMALL, f"data.root={phantoms / 'rsna'}", "run_dir=taken"])
    with pytest.raises(SystemExit):
        launch.launch()
    assert (tmp_path / "taken" / "metrics.json").read_text() == "an earlier run"


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_file__read_on_the_fly_is_named_too(
    workers: int, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(phantoms / "folder", tmp_path / "folder")
    for path in (tmp_path / "folder" / "normal").iterdir():
        path.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    places = ["data=folder", f"data.root={tmp_path / 'folder'}", "data.cache=off", f"data.num_workers={workers}"]
    monkeypatch.setattr(sys, "argv", ["train.py", *SMALL, *places])
    with pytest.raises(SystemExit):
        launch.launch()
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"pulmo: {tmp_path / 'folder' / 'normal'}")
    assert error.endswith("the file is empty")


def test_run_folder__in_use_by_another_process_is_refused(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "busy").mkdir()
    monkeypatch.setattr(sys, "argv", ["train.py", *SMALL, f"data.root={phantoms / 'rsna'}", "run_dir=busy"])
    with FileLock(tmp_path / "busy" / ".lock"), pytest.raises(SystemExit):
        launch.launch()
    assert "another process is training in" in capfd.readouterr().err
