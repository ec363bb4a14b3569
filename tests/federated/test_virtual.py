"""The virtual images of clients and server."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from condense.data import Images
from condense.distillation.matching.distribution import class_means, class_statistics
from condense.distillation.matching.gradient import layerwise_cosine
from condense.federated.local import Labelled
from condense.federated.virtual import Refresh, averaged, drawn, matched, noise, refreshed
from condense.networks import Network, build_network

SHAPE, CLASSES = (1, 8, 8), 3


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(seed: int = 0) -> Network:
    return build_network("convnet-w32", SHAPE, CLASSES, rng(seed))


def images(n: int, seed: int = 0) -> Labelled:
    return Labelled(torch.randn((n, *SHAPE), generator=rng(seed)), torch.arange(n) % CLASSES)


def gradient(net: Network, held: Labelled) -> list[torch.Tensor]:
    loss = cross_entropy(net(held.images), held.labels)
    return list(torch.autograd.grad(loss, list(net.parameters())))


@pytest.mark.parametrize("factor", [1e-3, 1.0, 250.0])
def test_gradients_that_differ_by_a_positive_factor_have_no_row_distance(factor: float) -> None:
    net = network().double()
    held = images(9)
    slopes = gradient(net, Labelled(held.images.double(), held.labels))
    slopes = [1e3 * one for one in slopes]  # far above the term that keeps a cosine finite
    rows = sum(len(one) for one in slopes if one.ndim > 1)
    assert float(layerwise_cosine([factor * one for one in slopes], slopes)) < 1e-5 * rows
    assert float(layerwise_cosine([-factor * one for one in slopes], slopes)) > 1.9 * rows


def test_matching_shared_images_lowers_the_distance_of_gradients() -> None:
    net, seen = network(), list[float]()
    target = dict(zip(dict(net.named_parameters()), gradient(net, images(30, seed=7)), strict=True))
    before = {name: one.detach().clone() for name, one in net.named_parameters()}
    found = matched(
        net, images(9), target, Refresh(steps=40, lr=1.0, momentum=0.5), lambda loss: seen.append(float(loss))
    )
    assert seen[-1] < 0.7 * seen[0]
    assert torch.equal(found.labels, images(9).labels)
    for name, one in net.named_parameters():
        assert torch.equal(one, before[name])


def test_a_refresh_brings_the_means_of_features_in_the_servers_network_together() -> None:
    net = network()
    real = images(60, seed=5)
    order = torch.argsort(real.labels, stable=True)
    train = Images(real.images[order] + 0.5, real.labels[order], "toy", CLASSES)
    start = torch.randn((6, *SHAPE), generator=rng(9))

    def gap(virtual: torch.Tensor) -> float:
        with torch.no_grad():
            sides = [class_means(net.features(one), (len(one) // 3,) * 3) for one in (virtual, train.images)]
        return float((sides[0] - sides[1]).square().sum())

    how = Refresh(steps=60, lr=1.0, momentum=0.5, batch_real=256, strategy="none")
    found = refreshed(net, start, (2, 2, 2), train, how, rng())
    assert gap(found) < 0.3 * gap(start)
    assert all(one.requires_grad for one in net.parameters())


def test_statistics_are_those_of_the_pixels_of_a_class_and_channel() -> None:
    held = torch.randn((5, 2, 4, 4), generator=rng(1), dtype=torch.float64)
    mean, std = class_statistics(held, torch.tensor([0, 2, 0, 2, 2]), 3)
    pixels = torch.cat([held[1, 1].flatten(), held[3, 1].flatten(), held[4, 1].flatten()])
    assert float(mean[2, 1]) == pytest.approx(float(pixels.mean()))
    assert float(std[2, 1]) == pytest.approx(float((pixels - pixels.mean()).square().mean().sqrt()))
    assert mean[1].isnan().all()


def test_the_servers_statistics_are_the_mean_over_clients_that_have_the_class() -> None:
    nan = float("nan")
    sides = [torch.tensor([[1.0], [nan]]), torch.tensor([[3.0], [4.0]])]
    assert averaged(sides).tolist() == [[2.0], [4.0]]


def test_drawn_images_have_the_statistics_of_their_class() -> None:
    mean, std = torch.tensor([[0.5, -1.0], [2.0, 0.0]]), torch.tensor([[0.1, 0.2], [1.0, 0.5]])
    found = drawn(mean, std, 200, (8, 8), rng())
    again = class_statistics(found.images, found.labels, 2)
    torch.testing.assert_close(again[0], mean, atol=0.02, rtol=0)
    torch.testing.assert_close(again[1], std, atol=0.02, rtol=0)


def test_noise_of_a_class_is_more_alike_than_noise_of_two() -> None:
    found = noise(5, 4, (3, 14, 14), rng())
    assert found.images.shape == (20, 3, 14, 14)
    assert float(found.images.mean()) == pytest.approx(0, abs=1e-5)
    assert float(found.images.std()) == pytest.approx(1, abs=1e-5)
    unit = torch.nn.functional.normalize(found.images.flatten(1))
    alike, same = unit @ unit.T, found.labels[:, None] == found.labels
    assert float(alike[same].mean()) > 0.5 + float(alike[~same].mean())
