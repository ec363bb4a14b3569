from dataclasses import replace

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn.functional import cross_entropy

from condense.data import Graphs, GraphSpec, load_graphs
from condense.data.graphs.batch import GraphBatch, batch_of
from condense.errors import Refused, Stopped
from condense.evaluation import GraphStudent, WholeGraphs
from condense.evaluation import graph_student as module
from condense.evaluation.graph_student import _epochs, rank_correlation, rated, score
from condense.evaluation.student import Score
from condense.networks import GraphNetwork, build_graph_network
from condense.protocols import GRAPH_SELECT_V1, GRAPH_V1, GRAPH_V2, GRAPH_WHOLE_V1, HARD_V1
from condense.resources import Budget
from condense.store import GraphSet
from tests.store.graph_sets import content

MUTAG = load_graphs("mutag")
SPEC = MUTAG.spec
WHOLE = WholeGraphs(MUTAG.train, SPEC.features)


class Weighted:
    """The first training graphs as a set that weighs them."""

    def __init__(self, weights: list[float]) -> None:
        self.graphs = MUTAG.train.select(torch.arange(len(weights)))
        self.weighting = torch.tensor(weights) / sum(weights)

    def __len__(self) -> int:
        return len(self.weighting)

    def batch(self, index: Tensor | None) -> GraphBatch:
        return batch_of(self.graphs if index is None else self.graphs.select(index), SPEC.features)


SET = Weighted([3.0, 1.0, 0.0, 2.0, 2.0])


@pytest.fixture
def students(monkeypatch: pytest.MonkeyPatch) -> list[GraphNetwork]:
    """Every student that is tested, in order."""
    tested = []

    def seen(network: GraphNetwork, graphs: Graphs, spec: GraphSpec) -> Score:
        tested.append(network)
        return score(network, graphs, spec)

    monkeypatch.setattr(module, "score", seen)
    return tested


