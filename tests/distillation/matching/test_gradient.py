from importlib import import_module

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from condense.data import Images, load_images
from condense.distillation.matching.gradient import match, refresh_batch_norm
from condense.distillation.registry import methods
from condense.networks import Network, build_network

layerwise_cosine = import_module(methods()["dc"].__module__).layerwise_cosine


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(name: str = "convnet-w32") -> Network:
    return build_network(name, (1, 8, 8), 3, torch.Generator().manual_seed(1)).double()


def digits() -> Images:
    dataset = load_images("digits")
    return dataset.train.in_space(dataset.space("normalized"))


def naive(net: Network, real: Tensor, synthetic: Tensor) -> tuple[Tensor, Tensor]:
    """The loss and the pixels' gradient by plain double differentiation of whole batches, row by row."""
    synthetic = synthetic.clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for label in range(len(real)):
        sides = []
        for batch, graph in ((real[label], False), (synthetic[label], True)):
            labels = torch.full((len(batch),), label)
            loss = cross_entropy(net(batch), labels)
            sides.append(torch.autograd.grad(loss, list(net.parameters()), create_graph=graph))
        for a, b in zip(*sides, strict=True):
            if a.ndim > 1:
                for row in range(len(a)):
                    p, q = a[row].reshape(-1), b[row].reshape(-1)
                    total = total + 1 - (p @ q) / ((p @ p).sqrt() * (q @ q).sqrt() + 1e-6)
    return total.detach(), torch.autograd.grad(total, synthetic)[0]


@pytest.mark.parametrize("together", [False, True])
def test_the_loss_and_its_pixel_gradient_equal_a_naive_derivation(together: bool) -> None:
    net, real, synthetic = network(), drawn(3, 40, 1, 8, 8), drawn(3, 2, 1, 8, 8, seed=1)
    loss, gradient = match(net, real, synthetic, layerwise_cosine, together=together)
    expected, pixels = naive(net, real, synthetic)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient, pixels, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("together", [False, True])
def test_padding_of_small_classes_has_no_part_in_a_match(together: bool) -> None:
    net, real, synthetic = network(), drawn(3, 40, 1, 8, 8), drawn(3, 4, 1, 8, 8, seed=1)
    counts = (1, 4, 2)
    present = torch.arange(4) < torch.tensor(counts)[:, None]
    loss, gradient = match(net, real, synthetic, layerwise_cosine, present=present, together=together)
    own = [images[:count] for images, count in zip(synthetic, counts, strict=True)]
    leaves = [images.clone().requires_grad_() for images in own]
    expected = torch.zeros((), dtype=torch.float64)
    for label, images in enumerate(leaves):
        sides = [
            torch.autograd.grad(
                cross_entropy(net(batch), torch.full((len(batch),), label)),
                list(net.parameters()),
                create_graph=True,
            )
            for batch in (real[label], images)
        ]
        expected = expected + layerwise_cosine(*sides)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-10, atol=0)
    for found, here, pixels in zip(gradient, present, torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(found[here], pixels, rtol=1e-9, atol=1e-12)
        assert not found[~here].any()


def test_matching_in_chunks_equals_matching_whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    net, real, synthetic = network(), drawn(3, 11, 1, 8, 8), drawn(3, 2, 1, 8, 8, seed=1)
    whole = match(net, real, synthetic, layerwise_cosine)
    monkeypatch.setattr("condense.training.step.CHUNK", 4)
    torch.testing.assert_close(match(net, real, synthetic, layerwise_cosine), whole, rtol=1e-10, atol=1e-12)


def test_matching_leaves_the_network_and_its_gradients_alone() -> None:
    net = network("convnet-w32-bn")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    match(net.eval(), drawn(3, 4, 1, 8, 8), drawn(3, 1, 1, 8, 8, seed=1), layerwise_cosine)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_batch_norms_alone_are_frozen_after_one_move_by_a_tenth() -> None:
    net = build_network("convnet-w32-bn", (1, 8, 8), 10, torch.Generator().manual_seed(1))
    train = digits()
    refresh_batch_norm(net, train, torch.Generator().manual_seed(2))
    first = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    norm = next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    images = train.draw(16, torch.Generator().manual_seed(2)).flatten(0, 1)
    torch.testing.assert_close(norm.running_mean, 0.1 * first(images).mean((0, 2, 3)).detach())
    assert not norm.training and net.training and first.training


def test_without_batch_norm_nothing_is_refreshed_or_drawn() -> None:
    rng = torch.Generator().manual_seed(2)
    before = rng.get_state()
    refresh_batch_norm(build_network("convnet-w32", (1, 8, 8), 10, rng.clone_state()), digits(), rng)
    assert torch.equal(rng.get_state(), before)
