from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from condense.data.graphs.batch import multi_hot
from condense.data.graphs.sources import load_graphs
from condense.data.graphs.spec import Graphs
from condense.distillation.graphs.gradients import (
    Dense,
    Even,
    RealBatches,
    Sparse,
    draw_weights,
    gradient,
    sigmoid_error,
    softmax_error,
)

WIDTHS = (7,)
MUTAG = load_graphs("mutag").train


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(widths: Sequence[int] = (7, 6, 5, 6, 2), seed: int = 1) -> list[Tensor]:
    """Random weights, biases too, of three layers and a head."""
    weights = [w.double() for w in draw_weights(widths, torch.Generator().manual_seed(seed))]
    return [(w + 0.1 * drawn(*w.shape, seed=seed + n)).requires_grad_() for n, w in enumerate(weights)]


def logits_of(features: Tensor, adjacency: Tensor, weights: list[Tensor], mean: bool) -> Tensor:
    """A graph's logits by the definition, from its features (m, d) and its matrix (m, m)."""
    matrix = adjacency + torch.eye(len(adjacency), dtype=torch.float64)
    half = torch.diag(matrix.sum(1) ** -0.5)
    rows = features
    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        rows = (half @ matrix @ half @ rows @ weight.T + bias).clamp(min=0)
    return (rows.mean(0) if mean else rows.sum(0)) @ weights[-2].T + weights[-1]


def plain(graphs: Graphs, number: int) -> tuple[Tensor, Tensor]:
    """Features and matrix of one graph."""
    begin, end = graphs.nodes_ptr[number : number + 2].tolist()
    features = multi_hot(graphs.node_features[begin:end], WIDTHS).double()
    matrix = torch.zeros(end - begin, end - begin, dtype=torch.float64)
    first, last = graphs.edges_ptr[number : number + 2].tolist()
    source, target = graphs.edges[:, first:last] - begin
    matrix[source, target] = 1
    return features, matrix


def of_batch(index: Tensor, weights: list[Tensor], *, mean: bool, one_logit: bool = False) -> list[Tensor]:
    batch = RealBatches(MUTAG, WIDTHS, 3, mean=mean)(index, torch.float64)
    error = sigmoid_error(batch.labels) if one_logit else softmax_error(batch.labels)
    with torch.no_grad():
        return gradient(batch.first, batch.spreads, batch.pool, weights, error)


@pytest.mark.parametrize("mean", [True, False])
def test_the_gradient_of_real_graphs_is_that_of_autograd_graph_by_graph(
    mean: bool,
) -> None:
    index, weights = torch.tensor([5, 0, 77, 5, 148]), network()
    logits = torch.stack([logits_of(*plain(MUTAG, i), weights, mean) for i in index.tolist()])
    expected = torch.autograd.grad(cross_entropy(logits, MUTAG.labels[index]), weights)
    torch.testing.assert_close(of_batch(index, weights, mean=mean), list(expected), rtol=1e-10, atol=1e-12)


def test_with_one_logit_it_is_that_of_the_binary_cross_entropy() -> None:
    index, weights = torch.tensor([5, 0, 77, 148]), network((7, 6, 6, 6, 1))
    logits = torch.stack([logits_of(*plain(MUTAG, i), weights, True) for i in index.tolist()])[:, 0]
    loss = binary_cross_entropy_with_logits(logits, MUTAG.labels[index].double())
    expected = list(torch.autograd.grad(loss, weights))
    found = of_batch(index, weights, mean=True, one_logit=True)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mean", [True, False])
def test_dense_graphs_have_the_gradient_of_the_same_graphs_among_the_real_ones(mean: bool) -> None:
    sizes = MUTAG.nodes_ptr.diff()
    index = (sizes == 17).nonzero()[:4, 0]
    features, matrices = map(torch.stack, zip(*(plain(MUTAG, i) for i in index.tolist()), strict=True))
    weights, spread = network(), Dense.of(matrices[None])
    first = spread.apply(features.flatten(0, 1)[None])
    error = softmax_error(MUTAG.labels[index][None])
    found = gradient(first, [spread, spread], Even(17, mean), weights, error)
    real = of_batch(index, weights, mean=mean)
    torch.testing.assert_close([g[0] for g in found], real, rtol=1e-10, atol=1e-12)


def test_groups_of_dense_graphs_have_gradients_of_their_own() -> None:
    features, matrices = drawn(3, 2 * 4, 7), drawn(3, 2, 4, 4, seed=1).sigmoid().tril(-1)
    spread, weights = Dense.of(matrices + matrices.mT), network()
    labels = torch.tensor([[0, 1], [1, 1], [0, 0]])

    def of(groups: slice) -> list[Tensor]:
        part = Dense(spread.matrix[groups])
        first = part.apply(features[groups])
        return gradient(first, [part, part], Even(4, True), weights, softmax_error(labels[groups]))

    whole = of(slice(None))
    for group in range(3):
        alone = of(slice(group, group + 1))
        torch.testing.assert_close([g[group] for g in whole], [g[0] for g in alone])


def test_s_of_a_dense_graph_is_symmetric_with_largest_eigenvalue_one() -> None:
    weights = drawn(1, 5, 5).sigmoid().tril(-1)
    matrix = Dense.of(weights + weights.mT).matrix[0]
    torch.testing.assert_close(matrix, matrix.T)
    assert float(torch.linalg.eigvalsh(matrix)[-1]) == pytest.approx(1)


def test_a_sparse_map_and_its_adjoint_are_a_matrix_and_its_transpose() -> None:
    matrix = drawn(4, 6) * (drawn(4, 6, seed=1) > 0)
    matrix[2] = 0
    rows, columns = matrix.nonzero(as_tuple=True)
    ptr = torch.cat([torch.zeros(1, dtype=torch.long), torch.bincount(rows, minlength=4).cumsum(0)])
    sparse = Sparse(ptr, columns, matrix[rows, columns], 6)
    torch.testing.assert_close(sparse.apply(drawn(6, 3)), matrix @ drawn(6, 3))
    torch.testing.assert_close(sparse.adjoint(drawn(4, 3)), matrix.T @ drawn(4, 3))


def test_even_pooling_and_its_adjoint_agree() -> None:
    for mean in (True, False):
        pool = Even(3, mean)
        left = (pool.apply(drawn(2, 12, 5)) * drawn(2, 4, 5, seed=1)).sum()
        right = (drawn(2, 12, 5) * pool.adjoint(drawn(2, 4, 5, seed=1))).sum()
        torch.testing.assert_close(left, right)


def test_rows_that_a_layer_cannot_tell_apart_are_computed_once() -> None:
    batch = RealBatches(MUTAG, WIDTHS, 3, mean=True)(torch.arange(len(MUTAG)))
    assert len(batch.first) == 81 and len(MUTAG.node_labels) == 2687


def test_networks_are_drawn_within_their_bounds_and_from_the_generator_alone() -> None:
    first, bias, *_, head, offset = draw_weights((200, 100, 100, 2), torch.Generator().manual_seed(3))
    again = draw_weights((200, 100, 100, 2), torch.Generator().manual_seed(3))
    assert torch.equal(first, again[0]) and torch.equal(offset, again[-1])
    assert first.shape == (100, 200) and head.shape == (2, 100) and not bias.any()
    assert float(first.abs().max()) == pytest.approx((6 / 300) ** 0.5, rel=1e-3)
    assert 0.09 < float(head.abs().max()) <= 0.1 and 0 < float(offset.abs().max()) <= 0.1
