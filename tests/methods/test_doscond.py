from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from condense.data.graphs.batch import multi_hot
from condense.data.graphs.sources import load_graphs
from condense.distillation import distill
from condense.distillation.graphs.gradients import RealBatch, RealBatches, RealGradients, draw_weights
from condense.distillation.registry import build, methods
from condense.errors import Refused, Stopped
from condense.resources import Budget, Machine
from condense.store import GraphSet

DosCond = methods("graphs")["doscond"]
doscond = import_module(DosCond.__module__)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


MUTAG = load_graphs("mutag")


def made(cache: Path, ipc: int = 1, **settings: float | str) -> GraphSet:
    given = {name: str(value) for name, value in ({"nodes": 18} | settings).items()}
    method, _ = build("doscond", "mutag", ipc, given, kind="graphs")
    found, run = distill(method, MUTAG, ipc=ipc, cache=cache)
    run.done()
    assert isinstance(found, GraphSet)
    return found


def real_gradients(**settings: int) -> RealGradients:
    """The gradients of MUTAG's two classes, each matched by itself."""
    method = doscond.DosCond(**settings)
    batches = RealBatches(MUTAG.train, MUTAG.spec.features, method.layers, mean=True)
    groups = [[MUTAG.train.of_class(label)] for label in (0, 1)]
    return RealGradients(batches, groups, method.batch_real, method.error, generator())


def naive_logits(features: Tensor, edges: Tensor, weights: list[Tensor]) -> Tensor:
    """A dense graph's logits by the definition, pooled by the mean."""
    matrix = edges + torch.eye(len(edges), dtype=edges.dtype)
    half = torch.diag(matrix.sum(1) ** -0.5)
    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        features = (half @ matrix @ half @ features @ weight.T + bias).clamp(min=0)
    return features.mean(0) @ weights[-2].T + weights[-1]


def naive_total(features: Tensor, logits: Tensor, labels: Tensor, weights: list[Tensor], target: list[Tensor],
                noise: Tensor, heat: float, density: float, beta: float) -> Tensor:  # fmt: skip
    """What is minimised, pair by pair, graph by graph and group by group, differentiated twice."""
    n, m, _ = features.shape
    edges = [[[torch.zeros((), dtype=torch.float64)] * m for _ in range(m)] for _ in range(n)]
    for graph in range(n):
        pair = 0
        for i in range(m):
            for j in range(i + 1, m):
                u = noise[graph, pair]
                logit = (logits[graph, i, j] + logits[graph, j, i]) / 2 + torch.log(u) - torch.log(1 - u)
                edges[graph][i][j] = edges[graph][j][i] = 1 / (1 + torch.exp(-logit / heat))
                pair += 1
    dense = [torch.stack([torch.stack(row) for row in graph]) for graph in edges]
    total = beta * (torch.sigmoid(logits).mean() - density).clamp(min=0)
    for group, chosen in enumerate(labels):
        rows = range(group * len(chosen), (group + 1) * len(chosen))
        answers = torch.stack([naive_logits(features[row], dense[row], weights) for row in rows])
        learned = torch.autograd.grad(cross_entropy(answers, chosen), weights, create_graph=True)
        a = torch.cat([side[group].flatten() for side in target])
        b = torch.cat([side.flatten() for side in learned])
        total = total + (b - a) @ (b - a) / (a @ a)
    return total


@pytest.mark.parametrize("labels", [torch.tensor([[0, 0], [1, 1]]), torch.tensor([[0, 0, 1, 1]])])
def test_the_objective_is_that_of_a_naive_double_differentiation(labels: Tensor) -> None:
    features = drawn(4, 5, 3).requires_grad_()
    logits = drawn(4, 5, 5, seed=1).requires_grad_()
    weights = [w.double().requires_grad_() for w in draw_weights((3, 6, 6, 6, 2), generator(2))]
    target = [0.05 * drawn(len(labels), *w.shape, seed=3) for w in weights]
    noise = torch.rand(4, 10, generator=generator(4), dtype=torch.float64)
    expected = naive_total(features, logits, labels, weights, target, noise, 0.5, 0.3, 0.7)

    method = doscond.DosCond(layers=3, hidden=6)
    frozen = [w.detach() for w in weights]
    edges = doscond.sampled(logits, 0.5, generator(4))
    loss, bound = method.objective(features, edges, labels, frozen, target)
    found = loss + bound + 0.7 * doscond.surplus(logits, torch.tensor(0.3, dtype=torch.float64))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(
        torch.autograd.grad(found, [features, logits]),
        torch.autograd.grad(expected, [features, logits]),
        rtol=1e-9,
        atol=1e-12,
    )


