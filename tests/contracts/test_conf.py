"""Every file under conf/ composes and says only what its target takes: found by listing, so a new one is in."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from hydra.utils import instantiate
from omegaconf import DictConfig

from pulmo import config as configuration
from pulmo import execution, run
from pulmo.checkpoint import origin
from pulmo.composition import CONF
from pulmo.errors import ConfigError
from pulmo.tasks import trust
from pulmo.tasks.base import Task
from pulmo.tasks.classification import ClassificationTask
from pulmo.tasks.detection import PARTS, DetectionTask
from pulmo.tasks.segmentation import SegmentationTask
from pulmo.thresholds import Fixed

Composed = Callable[..., DictConfig]

GROUPS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())
OPTIONS = [
    (group, file.stem)
    for group in GROUPS
    for file in sorted((CONF / group).glob("*.yaml"))
    if not file.stem.startswith("_")
]
NO_GPU_HERE = {("strategy", name) for name in ("gpu", "ddp", "fsdp", "deepspeed")}


def task_of(model: str) -> str:
    """Name of the task's class, from the file or the first default that has one."""
    content = yaml.safe_load((CONF / "model" / f"{model}.yaml").read_text())
    return str(content["task"]["_target_"].split(".")[-1] if "task" in content else task_of(content["defaults"][0]))


def data_of(experiment: str) -> str:
    """The data set that the experiment's file chooses."""
    chosen = re.search(r"- override /data: (\w+)", (CONF / "experiment" / f"{experiment}.yaml").read_text())
    assert chosen is not None, "an experiment names its data set"
    return chosen[1]


