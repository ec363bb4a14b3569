"""The pool of networks: ages, renewal, and a state from which it goes on with the same bits."""

from functools import partial

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from condense.distillation.kernel.pool import ModelPool
from condense.networks import Network, build_network
from condense.store import Features
from condense.training.checkpoint import decode_tree, encode_tree
from condense.training.step import train_step

IMAGES = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(5))
TARGET = Features(torch.eye(3).repeat(2, 1), torch.arange(3).repeat(2), 0.5)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pool(count: int = 3, lifetime: int = 4, ages: tuple[int, ...] | None = None) -> ModelPool:
    rng = stream()
    networks = [build_network("convnet-w32-bn", (1, 8, 8), 3, rng) for _ in range(count)]
    return ModelPool(networks, partial(Adam, lr=0.01), lifetime=lifetime, ages=ages)


def step(network: Network, optimizer: Optimizer) -> Tensor:
    return train_step(network, optimizer, IMAGES, TARGET)


def bits(held: ModelPool) -> list[Tensor]:
    """Every number of the pool."""
    weights = [value for network in held.networks for value in network.state_dict().values()]
    moments = [
        value
        for optimizer in held.optimizers
        for one in optimizer.state_dict()["state"].values()
        for value in one.values()
    ]
    return [*weights, *moments, torch.tensor(held.ages)]


def test_a_visit_trains_the_drawn_network_alone_and_counts_the_step() -> None:
    held, untouched = pool(), pool()
    held.visit(1, step, stream())
    assert held.ages == [0, 1, 0]
    same = [
        all(torch.equal(a, b) for a, b in zip(x.parameters(), y.parameters(), strict=True))
        for x, y in zip(held.networks, untouched.networks, strict=True)
    ]
    assert same == [True, False, True]


def test_training_in_the_pool_is_the_optimisers_own_training() -> None:
    held, alone = pool(), pool().networks[2]
    optimizer = Adam(alone.parameters(), lr=0.01)
    held.train(2, step, 3)
    for _ in range(3):
        step(alone, optimizer)
    assert held.ages[2] == 3
    for a, b in zip(held.networks[2].state_dict().values(), alone.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_network_as_old_as_its_lifetime_is_renewed_in_place_of_a_step() -> None:
    held = pool(ages=(4, 3, 0))
    held.train(0, step, 2)
    old = [parameter.detach().clone() for parameter in held.networks[0].parameters()]
    held.visit(0, step, stream(7))
    assert held.ages == [0, 3, 0] and not held.optimizers[0].state
    fresh = build_network("convnet-w32-bn", (1, 8, 8), 3, stream(7))
    for a, b in zip(held.networks[0].state_dict().values(), fresh.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(old[0], next(iter(held.networks[0].parameters())))
    held.visit(1, step, stream())
    assert held.ages == [0, 4, 0]


def test_the_state_survives_a_checkpoint_and_training_goes_on_with_the_same_bits() -> None:
    held, rng = pool(), stream(3)
    for _ in range(9):
        held.visit(held.draw(rng), step, rng)
    tensors: dict[str, Tensor] = {}
    tree, drawn = encode_tree(held.state_dict(), tensors), rng.get_state()
    again = pool()
    again.load_state_dict(decode_tree(tree, tensors))  # type: ignore[arg-type] # the tree of a pool
    for one in (held, again):
        rng.set_state(drawn)
        for _ in range(9):
            one.visit(one.draw(rng), step, rng)
    assert all(torch.equal(a, b) for a, b in zip(bits(held), bits(again), strict=True))


def test_every_network_is_drawn_equally_often() -> None:
    held, rng = pool(), stream(1)
    counts = torch.bincount(torch.tensor([held.draw(rng) for _ in range(3000)]), minlength=3)
    assert int((counts - 1000).abs().max()) < 100