def weights(network: torch.nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def naive(steps: int, student: str, seed: int, lr: float = 1e-3, decay: float = 1e-2) -> Tensor:
    """Adam with L2 on the weighted loss, written out."""
    net = build_graph_network(student, sum(SPEC.features), 2, torch.Generator().manual_seed(seed))
    batch = SET.batch(None)
    parameters = list(net.parameters())
    first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    for step in range(1, steps + 1):
        losses = [
            weight * cross_entropy(logits, label)
            for weight, logits, label in zip(SET.weighting, net(batch), batch.labels, strict=True)
        ]
        grads = torch.autograd.grad(sum(losses, torch.zeros(())), parameters)
        for p, grad, m, v in zip(parameters, grads, first, second, strict=True):
            grad = grad + decay * p.detach()
            m += 0.1 * (grad - m)
            v += 0.001 * (grad**2 - v)
            p.data -= lr * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
    return weights(net)


@pytest.mark.parametrize("student", ["gcn-sum", "gat-mean", "gin-mean"])
def test_a_student_is_adam_on_the_loss_weighted_by_the_sets_weights(
    student: str, students: list[GraphNetwork]
) -> None:
    protocol = replace(GRAPH_V1, steps=4)
    GraphStudent(source=SET, test=MUTAG.test, spec=SPEC, protocol=protocol, network=student).outcome(3)
    expected = naive(4, student, 3)
    torch.testing.assert_close(weights(students[0]), expected, rtol=1e-4, atol=1e-6)
    for change in (
        replace(protocol, steps=5),
        replace(protocol, weight_decay=0.0),
        replace(protocol, lr=2e-3),
        replace(protocol, momentum=0.0),
        replace(protocol, optimizer="adamw"),
    ):
        GraphStudent(source=SET, test=MUTAG.test, spec=SPEC, protocol=change, network=student).outcome(3)
        assert (weights(students[-1]) - expected).abs().max() > 1e-4
    GraphStudent(
        source=Weighted([1.0] * 5), test=MUTAG.test, spec=SPEC, protocol=protocol, network=student
    ).outcome(3)
    assert (weights(students[-1]) - expected).abs().max() > 1e-4


@pytest.mark.parametrize("batch", [512, 4])
def test_a_stored_set_of_real_graphs_trains_the_same_student_as_the_graphs(
    batch: int, students: list[GraphNetwork]
) -> None:
    graphs = MUTAG.train.select([3, 1, 40, 7, 100, 9])
    parts = {name: value for name, value in graphs.tensors().items() if "node_" not in name}
    stored = GraphSet(
        **parts,  # type: ignore[arg-type]
        nodes=graphs.node_features,
        content=content(graphs.labels, SPEC.features),
    )
    protocol = replace(GRAPH_V1, steps=5, batch=batch)
    for source in (stored, WholeGraphs(graphs, SPEC.features)):
        GraphStudent(source=source, test=MUTAG.test, spec=SPEC, protocol=protocol, network="gat-sum").outcome(
            0
        )
    torch.testing.assert_close(weights(students[0]), weights(students[1]))


def test_an_outcome_is_its_seeds_alone() -> None:
    before = torch.random.get_rng_state()
    protocol = replace(GRAPH_WHOLE_V1, steps=3)
    outcomes = [
        GraphStudent(source=WHOLE, test=MUTAG.test, spec=SPEC, protocol=protocol, network="gin-sum").outcome(
            seed
        )
        for seed in (0, 0, 1)
    ]
    values = [(outcome.accuracy, outcome.auc) for outcome in outcomes]
    assert values[0] == values[1] != values[2]
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_whole_training_set_teaches_to_tell_its_test_graphs_apart() -> None:
    protocol = replace(GRAPH_WHOLE_V1, steps=80)
    outcome = GraphStudent(
        source=WHOLE, test=MUTAG.test, spec=SPEC, protocol=protocol, network="gin-sum"
    ).outcome(0)
    assert outcome.auc is not None and outcome.auc > 85 and outcome.seconds > 0


def test_the_whole_set_comes_in_batches_of_each_graph_once_an_epoch() -> None:
    order: list[Tensor] = []

    class Watched(WholeGraphs):
        def batch(self, index: Tensor | None) -> GraphBatch:
            assert index is not None
            order.append(index)
            return super().batch(index)

    batches = _epochs(Watched(MUTAG.train, SPEC.features), GRAPH_WHOLE_V1, torch.Generator().manual_seed(0))
    taken = [batches.at(step) for step in range(4)]
    assert [len(batch) for batch, _ in taken] == [128, 22, 128, 22]
    for first in (0, 2):
        assert torch.cat(order[first : first + 2]).sort().values.tolist() == list(range(150))
    assert not torch.equal(order[0], order[2])
    for batch, counts in taken:
        torch.testing.assert_close(counts, torch.full((len(batch),), 1 / len(batch)))


def test_more_items_than_a_batch_are_drawn_by_weight_and_count_alike() -> None:
    protocol = replace(GRAPH_V1, batch=4)
    drawn: list[int] = []

    class Watched(Weighted):
        def batch(self, index: Tensor | None) -> GraphBatch:
            assert index is not None
            drawn.extend(index.tolist())
            return super().batch(index)

    batches = _epochs(Watched([3.0, 1.0, 0.0, 2.0, 2.0]), protocol, torch.Generator().manual_seed(0))
    for batch, counts in map(batches.at, range(1000)):
        assert len(batch) == 4 and counts.tolist() == [0.25] * 4
    shares = torch.bincount(torch.tensor(drawn), minlength=5) / len(drawn)
    # Of 4000 draws a share's standard deviation is below 0.008.
    torch.testing.assert_close(shares, SET.weighting, rtol=0, atol=0.03)
    assert shares[2] == 0


def test_a_set_as_large_as_a_batch_is_taken_whole_and_never_drawn() -> None:
    rng = torch.Generator().manual_seed(0)
    before = rng.get_state()
    batches = _epochs(SET, replace(GRAPH_V1, batch=5), rng)
    for batch, counts in map(batches.at, range(3)):
        assert torch.equal(batch.labels, SET.graphs.labels) and torch.equal(counts, SET.weighting)
    assert torch.equal(before, rng.get_state())


def scripted(monkeypatch: pytest.MonkeyPatch, scores: list[Score]) -> tuple[list[Graphs], list[Tensor]]:
    """Scores in their order in place of the students' own, and what was asked for."""
    graphs, seen, left = [], [], iter(scores)

    def told(network: GraphNetwork, asked: Graphs, spec: GraphSpec) -> Score:
        graphs.append(asked)
        seen.append(weights(network).clone())
        return next(left)

    monkeypatch.setattr(module, "score", told)
    return graphs, seen


@pytest.mark.parametrize("auc", [True, False])
def test_a_protocol_that_selects_tests_the_first_best_of_every_tenth_step(
    monkeypatch: pytest.MonkeyPatch, auc: bool
) -> None:
    marks = [50.0, 70.0, 70.0, 60.0, 99.0]
    scores = [Score(0.0, mark, mark / 100) if auc else Score(mark) for mark in marks]
    graphs, seen = scripted(monkeypatch, scores)
    outcome = GraphStudent(
        source=SET,
        test=MUTAG.test,
        spec=SPEC,
        protocol=replace(GRAPH_SELECT_V1, steps=35),
        valid=MUTAG.valid,
        network="gcn-mean",
    ).outcome(0)
    assert [one is MUTAG.valid for one in graphs] == [True, True, True, True, False]
    assert graphs[-1] is MUTAG.test
    assert (outcome.accuracy, outcome.auc, outcome.size_correlation) == scores[-1]
    assert torch.equal(seen[4], seen[1]) and not torch.equal(seen[1], seen[2])
    torch.testing.assert_close(seen[0], naive(10, "gcn-mean", 0), rtol=1e-3, atol=1e-5)


def test_any_other_protocol_leaves_the_validation_graphs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs, _ = scripted(monkeypatch, [Score(1.0)])
    GraphStudent(
        source=SET,
        test=MUTAG.test,
        spec=SPEC,
        protocol=replace(GRAPH_V1, steps=20),
        valid=MUTAG.valid,
        network="gcn-sum",
    ).outcome(0)
    assert len(graphs) == 1 and graphs[0] is MUTAG.test


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": None}, "graph-select-v1 gives no number of steps or no learning rate"),
        ({"lr": None}, "graph-select-v1 gives no number of steps or no learning rate"),
        ({"optimizer": "lbfgs"}, "graph-select-v1: lbfgs does not train networks"),
    ],
)
def test_a_protocol_that_cannot_train_networks_for_graphs_is_refused(
    change: dict[str, object], words: str
) -> None:
    protocol = replace(GRAPH_SELECT_V1, **change)  # type: ignore[arg-type]
    with pytest.raises(Refused, match=words):
        GraphStudent(
            source=SET, test=MUTAG.test, spec=SPEC, protocol=protocol, valid=MUTAG.valid, network="gcn-sum"
        ).outcome(0)


