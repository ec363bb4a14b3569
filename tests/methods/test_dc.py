from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor

from condense.data import load_images
from condense.distillation import distill
from condense.distillation.registry import build as build_method
from condense.distillation.registry import methods
from condense.errors import Refused

DC = methods()["dc"]
dc = import_module(DC.__module__)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(seed: int = 0) -> list[Tensor]:
    """Returns gradients shaped as those of a convolution, its bias and a linear layer: 4 + 3 rows count."""
    return [drawn(4, 2, 3, 3, seed=seed), drawn(4, seed=seed + 1), drawn(3, 5, seed=seed + 2)]


def test_the_distance_of_equal_gradients_is_zero_but_for_the_guard() -> None:
    assert 0 <= dc.layerwise_cosine(gradients(), gradients()) < 7 * 1e-6


def test_opposite_gradients_are_two_apart_in_each_output_row() -> None:
    opposite = [-g for g in gradients()]
    assert dc.layerwise_cosine(gradients(), opposite) == pytest.approx(2 * (4 + 3), abs=1e-5)


def test_the_distance_does_not_depend_on_the_scale_of_either_side() -> None:
    a, b = gradients(), gradients(seed=7)
    scaled = dc.layerwise_cosine([10 * g for g in a], [100 * g for g in b])
    assert scaled == pytest.approx(float(dc.layerwise_cosine(a, b)), abs=1e-5)


def test_one_dimensional_tensors_have_no_effect_on_the_distance() -> None:
    a, b = gradients(), gradients(seed=7)
    other = [b[0], 1e6 * drawn(4, seed=9), b[2]]
    assert dc.layerwise_cosine(a, other) == dc.layerwise_cosine(a, b)


def test_a_row_without_gradient_is_one_apart_and_stays_differentiable() -> None:
    a, b = gradients(), [torch.zeros_like(g).requires_grad_() for g in gradients()]
    distance = dc.layerwise_cosine(a, b)
    assert distance == 7
    assert all(g.isfinite().all() for g in torch.autograd.grad(distance, [b[0], b[2]]))


def test_the_ablations_are_the_squared_gap_and_the_cosine_of_whole_gradients() -> None:
    a, b = gradients(), gradients(seed=7)
    p, q = (torch.cat([g.reshape(-1) for g in side]) for side in (a, b))
    assert dc.squared(a, b) == pytest.approx(float((p - q) @ (p - q)))
    assert dc.cosine(a, b) == pytest.approx(1 - float(torch.cosine_similarity(p, q, dim=0)), abs=1e-5)


def test_the_loops_follow_the_authors_table_or_its_next_smaller_entry() -> None:
    loops = {ipc: DC().loops(ipc) for ipc in (1, 10, 20, 30, 40, 50)}  # type: ignore[attr-defined]
    assert loops == {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
    assert [dc.DC().loops(ipc) for ipc in (2, 15, 200)] == [(1, 1), (10, 50), (50, 10)]
    assert dc.DC(outer_steps=3).loops(10) == (3, 50)


def test_a_round_trains_the_network_between_matches_and_not_after_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def noting(name: str) -> Callable[..., object]:
        function = getattr(dc, name)

        def noted(*arguments: object, **named: object) -> object:
            events.append(name)
            return function(*arguments, **named)

        return noted

    for name in ("match", "train_step"):
        monkeypatch.setattr(dc, name, noting(name))
    settings = {
        "iterations": "2",
        "outer_steps": "3",
        "inner_epochs": "2",
        "batch_real": "4",
        "batch_train": "8",
    }
    distilled(tmp_path, "dc", settings | {"network": "convnet-w32"}, ipc=1)
    # Ten images in batches of 8 are two steps an epoch.
    between = ["match"] + ["train_step"] * 4
    assert events == (between * 2 + ["match"]) * 2


def test_each_iteration_is_one_step_along_the_gradient(tmp_path: Path) -> None:
    settings = {"network": "convnet-w32", "batch_real": "4", "momentum": "0"}
    still = distilled(tmp_path, "dc", settings | {"iterations": "1", "lr_images": "0"}, ipc=1)
    once = distilled(tmp_path, "dc", settings | {"iterations": "1"}, ipc=1)
    twice = distilled(tmp_path, "dc", settings | {"iterations": "2"}, ipc=1)
    again = distilled(tmp_path, "dc", settings | {"iterations": "1", "lr_images": "0.2"}, ipc=1)
    # The first update is the rate times one gradient; the second starts from there.
    torch.testing.assert_close(again - still, 2 * (once - still))
    assert not torch.equal(twice, once) and not torch.equal(once, still)


@pytest.mark.parametrize("field", ["metric", "init", "augment"])
@pytest.mark.usefixtures("unchecked_shapes")
def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path, field: str) -> None:
    with pytest.raises(Refused, match="nothing-like-it"):
        distilled(tmp_path, "dc", {field: "nothing-like-it"}, ipc=1)


def test_the_recipes_evaluate_as_the_papers_code_does() -> None:
    for (dataset, _), recipe in DC.recipes.items():
        protocol = recipe.protocol
        assert protocol is not None
        stages = [stage.epochs for stage in protocol.stages]
        if dataset == "mnist":
            assert stages == [502, 499] and protocol.augment == "dc:crop_scale_rotate"
        else:
            assert stages == [152, 149] and protocol.augment == "none"


def test_the_recipes_are_the_cells_of_the_readmes_table() -> None:
    datasets = ("mnist", "fashion-mnist", "svhn", "cifar10", "cifar100")
    assert set(DC.recipes) == {(d, ipc) for d in datasets for ipc in (1, 10, 50)} - {("cifar100", 50)}


def distilled(cache: Path, name: str, settings: dict[str, str], ipc: int) -> Tensor:
    method, _ = build_method(name, "digits", ipc, settings)
    images: Tensor = distill(method, load_images("digits"), ipc=ipc, cache=cache)[0].images
    return images
