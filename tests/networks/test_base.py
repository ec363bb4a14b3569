"""Feature maps, and functions of networks in chunks."""

import weakref

import pytest
import torch
from torch import Tensor, nn

from condense.networks import build_network, network_in_chunks
from condense.networks.resnet import Residual

MAPS = {"convnet-w32": 3, "convnet-d2-bn": 2, "alexnet": 5, "vgg11": 8, "resnet18": 9, "resnet18-ap-bn": 9}
"""Networks, and their feature maps after a ReLU: of a layer or of a residual block."""

FLAT = {"lenet": [6, 16, 120, 84], "mlp": [128, 128]}
"""Networks with linear layers, and the channels of their feature maps."""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int) -> Tensor:
    return torch.randn(n, 1, 32, 32, generator=seeded(1))


@pytest.mark.parametrize("name", MAPS)
def test_feature_maps_equal_those_that_hooks_capture(name: str) -> None:
    net = build_network(name, (1, 32, 32), 3, seeded())
    captured: list[Tensor] = []
    layers = [layer for layer in net.body if isinstance(layer, nn.ReLU | Residual)]
    hooks = [layer.register_forward_hook(lambda *call: captured.append(call[2].clone())) for layer in layers]
    with torch.no_grad():
        expected = net.features(images(2))
        for hook in hooks:
            hook.remove()
        features, maps = net.features_and_maps(images(2), lambda x: x)
    assert len(maps) == len(captured) == MAPS[name]
    assert torch.equal(features, expected)
    for ours, theirs in zip(maps, captured, strict=True):
        assert torch.equal(ours, theirs) and ours.ndim == 4
        assert ours.min() == 0 < ours.max()


@pytest.mark.parametrize("name", FLAT)
def test_flat_values_are_channels_of_a_single_pixel(name: str) -> None:
    net = build_network(name, (1, 32, 32), 3, seeded())
    with torch.no_grad():
        features, maps = net.features_and_maps(images(2), lambda x: x)
    assert [x.shape[1] for x in maps] == FLAT[name]
    assert torch.equal(maps[-1], features[:, :, None, None])


def test_gradients_flow_through_functions_of_feature_maps() -> None:
    net = build_network("convnet-w32", (1, 32, 32), 3, seeded()).double()
    x = images(2).double().requires_grad_()
    _, sums = net.features_and_maps(x, lambda maps: maps.sum())
    (gradient,) = torch.autograd.grad(sums[1], x)
    body = list(net.body)
    (expected,) = torch.autograd.grad(nn.Sequential(*body[:7])(x).sum(), x)
    assert isinstance(body[6], nn.ReLU)
    torch.testing.assert_close(gradient, expected)


def test_a_feature_map_is_freed_before_the_next_one() -> None:
    net = build_network("convnet-w32", (1, 32, 32), 3, seeded())
    seen: list[weakref.ref[Tensor]] = []

    def alone(x: Tensor) -> Tensor:
        assert all(earlier() is None for earlier in seen)
        seen.append(weakref.ref(x))
        return x.sum(1)

    with torch.no_grad():
        net.features_and_maps(images(2), alone)
    assert len(seen) == 3


@pytest.mark.parametrize(("name", "sizes"), [("convnet-w32", [32, 32, 6]), ("convnet-w32-bn", [70])])
def test_networks_get_chunks_unless_they_mix_samples(name: str, sizes: list[int]) -> None:
    net = build_network(name, (1, 8, 8), 3, seeded())
    x = torch.randn(70, 1, 8, 8, generator=seeded(1))
    seen: list[int] = []

    def rows(part: Tensor) -> Tensor:
        seen.append(len(part))
        features, (first,) = net.features_and_maps(part, lambda maps: maps.sum(1).flatten(1))
        return torch.cat([features, first], 1)

    made = network_in_chunks(net, rows, x)
    assert seen == sizes and not made.requires_grad
    torch.testing.assert_close(made, rows(x).detach())
    seen.clear()
    network_in_chunks(net.eval(), rows, x)
    assert seen == [32, 32, 6]
