"""CDA: the curriculum of crops, and SRe2L as its limiting case."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from condense.data import ImageDataset
from condense.distillation import distill
from condense.distillation.registry import build, methods
from condense.errors import Refused

CDA = methods()["cda"]


def cda(**settings: object) -> Any:
    return build("cda", "toy", 1, {key: str(value) for key, value in settings.items()})[0]


@pytest.mark.parametrize("milestone", [1.0, 0.5])
def test_the_cosine_curriculum_falls_from_the_whole_image_to_crop_min(milestone: float) -> None:
    crops = cda(iterations=1000, milestone=milestone).crop_mins()
    end = int(1000 * milestone)
    assert crops[0] == 1.0 and crops[end // 2] == pytest.approx(0.54)
    assert crops[end - 1] == pytest.approx(0.08, abs=1e-4) and set(crops[end:]) <= {0.08}
    assert list(crops) == sorted(crops, reverse=True) and len(crops) == 1000
    for step in (1, end // 3, end - 1):
        assert crops[step] == pytest.approx(0.08 + 0.46 * (1 + math.cos(math.pi * step / end)))


def test_the_other_curricula_are_a_step_and_a_line() -> None:
    step = cda(iterations=100, milestone=0.4, curriculum="step").crop_mins()
    assert step == (1.0,) * 40 + (0.08,) * 60
    line = cda(iterations=100, milestone=0.4, curriculum="linear", crop_min=0.2).crop_mins()
    assert line[0] == 1.0 and line[10] == pytest.approx(0.8) and line[20] == pytest.approx(0.6)
    assert set(line[40:]) == {0.2}


def made_by(name: str, toy: ImageDataset, cache: Path, **settings: object) -> torch.Tensor:
    taught = {"network": "convnet-w32-bn", "teacher": "trained", "teacher_epochs": 2, "teacher_batch": 16}
    params = {key: str(value) for key, value in {**taught, "iterations": 8, "flip": True, **settings}.items()}
    images: torch.Tensor = distill(build(name, "toy", 2, params)[0], toy, ipc=2, cache=cache)[0].images
    return images


def test_with_the_milestone_at_the_start_it_is_sre2l_bit_for_bit(toy: ImageDataset, tmp_path: Path) -> None:
    host = made_by("sre2l", toy, tmp_path, crop_min=0.08)
    assert torch.equal(made_by("cda", toy, tmp_path, milestone=0), host)
    assert not torch.equal(made_by("cda", toy, tmp_path), host)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [("curriculum", "sine", "unknown curriculum"), ("milestone", 1.2, "share of the steps")],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_settings_that_mean_nothing_are_refused(field: str, value: object, why: str) -> None:
    with pytest.raises(Refused, match=why):
        cda(**{field: value})


def test_the_recipes_are_the_authors_settings() -> None:
    assert set(CDA.recipes) == {
        *(("cifar100", ipc) for ipc in (1, 10, 50)),
        *(("tiny-imagenet", ipc) for ipc in (1, 10, 50, 100)),
    }
    for (name, _), recipe in CDA.recipes.items():
        config = recipe.method.config()
        assert (config["milestone"], config["curriculum"], config["crop_min"]) == (1.0, "cosine", 0.08)
        assert (config["iterations"], config["lr_images"], config["bn_weight"]) == (
            (4000, 0.4, 0.05) if name == "tiny-imagenet" else (1000, 0.25, 0.01)
        )
        assert config["roll"] == 4 and not config["roll_both"]
        assert recipe.protocol is not None
        assert (recipe.protocol.batch, recipe.protocol.epochs) == (
            (64, 100) if name == "tiny-imagenet" else (128, 800)
        )