def test_images_protocols_and_a_selection_from_nothing_are_refused() -> None:
    with pytest.raises(Refused, match="hard-v1 gives no number of steps"):
        GraphStudent(source=SET, test=MUTAG.test, spec=SPEC, protocol=HARD_V1, network="gcn-sum").outcome(0)
    for valid in (None, MUTAG.valid.select([])):
        with pytest.raises(Refused, match="graph-select-v1 selects students by validation graphs, and there"):
            GraphStudent(
                source=SET,
                test=MUTAG.test,
                spec=SPEC,
                protocol=GRAPH_SELECT_V1,
                valid=valid,
                network="gcn-sum",
            ).outcome(0)


def test_a_spent_budget_stops_a_student() -> None:
    budget = Budget(1e-9)
    with pytest.raises(Stopped, match="gcn-sum 0, phase train, step 1 of 300"):
        GraphStudent(
            source=SET, test=MUTAG.test, spec=SPEC, protocol=GRAPH_V1, budget=budget, network="gcn-sum"
        ).outcome(0)


def test_the_auc_counts_ordered_pairs_and_half_of_the_equal_ones() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 4, (40, 2), generator=rng).float()
    labels = torch.randint(0, 2, (40,), generator=rng)
    gap = logits[:, 1] - logits[:, 0]
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in gap[labels == 1] for b in gap[labels == 0]]
    accuracy, auc, _ = rated(logits, labels)
    assert auc == pytest.approx(100 * sum(pairs) / len(pairs))
    assert accuracy == pytest.approx(100 * float((logits.argmax(1) == labels).double().mean()))


