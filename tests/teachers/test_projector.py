"""Projectors: counts, the merged against the unmerged forward in float64, where training starts, refusals."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import conv2d, linear

from condense.errors import Refused
from condense.networks import Network, build_network
from condense.store.images.projection import Adapted, Projection, factors
from condense.teachers import Projector, Teacher
from condense.teachers.projector import adapters, merged, start

SHAPE = (3, 8, 8)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def encoder(name: str = "convnet-w32-bn") -> Teacher:
    """An untrained network whose batch norms have statistics of their own."""
    network = build_network(name, SHAPE, 5, stream(1))
    network(torch.randn(64, *SHAPE, generator=stream(2)))
    network.eval().requires_grad_(False)
    return Teacher(network, name, "e" * 64, 1000, None, ("a", "b", "c", "d", "e"), "toy")


def drawn(network: Network, adapted: tuple[Adapted, ...]) -> Tensor:
    """Adapters of which no number is 0."""
    return 0.1 * torch.randn(sum(one.numbers for one in adapted), generator=stream(3))


@pytest.mark.parametrize("name", ["convnet-w32-bn", "resnet18-bn", "lenet"])
@pytest.mark.parametrize("rank", [1, 3])
def test_adapters_of_rank_r_add_r_times_d_in_plus_d_out_numbers_a_layer(name: str, rank: int) -> None:
    network = build_network(name, SHAPE if name != "lenet" else (3, 32, 32), 5, stream())
    adapted = adapters(network, rank, rank)
    layers = dict(network.named_modules())
    assert {one.name for one in adapted} == {
        name for name, layer in layers.items() if isinstance(layer, nn.Conv2d | nn.Linear)
    }
    for one in adapted:
        layer = layers[one.name]
        if isinstance(layer, nn.Conv2d):
            (h, w), d_out = layer.kernel_size, layer.out_channels
            d_in = layer.in_channels * h * w
        else:
            assert isinstance(layer, nn.Linear)
            d_in, d_out = layer.in_features, layer.out_features
        assert one.numbers == rank * (d_in + d_out)
    assert adapted[-1].name == "classifier"
    assert len(start(network, adapted, stream())) == sum(one.numbers for one in adapted)


def test_a_whole_head_is_its_weight_and_its_bias() -> None:
    network = encoder().network
    (head,) = adapters(network, 0, None)
    assert head == Adapted("classifier", 5, network.feature_dim, None)
    assert head.numbers == sum(part.numel() for part in network.classifier.parameters())


def unmerged(network: Network, adapted: tuple[Adapted, ...], numbers: Tensor, images: Tensor) -> Tensor:
    """The network with each adapter as two layers of its own beside the adapted one."""
    found, handles = factors(adapted, numbers), []
    for one in adapted:
        left, right = found[one.name]
        layer = network.get_submodule(one.name)
        rank = one.rank
        assert rank is not None

        def beside(
            module: nn.Module,
            given: tuple[Tensor],
            out: Tensor,
            a: Tensor = left,
            b: Tensor = right,
            r: int = rank,
        ) -> Tensor:
            if isinstance(module, nn.Conv2d):
                assert isinstance(module.padding, tuple)
                kernel = b.view(r, module.in_channels, *module.kernel_size)
                narrow = conv2d(given[0], kernel, stride=module.stride, padding=module.padding)
                return out + conv2d(narrow, a[:, :, None, None])
            return out + linear(linear(given[0], b), a)

        handles.append(layer.register_forward_hook(beside))
    logits: Tensor = network(images)
    for handle in handles:
        handle.remove()
    return logits


@pytest.mark.parametrize("name", ["convnet-w32-bn", "resnet18-bn"])
def test_merged_adapters_equal_the_unmerged_forward(name: str) -> None:
    taught = encoder(name)
    network, images = taught.network, torch.randn(6, *SHAPE, generator=stream(4))
    adapted = adapters(network, 2, 3)
    numbers = drawn(network, adapted)
    found = Projector.of(taught, Projection(adapted, numbers, 0.1)).logits(images)
    expected = unmerged(network.double(), adapted, numbers.double(), images.double())
    assert (expected - network(images.double())).abs().max() > 0.02
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("rank", "head_rank"), [(0, 0), (2, 3), (2, None), (0, None)])
def test_a_projector_starts_as_its_encoder_and_the_encoder_stays(rank: int, head_rank: int | None) -> None:
    taught, images = encoder(), torch.randn(6, *SHAPE, generator=stream(4))
    before = taught.logits(images)
    adapted = adapters(taught.network, rank, head_rank)
    numbers = start(taught.network, adapted, stream())
    assert len(adapted) == 0 or float(numbers.abs().max()) > 0
    assert torch.equal(Projector.of(taught, Projection(adapted, numbers, 0.1)).logits(images), before)
    if adapted:
        other = Projector.of(taught, Projection(adapted, numbers + 0.1, 0.1))
        assert (other.logits(images) - before).abs().max() > 0.01
    assert torch.equal(taught.logits(images), before)


def test_a_whole_head_that_starts_at_0_gives_no_class_a_lead() -> None:
    taught, images = encoder(), torch.randn(6, *SHAPE, generator=stream(4))
    adapted = adapters(taught.network, 0, None)
    numbers = start(taught.network, adapted, stream(), own_head=False)
    assert not Projector.of(taught, Projection(adapted, numbers, 0.1)).logits(images).any()


def test_the_gradient_reaches_every_number_of_the_adapters() -> None:
    network, images = encoder().network.double(), torch.randn(6, *SHAPE, generator=stream(4)).double()
    adapted = adapters(network, 2, None)
    numbers = drawn(network, adapted).double().requires_grad_()

    def loss(given: Tensor) -> Tensor:
        logits: Tensor = functional_call(network, merged(network, adapted, given), (images,))
        return logits.square().sum()

    (slope,) = torch.autograd.grad(loss(numbers), numbers)
    assert (slope != 0).all()
    for place in (0, 40, len(numbers) // 2, len(numbers) - 1):
        step = torch.zeros_like(numbers)
        step[place] = 1e-6
        expected = (loss(numbers + step) - loss(numbers - step)) / 2e-6
        torch.testing.assert_close(slope[place], expected, rtol=1e-5, atol=1e-5)


def test_adapters_of_another_network_are_refused_in_a_sentence() -> None:
    taught = encoder()
    adapted = adapters(taught.network, 1, None)
    for other, sentence in (
        (
            adapters(encoder("resnet18-bn").network, 1, None),
            "'body.0' of 64 x 27, .* has one of 32 x 27",
        ),
        ((replace(adapted[0], columns=28),), "'body.0' of 32 x 28, .* has one of 32 x 27"),
        ((Adapted("body.1", 32, 1, 1),), "'body.1' of 32 x 1, .* has one of 32 x 0"),
        ((Adapted("body", 32, 1, 1),), "'body' of 32 x 1, .* no such weight"),
    ):
        numbers = torch.zeros(sum(one.numbers for one in other))
        with pytest.raises(Refused, match=f"the adapters are of another network: .* the weight {sentence}"):
            Projector.of(taught, Projection(other, numbers, 0.1))
