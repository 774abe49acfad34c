"""Every file under conf/ composes and says only what its target takes: found by listing, so a new one is in."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from pulmo import config as configuration
from pulmo import run
from pulmo.launch import CONF

GROUPS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())
OPTIONS = [
    (group, file.stem)
    for group in GROUPS
    for file in sorted((CONF / group).glob("*.yaml"))
    if not file.stem.startswith("_")
]
MODELS = [option for group, option in OPTIONS if group == "model"]
NO_GPU_HERE = {("strategy", "gpu"), ("strategy", "ddp")}


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda value: str(value))
def test_option__composes_and_fits_the_signatures(
    composed: Callable[..., DictConfig], group: str, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (group, option) in NO_GPU_HERE:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    names_data = {"data": option, "experiment": "rsna" if option == "sample" else option.split("_")[0]}
    overrides = [] if group == "data" else [f"{group}={option}"]
    configuration.check(composed(*overrides, data=names_data.get(group, "rsna")))


@pytest.mark.parametrize("name", [option for group, option in OPTIONS if group == "experiment"])
def test_experiment__builds_all_that_it_names(
    composed: Callable[..., DictConfig], phantoms: Path, tmp_path: Path, name: str
) -> None:
    data = name.split("_")[0] if name != "sample" else "rsna"
    masks = phantoms / "kermany_masks"
    places = [f"data.root={phantoms / data}", f"data.masks={masks}"]
    # No data= here: the experiment itself must choose it.
    experiment = run.build(
        composed(f"experiment={name}", "model.weights=none", "strategy=cpu", *places, data=None), tmp_path
    )
    assert experiment.config.data["_target_"].lower().endswith(f".{data}.{data}")
    assert (CONF / "experiment" / f"{name}.yaml").read_text().count("Reported:") == 1


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("channels", [1, 3])
def test_model__gives_one_finite_logit_an_image_and_names_its_blocks(
    composed: Callable[..., DictConfig], tmp_path: Path, model: str, channels: int
) -> None:
    small = [f"model={model}", "model.input.size=64", f"model.input.channels={channels}", "strategy=cpu"]
    norm = ["model.input.mean=[0.5]", "model.input.std=[0.25]"] if channels == 1 else []
    norm = norm or ["model.input.mean=[0.5,0.5,0.5]", "model.input.std=[0.25,0.25,0.25]"]
    experiment = run.build(composed(*small, *norm), tmp_path)
    task = experiment.task.eval()
    with torch.no_grad():
        logits = task(torch.randint(256, (2, 1, 64, 64), dtype=torch.uint8))
    assert logits.shape == (2, 1)
    assert torch.isfinite(logits).all()
    for blocks in experiment.config.model.blocks.values():
        for block in [blocks] if isinstance(blocks, str) else blocks:
            assert list(task.net.get_submodule(block).parameters()), block
