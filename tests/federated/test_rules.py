"""The servers' and clients' formulas against naive ones, in float64."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from condense.federated.local import Labelled, Pull, contrast, control_change, train_locally
from condense.federated.rules import average, moved_control, normalised, pseudo_gradient
from condense.networks import Network, build_network
from condense.protocol import Protocol, Stage

SHAPE, CLASSES, LR = (1, 8, 8), 3, 0.1
Named = dict[str, Tensor]


def protocol(batch: int = 4, epochs: int = 1) -> Protocol:
    return Protocol(
        name="toy", lr=LR, momentum=0.0, weight_decay=0.0, batch=batch, stages=(Stage(epochs=epochs),)
    )


def network(seed: int = 0) -> Network:
    return build_network("convnet-w32", SHAPE, CLASSES, rng(seed)).double()


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(n: int = 10, seed: int = 0) -> Labelled:
    draw = rng(seed)
    images = torch.randn((n, *SHAPE), generator=draw, dtype=torch.float64)
    return Labelled(images, torch.arange(n) % CLASSES)


def weights(seed: int) -> Named:
    draw = rng(seed)
    return {name: torch.randn(size, generator=draw, dtype=torch.float64) for name, size in SIZES.items()}


SIZES = {"a": (2, 3), "b": (4,)}


def named(net: Network) -> Named:
    return {name: one.detach().clone() for name, one in net.named_parameters()}


def naive_sgd(net: Network, held: Labelled, batch: int, seed: int, pull: Pull = Pull()) -> int:  # noqa: B008
    """One epoch of plain SGD, written out, with all that a pull may add."""
    start = named(net)
    order = torch.randperm(len(held), generator=rng(seed)).tolist()
    cuts = range(0, len(order), batch)
    for cut in cuts:
        chosen = order[cut : cut + batch]
        loss = cross_entropy(net(held.images[chosen]), held.labels[chosen])
        gradient = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for (name, one), slope in zip(net.named_parameters(), gradient, strict=True):
                drift = pull.drift[name] if pull.drift else torch.zeros(())
                one.sub_(LR * (slope + pull.proximal * (one - start[name]) + drift))
    return len(cuts)


def same(found: Named, expected: Named) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12)


def test_the_average_of_networks_is_their_mean() -> None:
    found = average([weights(0), weights(1), weights(2)])
    same(found, {name: (weights(0)[name] + weights(1)[name] + weights(2)[name]) / 3 for name in SIZES})


def test_fednova_equals_its_formula_with_unequal_steps() -> None:
    before, clients, steps = weights(9), [weights(0), weights(1)], [2, 7]
    expected = {}
    for name, start in before.items():
        directions = [(start - one[name]) / count for one, count in zip(clients, steps, strict=True)]
        expected[name] = start - (2 + 7) / 2 * (directions[0] + directions[1]) / 2
    same(normalised(before, clients, steps), expected)


def test_fednova_with_equal_steps_is_the_average() -> None:
    clients = [weights(0), weights(1), weights(2)]
    same(normalised(weights(9), clients, [5, 5, 5]), average(clients))


def test_fednova_weighs_directions_where_the_average_does_not() -> None:
    clients = [weights(0), weights(1)]
    found, plain = normalised(weights(9), clients, [1, 50]), average(clients)
    assert not torch.allclose(found["a"], plain["a"])


def test_local_training_is_sgd_on_shuffled_batches() -> None:
    one, other = network(), network()
    steps, _ = train_locally(one, data(), protocol(), rng(3))
    assert steps == naive_sgd(other, data(), 4, 3) == 3
    same(named(one), named(other))


def test_fedprox_adds_the_pull_to_the_servers_network() -> None:
    one, other, pull = network(), network(), Pull(proximal=0.7)
    train_locally(one, data(), protocol(), rng(3), pull)
    naive_sgd(other, data(), 4, 3, pull)
    same(named(one), named(other))


def test_fedprox_without_weight_is_plain_training() -> None:
    one, other, pulled = network(), network(), network()
    train_locally(one, data(), protocol(), rng(3), Pull(proximal=0.0))
    train_locally(other, data(), protocol(), rng(3))
    train_locally(pulled, data(), protocol(), rng(3), Pull(proximal=5.0))
    same(named(one), named(other))
    assert not torch.allclose(pulled.classifier.weight, one.classifier.weight)


def test_scaffold_corrects_every_step_by_the_difference_of_the_controls() -> None:
    one, other = network(), network()
    draw = rng(5)
    drift = {
        name: 0.1 * torch.randn(value.shape, generator=draw, dtype=torch.float64)
        for name, value in named(one).items()
    }
    pull = Pull(drift=drift)
    train_locally(one, data(), protocol(), rng(3), pull)
    naive_sgd(other, data(), 4, 3, pull)
    same(named(one), named(other))


def test_a_new_control_is_the_mean_corrected_gradient_of_the_steps() -> None:
    """In one full-batch step without drift, c_i' is the client's gradient at the server's network."""
    net = network()
    before = named(net)
    loss = cross_entropy(net(data().images), data().labels)
    gradient = dict(zip(before, torch.autograd.grad(loss, list(net.parameters())), strict=True))
    train_locally(net, data(), protocol(batch=0), rng(3))
    zero = {name: torch.zeros_like(value) for name, value in before.items()}
    same(control_change(before, named(net), zero, 1, LR), gradient)


