from importlib import import_module
from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import Tensor

from condense.data import ImageDataset
from condense.distillation import Training, distill
from condense.distillation.registry import build, methods

k_center = import_module(methods()["k_center"].__module__)
herding = import_module(methods()["herding"].__module__)


def drawn(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def radius(features: Tensor, picks: list[int]) -> float:
    """The distance of the image that is farthest from its nearest pick."""
    return float(torch.cdist(features, features[picks]).amin(1).max())


def test_of_0_1_2_3_and_10_it_picks_3_then_10_then_0() -> None:
    features = torch.tensor([0.0, 1.0, 2.0, 3.0, 10.0])[:, None]
    assert features[k_center.farthest_first(features, 3)].flatten().tolist() == [3, 10, 0]


@pytest.mark.parametrize("seed", range(4))
def test_each_pick_is_the_image_farthest_from_those_before_it(seed: int) -> None:
    features = drawn(40, seed)
    picks = k_center.farthest_first(features, 12).tolist()
    assert picks[0] == int((features - features.mean(0)).norm(dim=1).argmin())
    for count in range(1, 12):
        gaps = torch.cdist(features, features[picks[:count]]).amin(1)
        assert picks[count] == int(gaps.argmax())


def test_more_picks_lie_no_farther_apart_and_none_is_picked_twice() -> None:
    features = drawn(40)
    gaps = []
    for count in range(2, 41):
        picks = k_center.farthest_first(features, count).tolist()
        assert len(set(picks)) == count
        gaps.append(min(float((features[a] - features[b]).norm()) for a, b in combinations(picks, 2)))
    assert all(later <= earlier for earlier, later in zip(gaps, gaps[1:], strict=False))
    assert gaps[0] > gaps[-1] > 0


@pytest.mark.parametrize("seed", range(3))
def test_the_covering_radius_is_at_most_twice_the_smallest_one(seed: int) -> None:
    features = drawn(11, seed)
    for count in (2, 3, 4):
        best = min(radius(features, list(chosen)) for chosen in combinations(range(11), count))
        assert best <= radius(features, k_center.farthest_first(features, count).tolist()) <= 2 * best


def test_images_that_look_alike_are_still_picked_once() -> None:
    assert sorted(k_center.farthest_first(torch.ones(5, 3), 5).tolist()) == [0, 1, 2, 3, 4]


def test_a_single_pick_is_herdings() -> None:
    for seed in range(5):
        features = drawn(30, seed)
        assert torch.equal(k_center.farthest_first(features, 1), herding.herd(features, 1))


def test_its_images_do_not_depend_on_the_seed_and_at_one_per_class_are_herdings(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "condense.distillation.coreset.feature_extractor",
        lambda network: Training(network=network, steps=3, batch=8),
    )

    def images(name: str, ipc: int, seed: int = 0) -> Tensor:
        method, _ = build(name, "toy", ipc, {"network": "convnet-w32"})
        images: Tensor = distill(method, toy, ipc=ipc, seed=seed, cache=tmp_path)[0].images
        return images

    assert torch.equal(images("k_center", 1), images("herding", 1))
    assert torch.equal(images("k_center", 4, 0), images("k_center", 4, 1))
    assert not torch.equal(images("k_center", 4), images("herding", 4))
