from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor

from condense.data import ImageDataset
from condense.distillation import Training, distill
from condense.distillation.registry import build, methods
from condense.networks import features_in_chunks

herding = import_module(methods()["herding"].__module__)


def drawn(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


def naive(features: Tensor, budget: int) -> list[int]:
    """Pick j is the free point nearest to j times the mean less the sum of the picks, by plain loops."""
    points = [[float(value) for value in row] for row in features]
    mean = [sum(column) / len(points) for column in zip(*points, strict=True)]
    picks: list[int] = []
    while len(picks) < budget:
        wanted = [
            (len(picks) + 1) * m - sum(points[pick][axis] for pick in picks) for axis, m in enumerate(mean)
        ]
        gaps = [sum((a - b) ** 2 for a, b in zip(point, wanted, strict=True)) for point in points]
        picks.append(min((i for i in range(len(points)) if i not in picks), key=gaps.__getitem__))
    return picks


def test_of_0_1_2_3_and_10_it_picks_3_then_2() -> None:
    # The mean is 3.2: the nearest is 3; then 2 x 3.2 - 3 = 3.4, the nearest left is 2.
    features = torch.tensor([0.0, 1.0, 2.0, 3.0, 10.0])[:, None]
    assert features[herding.herd(features, 2)].flatten().tolist() == [3, 2]
    # Then 9.6 - 5 = 4.6 takes 1, not 10; then 12.8 - 6 = 6.8 takes 10.
    assert features[herding.herd(features, 5)].flatten().tolist() == [3, 2, 1, 10, 0]


@pytest.mark.parametrize("seed", range(4))
def test_the_picks_are_those_of_the_rule_in_plain_loops(seed: int) -> None:
    features = drawn(30, seed)
    assert herding.herd(features, 12).tolist() == naive(features, 12)


def test_more_picks_begin_with_the_fewer_and_all_picks_are_all_images() -> None:
    features = drawn(20)
    every = herding.herd(features, 20).tolist()
    assert sorted(every) == list(range(20))
    assert all(herding.herd(features, count).tolist() == every[:count] for count in range(1, 20))


def test_images_that_look_alike_are_still_picked_once() -> None:
    assert sorted(herding.herd(torch.ones(5, 3), 5).tolist()) == [0, 1, 2, 3, 4]


def test_its_mean_lies_nearer_to_the_classs_than_that_of_random_images() -> None:
    features = drawn(100)
    mean = features.mean(0)
    gap = (features[herding.herd(features, 10)].mean(0) - mean).norm()
    rng = torch.Generator().manual_seed(1)
    gaps = [(features[torch.randperm(100, generator=rng)[:10]].mean(0) - mean).norm() for _ in range(50)]
    assert gap < 0.5 * min(gaps)


def test_images_are_picked_by_class_in_the_features_of_the_pinned_network(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    pinned = Training(network="convnet-w32", steps=3, batch=8)

    def short(network: str) -> Training:
        asked.append(network)
        return pinned

    monkeypatch.setattr("condense.distillation.coreset.feature_extractor", short)
    method, _ = build("herding", "toy", 4, {"network": "convnet-w32"})
    sets = [distill(method, toy, ipc=4, seed=seed, cache=tmp_path) for seed in (0, 1)]
    assert torch.equal(sets[0][0].images, sets[1][0].images) and asked == ["convnet-w32"] * 2
    train = toy.train.in_space(toy.space("normalized"))
    network = sets[0][1].pretrained(pinned, train)
    for label in range(3):
        members = train.of_class(label)
        picks = naive(features_in_chunks(network, train.images[members]).double(), 4)
        assert torch.equal(sets[0][0].images[4 * label : 4 * label + 4], toy.train.images[members[picks]])