TASKS = {option: task_of(option) for group, option in OPTIONS if group == "model"}
CLASSIFIERS, SEGMENTERS, DETECTORS = (
    [option for option, task in TASKS.items() if task == kind.__name__]
    for kind in (ClassificationTask, SegmentationTask, DetectionTask)
)
FEW_BOXES = ["model.net.proposals=[50,20]", "model.net.samples=16"]
# The quickest of each kind, for what holds of the kind.
CLASSIFIER = ["model=custom_cnn", "model.input.size=32", "strategy=cpu"]
SEGMENTER = ["model=unext_small", "model.input.size=32", "strategy=cpu"]
DETECTOR = ["model=faster_rcnn", "model.input.size=64", "strategy=cpu", *FEW_BOXES]


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda value: str(value))
def test_option__composes_and_fits_the_signatures(
    composed: Composed, group: str, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if group == "launcher" and option != "basic":
        pytest.importorskip(f"hydra_plugins.hydra_{option.split('_')[0]}_launcher")
    if (group, option) in NO_GPU_HERE:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(execution, "_cuda_has_bf16", lambda: True)
    data = option if group == "data" else data_of(option) if group == "experiment" else "rsna"
    overrides = [] if group == "data" else [f"{group}={option}"]
    config = composed(*overrides, data=data)
    execution.settle(config.trainer)
    configuration.check(config)
    trust.check(origin(config, ["normal", "ill"], {}), "its checkpoint")  # else nobody could open it again


@pytest.mark.parametrize("name", [option for group, option in OPTIONS if group == "experiment"])
def test_experiment__builds_all_that_it_names(composed: Composed, phantoms: Path, tmp_path: Path, name: str) -> None:
    data = data_of(name)
    masks = phantoms / "kermany_masks"
    places = [f"data.root={phantoms / data}", f"data.masks={masks}"]
    # No data= here: the experiment itself must choose it.
    experiment = run.build(
        composed(f"experiment={name}", "model.weights=none", "strategy=cpu", *places, data=None), tmp_path
    )
    assert experiment.config.data["_target_"].lower().endswith(f".{data}.{data}")
    assert (CONF / "experiment" / f"{name}.yaml").read_text().count("Reported:") == 1


def built(composed: Composed, folder: Path, model: str, channels: int, *overrides: str) -> run.Experiment:
    """The model for images of 64 pixels; its blocks are there and hold parameters."""
    small = [f"model={model}", "model.input.size=64", f"model.input.channels={channels}", "strategy=cpu"]
    norm = [f"model.input.mean={[0.5] * channels}", f"model.input.std={[0.25] * channels}"]
    experiment = run.build(composed(*small, *norm, *overrides), folder)
    for blocks in experiment.config.model.blocks.values():
        for block in [blocks] if isinstance(blocks, str) else blocks:
            assert list(experiment.task.net.get_submodule(block).parameters()), block
    return experiment


def test_models__are_all_of_a_kind_with_a_contract_here() -> None:
    assert sorted([*CLASSIFIERS, *SEGMENTERS, *DETECTORS]) == sorted(TASKS)
    assert all([CLASSIFIERS, SEGMENTERS, DETECTORS])


@pytest.mark.parametrize("model", CLASSIFIERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_classifier__gives_one_finite_logit_an_image_and_names_its_blocks(
    composed: Composed, tmp_path: Path, model: str, channels: int
) -> None:
    task = built(composed, tmp_path, model, channels).task.eval()
    with torch.no_grad():
        logits = task(torch.randint(256, (2, 1, 64, 64), dtype=torch.uint8))
    assert logits.shape == (2, 1)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("model", SEGMENTERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_segmenter__gives_one_finite_logit_a_pixel_and_names_its_blocks(
    composed: Composed, tmp_path: Path, model: str, channels: int
) -> None:
    task = built(composed, tmp_path, model, channels).task.eval()
    with torch.no_grad():
        logits = task(torch.randint(256, (2, 1, 64, 64), dtype=torch.uint8))
    assert logits.shape == (2, 1, 64, 64)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("model", DETECTORS)
@pytest.mark.parametrize("channels", [1, 3])
def test_detector__learns_from_boxes_or_their_absence_gives_scored_ones_and_names_its_blocks(
    composed: Composed, tmp_path: Path, model: str, channels: int
) -> None:
    task = built(composed, tmp_path, model, channels, *FEW_BOXES).task
    images = torch.randint(256, (2, 1, 64, 64), dtype=torch.uint8)
    losses = task.train().net(task.image(images), [torch.tensor([[8.0, 8, 40, 56]]), torch.zeros(0, 4)])
    assert set(losses) <= set(PARTS)
    assert all(torch.isfinite(loss) and loss.ndim == 0 for loss in losses.values())
    with torch.no_grad():
        found = task.eval()(images)
    assert [boxes.shape[1:] for boxes in found] == [(5,), (5,)]
    assert len(torch.cat(found))  # of a fresh network nearly all proposals score about a half
    assert all(torch.isfinite(boxes).all() for boxes in found)


@pytest.mark.parametrize(
    ("model", "data", "needs"),
    [
        (CLASSIFIER, "kermany", {"label"}),
        (SEGMENTER, "kermany", {"lung_mask"}),  # its own target is the lungs
        (SEGMENTER, "rsna", {"opacity_mask", "boxes"}),
        ([*SEGMENTER, "data.target=lungs"], "rsna", {"lung_mask"}),
        (DETECTOR, "rsna", {"boxes"}),
    ],
)
def test_build__asks_the_data_set_for_what_the_task_learns(
    composed: Composed, tmp_path: Path, model: list[str], data: str, needs: set[str]
) -> None:
    assert run.build(composed(*model, data=data), tmp_path).datamodule.needs == needs


@pytest.mark.parametrize(
    ("overrides", "lacks"),
    [
        (["model=mask_rcnn"], "the model needs boxes: choose another data= or model="),
        (
            ["model=unet", "data.target=opacity"],
            "the model needs boxes, opacity_mask: choose another data.target, data= or model=",
        ),
    ],
)
def test_build__refuses_a_data_set_without_the_targets_with_both_lists(
    composed: Composed, tmp_path: Path, overrides: list[str], lacks: str
) -> None:
    with pytest.raises(ConfigError, match=f"^Kermany gives label, lung_mask; {re.escape(lacks)}$"):
        run.build(composed(*overrides, data="kermany"), tmp_path)


def task_with(loss: torch.nn.Module, kind: type[Task], **arguments: str) -> Task:
    """A task of this kind around no network."""
    nothing = {"net": lambda outputs: torch.nn.Identity(), "image": torch.nn.Identity(), "optimizer": torch.optim.SGD}
    return kind(loss=loss, class_names=("normal", "pneumonia"), threshold=Fixed(0.5), **nothing, **arguments)


@pytest.mark.parametrize("option", [option for group, option in OPTIONS if group == "loss"])
def test_loss__fits_the_models_that_its_file_names_and_no_others(option: str) -> None:
    """An answer that is right costs less than its opposite, and the gradient leads there, empty masks among them."""
    text = (CONF / "loss" / f"{option}.yaml").read_text()
    of_masks = {"classifiers": False, "masks": True}[re.findall(r"# Of (\w+):", text)[0]]
    loss = instantiate(yaml.safe_load(text))
    truth = torch.zeros((2, 1, 8, 8)) if of_masks else torch.tensor([0, 1])
    right = torch.full((2, 1, 8, 8), -3.0) if of_masks else torch.tensor([[-3.0], [3.0]])
    if of_masks:
        truth[0, :, :4] = 1
        right[0, :, :4] = 3
    wrong = (-right).requires_grad_()
    loss(wrong, truth).backward()
    assert 0 <= loss(right, truth) < loss(wrong, truth)
    assert (wrong.grad * right).sum() < 0  # downhill is towards the right answer
    kinds = [(ClassificationTask, {}), (SegmentationTask, {"target": "lungs"})]
    (fits, arguments), (other, others) = kinds[::-1] if of_masks else kinds
    assert task_with(loss, fits, **arguments).loss is loss
    with pytest.raises(ConfigError, match=r"choose loss=\w+"):
        task_with(loss, other, **others)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([*CLASSIFIER, "loss=dice"], "DiceLoss is no loss of a classifier: choose loss=cross_entropy"),
        (
            [*SEGMENTER, "loss=cross_entropy"],
            "loss=cross_entropy is of classifiers: choose loss=bce, dice, bce_dice, focal or tversky",
        ),
        ([*DETECTOR, "threshold=youden"], "measured by f1, precision, rsna_score, sensitivity; choose another"),
        ([*SEGMENTER, "threshold=rsna"], "measured by dice, f1, precision, sensitivity, specificity, youden; choose"),
        ([*CLASSIFIER, "threshold=rsna"], "threshold.figure=rsna_score: this model is measured by f1, precision, sen"),
        ([*CLASSIFIER, "threshold=dice"], "threshold.figure=dice: this model is measured by f1, precision, sensitiv"),
    ],
)
def test_build__refuses_a_loss_or_a_threshold_of_other_models_with_those_to_choose_from(
    composed: Composed, tmp_path: Path, overrides: list[str], said: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        run.build(composed(*overrides), tmp_path)


@pytest.mark.parametrize("threshold", [option for group, option in OPTIONS if group == "threshold"])
def test_threshold__looks_at_a_figure_of_some_model_or_at_none(threshold: str) -> None:
    policy = instantiate(yaml.safe_load((CONF / "threshold" / f"{threshold}.yaml").read_text()))
    figures = ClassificationTask.fitted_figures | SegmentationTask.fitted_figures | DetectionTask.fitted_figures
    assert policy.figure is None or policy.figure in figures


def test_model__chooses_the_loss_and_the_threshold_that_suit_it(composed: Composed) -> None:
    classifier, segmenter, detector = composed(*CLASSIFIER), composed(*SEGMENTER), composed(*DETECTOR)
    assert [config.threshold.figure for config in (classifier, segmenter, detector)] == ["youden", "f1", "rsna_score"]
    assert classifier.model.loss._target_.endswith("ClassificationLoss")
    assert segmenter.model.loss._target_.endswith("SumOfLosses")
    assert "loss" not in detector.model


@pytest.mark.parametrize("overrides", [["threshold=dice", "loss=focal"], ["experiment=mine"]])
@pytest.mark.parametrize("model_first", [True, False])
def test_loss_and_threshold__chosen_by_command_line_or_experiment_win_over_the_models(
    composed: Composed, tmp_path: Path, overrides: list[str], model_first: bool
) -> None:
    lines = ["# @package _global_", "defaults:", "- override /threshold: dice", "- override /loss: focal"]
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("\n".join(lines))
    order = [*SEGMENTER, *overrides] if model_first else [*overrides, *SEGMENTER]
    config = composed(*order, f"hydra.searchpath=[file://{tmp_path}]")
    assert config.threshold.figure == "dice"
    assert config.model.loss._target_.endswith("FocalLoss")


def test_experiment__that_chooses_its_model_keeps_its_own_loss_and_threshold(
    composed: Composed, tmp_path: Path
) -> None:
    chosen = ["/model: unext_small", "/threshold: half", "/loss: tversky"]
    lines = ["# @package _global_", "defaults:", *(f"- override {choice}" for choice in chosen)]
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("\n".join(lines))
    config = composed("experiment=mine", f"hydra.searchpath=[file://{tmp_path}]")
    assert config.model.task._target_.endswith("SegmentationTask")
    assert config.threshold.value == 0.5
    assert config.model.loss._target_.endswith("TverskyLoss")