def test_graphs_are_ranked_by_logits_where_probabilities_saturate() -> None:
    logits = torch.tensor([[0.0, 300.0], [0.0, 200.0]])
    assert logits.softmax(1)[0, 1] == logits.softmax(1)[1, 1]
    assert rated(logits, torch.tensor([1, 0]))[:2] == (50.0, 100.0)
    for bad in (torch.nan, torch.inf):
        with pytest.raises(Refused, match="a trained network has diverged: its logits are not finite"):
            rated(torch.full((2, 2), bad), torch.tensor([1, 0]))


def test_there_is_no_curve_for_three_classes_and_graphs_of_one_of_two_are_refused() -> None:
    assert rated(torch.eye(3), torch.arange(3), torch.arange(3)) == (100.0, None, None)
    with pytest.raises(Refused, match="all 2 graphs are of the class 0: they have no ROC curve"):
        rated(torch.eye(2), torch.zeros(2, dtype=torch.long))


@pytest.mark.parametrize("values", [40, 3], ids=["few ties", "many ties"])
def test_the_rank_correlation_is_that_of_mean_ranks_counted_by_hand(values: int) -> None:
    rng = torch.Generator().manual_seed(values)
    first, second = (torch.randint(0, values, (30,), generator=rng) for _ in range(2))

    def ranks(numbers: Tensor) -> Tensor:
        below = (numbers[None] < numbers[:, None]).sum(1)
        equal = (numbers[None] == numbers[:, None]).sum(1)
        return below + (equal + 1).double() / 2

    a, b = (ranks(numbers) - ranks(numbers).mean() for numbers in (first, second))
    found = rank_correlation(first.double(), second)
    assert found == pytest.approx(float((a * b).sum() / (a.norm() * b.norm())))
    assert found == pytest.approx(spearmanr(first, second).statistic)
    assert rank_correlation(first.double().exp(), second) == pytest.approx(found)


def test_equal_order_has_the_rank_correlation_one_and_constants_have_none() -> None:
    rising = torch.tensor([1.0, 2.0, 4.0, 4.0])
    assert rank_correlation(rising, rising.long() * 3) == pytest.approx(1.0)
    assert rank_correlation(-rising, rising) == pytest.approx(-1.0)
    assert rank_correlation(rising, torch.ones(4)) is None and rank_correlation(torch.ones(4), rising) is None
    assert rank_correlation(rising[:1], rising[:1]) is None


def test_a_students_scores_are_correlated_with_the_test_graphs_sizes(students: list[GraphNetwork]) -> None:
    sizes = MUTAG.test.nodes_ptr.diff()
    logits = torch.stack([torch.zeros(len(sizes)), -(sizes.float() ** 2)], 1)
    assert rated(logits, MUTAG.test.labels, sizes).size_correlation == pytest.approx(-1.0)
    protocol = replace(GRAPH_V2, steps=2)
    student = GraphStudent(source=SET, test=MUTAG.test, spec=SPEC, protocol=protocol, network="gcn-sum")
    outcome = student.outcome(0)
    with torch.no_grad():
        found = students[0](batch_of(MUTAG.test, SPEC.features))
    expected = spearmanr(found[:, 1] - found[:, 0], sizes).statistic
    assert outcome.size_correlation == pytest.approx(expected, abs=1e-6)
