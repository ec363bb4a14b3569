from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor

from condense.augment import dsa as augmentation
from condense.data import load_images
from condense.distillation import distill
from condense.distillation.registry import build as build_method
from condense.distillation.registry import methods
from condense.networks import build_network

DSA = methods()["dsa"]
dc = import_module(methods()["dc"].__module__)

STRATEGY = "color_crop_cutout_flip_scale_rotate"


def distilled(cache: Path, name: str, settings: dict[str, str], ipc: int = 1) -> Tensor:
    method, _ = build_method(name, "digits", ipc, {"network": "convnet-w32", "batch_real": "4"} | settings)
    images: Tensor = distill(method, load_images("digits"), ipc=ipc, cache=cache)[0].images
    return images


@pytest.mark.parametrize("op", STRATEGY.split("_"))
def test_equal_batches_under_one_draw_are_no_distance_apart(op: str) -> None:
    net = build_network("convnet-w32", (1, 8, 8), 3, torch.Generator().manual_seed(1)).double()
    images = torch.randn(3, 5, 1, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    draw = augmentation.siamese(op, (8, 8), 3, torch.Generator().manual_seed(3))
    loss, _ = dc.match(net, draw(images), draw(images.clone()), dc.cosine)
    other = augmentation.siamese(op, (8, 8), 3, torch.Generator().manual_seed(5))
    apart, _ = dc.match(net, draw(images), other(images), dc.cosine)
    assert abs(loss) < 1e-4 < apart


def test_with_noise_and_without_augmentation_it_is_dc_bit_for_bit(tmp_path: Path) -> None:
    settings = {"iterations": "2", "outer_steps": "2", "inner_epochs": "1"}
    plain = distilled(tmp_path, "dc", settings)
    assert torch.equal(distilled(tmp_path, "dsa", settings | {"init": "noise", "augment": "none"}), plain)
    assert not torch.equal(distilled(tmp_path, "dsa", settings | {"init": "noise"}), plain)


def test_both_sides_of_a_match_and_every_training_batch_are_augmented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategies: list[str] = []
    siamese, augment = augmentation.siamese, augmentation.augment

    def noted_siamese(strategy: str, *rest: object) -> augmentation.Drawn:
        strategies.append(f"both {strategy}")
        return siamese(strategy, *rest)  # type: ignore[arg-type]

    def noted_augment(images: Tensor, strategy: str, rng: torch.Generator) -> Tensor:
        strategies.append(strategy)
        return augment(images, strategy, rng)

    monkeypatch.setattr(augmentation, "siamese", noted_siamese)
    monkeypatch.setattr(augmentation, "augment", noted_augment)
    distilled(tmp_path, "dsa", {"iterations": "1", "outer_steps": "2", "inner_epochs": "1"})
    own = load_images("digits").spec.dsa
    assert strategies == [f"both {own}", own, f"both {own}"]


def test_it_starts_from_real_images(tmp_path: Path) -> None:
    dataset = load_images("digits")
    start = distilled(tmp_path, "dsa", {"iterations": "1", "lr_images": "0"})
    train = dataset.train.in_space(dataset.space("normalized"))
    gaps = torch.cdist(start.flatten(1), train.images.flatten(1))
    nearest = gaps.argmin(1)
    assert torch.equal(train.images[nearest], start)
    assert train.labels[nearest].tolist() == list(range(10))


def test_the_recipes_evaluate_for_1000_epochs_under_the_datasets_strategy() -> None:
    assert set(DSA.recipes) == set(methods()["dc"].recipes)
    for recipe in DSA.recipes.values():
        protocol = recipe.protocol
        assert protocol is not None and [stage.epochs for stage in protocol.stages] == [502, 499]
        assert protocol.augment == "dsa" and protocol.reset
        assert type(recipe.method) is DSA