def test_the_penalised_norm_is_that_of_the_spread_and_pooled_features() -> None:
    features, edges = drawn(2, 4, 3), doscond.sampled(drawn(2, 4, 4, seed=1), 1.0, generator())
    rows = []
    for x, a in zip(features, edges, strict=True):
        looped = a + torch.eye(4, dtype=torch.float64)
        half = torch.diag(looped.sum(1) ** -0.5)
        rows.append((torch.linalg.matrix_power(half @ looped @ half, 3) @ x).sum(0))
    weights = [w.double() for w in draw_weights((3, 5, 5, 5, 1), generator(2))]
    labels = torch.tensor([[0], [1]])
    target = [drawn(2, *w.shape) for w in weights]
    method = doscond.DosCond(norm_weight=2.0, pooling="sum", one_logit=True)
    _, bound = method.objective(features, edges, labels, weights, target)
    torch.testing.assert_close(bound, 2.0 / 2 * torch.stack(rows).norm() / 2)


def test_sampled_edges_are_symmetric_and_have_the_probability_of_their_logits() -> None:
    logits = drawn(1, 3, 3).expand(4000, 3, 3)
    edges = doscond.sampled(logits, 0.3, generator(5))
    assert torch.equal(edges, edges.mT) and not edges.diagonal(dim1=1, dim2=2).any()
    assert 0 <= edges.min() and edges.max() <= 1
    often = (edges > 0.5).double().mean(0)
    expected = doscond.symmetric(logits[:1])[0].sigmoid().fill_diagonal_(0)
    torch.testing.assert_close(often, expected, rtol=0, atol=0.03)