def test_the_change_of_a_control_equals_its_formula() -> None:
    before, after, control = weights(0), weights(1), weights(2)
    found = control_change(before, after, control, 4, LR)
    same(found, {name: -control[name] + (before[name] - after[name]) / (4 * LR) for name in SIZES})


def test_the_servers_control_moves_by_the_share_of_clients_that_answered() -> None:
    control, changes = weights(0), [weights(1), weights(2)]
    found = moved_control(control, changes, 8)
    expected = {name: control[name] + (changes[0][name] + changes[1][name]) / 8 for name in SIZES}
    same(found, expected)


def test_the_pseudo_gradient_of_one_full_batch_step_is_the_gradient() -> None:
    net = network()
    before = named(net)
    loss = cross_entropy(net(data().images), data().labels)
    gradient = dict(zip(before, torch.autograd.grad(loss, list(net.parameters())), strict=True))
    train_locally(net, data(), protocol(batch=0), rng(0))
    same(pseudo_gradient(before, named(net), LR), gradient)


def naive_contrast(rows: Tensor, labels: list[int], temperature: float) -> float:
    unit = rows / rows.norm(dim=1, keepdim=True)
    losses = []
    for i, label in enumerate(labels):
        others = [j for j in range(len(labels)) if j != i]
        below = sum(math.exp(float(unit[i] @ unit[a]) / temperature) for a in others)
        friends = [j for j in others if labels[j] == label]
        terms = [math.log(math.exp(float(unit[i] @ unit[p]) / temperature) / below) for p in friends]
        if friends:
            losses.append(-sum(terms) / len(friends))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("labels", [[0, 1, 0, 1, 2, 2, 0], [0, 1, 2, 0, 0, 0, 0]])
def test_the_contrastive_loss_equals_a_naive_sum(labels: list[int]) -> None:
    rows = torch.randn((7, 5), generator=rng(1), dtype=torch.float64)
    found = contrast(rows, torch.tensor(labels), 0.07)
    assert float(found) == pytest.approx(naive_contrast(rows, labels, 0.07), rel=1e-10)


def test_the_contrastive_loss_of_rows_without_a_partner_is_zero() -> None:
    assert float(contrast(torch.eye(3), torch.arange(3), 0.07)) == 0


def test_anchors_pull_features_of_their_class_together() -> None:
    held, anchors = data(12), data(6, seed=4)
    losses = []
    for weight in (0.0, 5.0):
        net = network()
        pull = Pull(anchors=anchors, weight=weight)
        train_locally(net, held, protocol(epochs=20), rng(3), pull)
        both = held.joined(anchors)
        losses.append(float(contrast(net.features(both.images), both.labels, 0.07).detach()))
    assert losses[1] < losses[0] - 0.3