def test_at_low_temperature_edges_are_binary_and_on_the_same_side_of_a_half() -> None:
    logits = drawn(3, 6, 6)
    cold, warm = (doscond.sampled(logits, heat, generator(6)) for heat in (1e-9, 1.0))
    assert set(cold.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(cold > 0.5, warm > 0.5)


def test_the_temperature_falls_to_a_hundredth_in_200_iterations_and_stays() -> None:
    assert [doscond.temperature(step) for step in (0, 100, 200, 999)] == pytest.approx([1, 0.1, 0.01, 0.01])


def test_edges_cost_nothing_up_to_the_density_of_the_start() -> None:
    logits = drawn(2, 4, 4).requires_grad_()
    mean = logits.sigmoid().mean().detach()
    assert doscond.surplus(logits, mean + 0.1) == 0
    excess = doscond.surplus(logits, mean - 0.1)
    assert float(excess.detach()) == pytest.approx(0.1)
    slope = torch.autograd.grad(excess, logits)[0]
    torch.testing.assert_close(slope, (logits.sigmoid() * (1 - logits.sigmoid()) / 32).detach())


def test_equal_gradients_are_zero_apart_and_opposite_ones_four_in_each_group() -> None:
    sides = [drawn(3, 4, 2), drawn(3, 4, seed=1)]
    assert doscond.distance(sides, sides) == 0
    assert doscond.distance(sides, [-side for side in sides]) == pytest.approx(3 * 4)


def test_without_rates_the_set_is_its_start_real_graphs_padded_with_empty_nodes(tmp_path: Path) -> None:
    still = made(tmp_path, ipc=4, iterations=2, hidden=8, lr_features=0, lr_structure=0)
    train, widths = MUTAG.train, MUTAG.spec.features
    assert still.labels.tolist() == [0] * 4 + [1] * 4 and len(still.nodes) == 8 * 18
    whole, features = still.batch(None), multi_hot(train.node_features, widths)
    found = set()
    for graph in range(8):
        size = int(whole.nodes[graph * 18 : graph * 18 + 18].any(1).sum())
        mine = whole.edges[:, whole.owners[whole.edges[0]] == graph] - graph * 18
        for number in train.of_class(int(still.labels[graph])).tolist():
            begin, end = train.nodes_ptr[number : number + 2].tolist()
            first, last = train.edges_ptr[number : number + 2].tolist()
            here = whole.nodes[graph * 18 : graph * 18 + size]
            if end - begin == size and torch.equal(features[begin:end], here):
                if torch.equal(train.edges[:, first:last] - begin, mine):
                    found.add(graph)
    assert found == set(range(8))


def test_the_first_update_moves_every_feature_by_its_rate_at_most(tmp_path: Path) -> None:
    before = made(tmp_path, iterations=1, hidden=8, lr_features=0, lr_structure=0).nodes
    after = made(tmp_path, iterations=1, hidden=8, lr_features=0.02).nodes
    gap = (after - before).abs()
    assert 0.019 < float(gap.max()) <= 0.02001


def test_the_rates_fall_to_a_tenth_once_and_adam_forgets(tmp_path: Path) -> None:
    first, second, fallen = (
        made(tmp_path, hidden=8, lr_structure=0, lr_features=0.02, iterations=n, fall_at=at).nodes
        for n, at in ((1, 9), (2, 9), (2, 1))
    )
    # Adam's first step after it forgot is the rate, whatever the gradient's size.
    assert float((fallen - first).abs().max()) == pytest.approx(0.002, rel=1e-2)
    assert float((second - first).abs().max()) > 0.005


def test_a_run_stopped_before_and_after_the_rates_fall_makes_the_same_set(
    tmp_path: Path, spent_after: Callable[[int], Budget]
) -> None:
    method = doscond.DosCond(nodes=18, hidden=8, iterations=6, fall_at=3, lr_structure=0.1)
    whole, _ = distill(method, MUTAG, ipc=1, cache=tmp_path / "whole")
    for _ in range(2):
        with pytest.raises(Stopped):
            distill(method, MUTAG, ipc=1, cache=tmp_path / "parts", machine=Machine(budget=spent_after(1)))
    parts, _ = distill(method, MUTAG, ipc=1, cache=tmp_path / "parts")
    assert parts.hash == whole.hash


def test_a_small_class_gives_all_its_graphs_and_a_large_one_a_random_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches: list[Tensor] = []

    real = real_gradients(batch_real=60, hidden=4)
    inner = real._batches

    def noting(index: Tensor) -> RealBatch:
        batches.append(index)
        return inner(index)

    monkeypatch.setattr(real, "_batches", noting)
    weights = draw_weights((7, 4, 4, 4, 2), generator(1))
    for _ in range(2):
        assert [len(side) for side in real.gradient(weights)] == [2] * 8
    # The small class, of 48, is gathered once.
    assert [len(index) for index in batches] == [48, 60, 60]
    assert all(len(set(index.tolist())) == len(index) for index in batches)
    assert set(MUTAG.train.labels[batches[1]].tolist()) == {1} and not torch.equal(batches[1], batches[2])


def test_matching_lowers_the_mismatch_on_networks_that_it_has_not_seen(tmp_path: Path) -> None:
    before = made(tmp_path, hidden=16, lr_structure=0, iterations=1, lr_features=0)
    after = made(tmp_path, hidden=16, lr_structure=0.1, iterations=60)
    assert mismatch(after) < 0.5 * mismatch(before)


def mismatch(stored: GraphSet) -> float:
    """The mean distance over ten fresh networks of what a set stores."""
    whole, method = stored.batch(None), doscond.DosCond(hidden=16)
    real = real_gradients(hidden=16)
    edges = torch.zeros(2, 18, 18)
    edges[whole.owners[whole.edges[0]], whole.edges[0] % 18, whole.edges[1] % 18] = 1
    total, labels = 0.0, torch.tensor([[0], [1]])
    for seed in range(10):
        weights = draw_weights((7, 16, 16, 16, 2), generator(100 + seed))
        features = whole.nodes.view(2, 18, 7)
        gap, _ = method.objective(features, edges, labels, weights, real.gradient(weights))
        total += float(gap) / 10
    return total


def test_too_few_small_graphs_are_taken_twice_and_none_at_all_is_refused(tmp_path: Path) -> None:
    few = made(tmp_path, ipc=40, iterations=1, hidden=4, nodes=12, lr_features=0, lr_structure=0)
    assert few.labels.tolist() == [0] * 40 + [1] * 40
    with pytest.raises(Refused, match="class .* has at most 5 nodes, the smallest has"):
        made(tmp_path, nodes=5)


@pytest.mark.usefixtures("unchecked_shapes")
def test_a_pooling_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="median"):
        made(tmp_path, pooling="median")


def test_the_recipes_are_the_cells_of_the_authors_script() -> None:
    large = ("nci1", "dd", "molbace", "molbbbp", "molhiv")
    cells = {(name, ipc) for name in large for ipc in (1, 10, 50)} | {("mutag", ipc) for ipc in (1, 10, 20)}
    assert set(DosCond.recipes) == cells
    settings = {name: recipe.method.settings() for (name, _), recipe in DosCond.recipes.items()}
    assert {name for name, given in settings.items() if given["joint"]} == {"molbace"}
    assert {name for name, given in settings.items() if given["pooling"] == "sum"} == {"molhiv"}
    assert {name for name, given in settings.items() if given["one_logit"]} == {
        "molbace",
        "molbbbp",
        "molhiv",
    }
    assert settings["molhiv"]["norm_weight"] == pytest.approx(0.10607, abs=1e-5)
