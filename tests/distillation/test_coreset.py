"""Selection of real graphs: by number and by bytes. The rules themselves are tested with their methods."""

from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from condense.data import GraphDataset
from condense.distillation import GraphRun, GraphTraining, distill
from condense.distillation.registry import build, methods
from condense.store import GraphSet

NAMES = ("random_subset", "herding", "k_center")
RULES = {
    "herding": import_module(methods()["herding"].__module__).herd,
    "k_center": import_module(methods()["k_center"].__module__).farthest_first,
}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pinned network, after a few steps."""
    monkeypatch.setattr(
        "condense.distillation.graphs.run.GraphTraining",
        lambda network: GraphTraining(network=network, steps=4, batch=16),
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def make(
    name: str, data: GraphDataset, cache: Path, ipc: int = 3, seed: int = 0, **params: object
) -> tuple[GraphSet, GraphRun]:
    method, _ = build(name, "toy", ipc, {key: str(value) for key, value in params.items()}, kind="graphs")
    return distill(method, data, ipc=ipc, seed=seed, cache=cache)


def place(made: GraphSet, data: GraphDataset) -> list[int]:
    """Which training graph each graph of a set is; the first one where several are the same."""
    train, found = data.train, list[int]()
    for graph in range(len(made)):
        first, last = made.nodes_ptr[graph], made.nodes_ptr[graph + 1]
        own = made.edges[:, made.edges_ptr[graph] : made.edges_ptr[graph + 1]] - first
        for other in range(len(train)):
            begin, end = train.nodes_ptr[other], train.nodes_ptr[other + 1]
            edges = train.edges[:, train.edges_ptr[other] : train.edges_ptr[other + 1]] - begin
            same = torch.equal(made.nodes[first:last], train.node_features[begin:end])
            if same and torch.equal(own, edges) and made.labels[graph] == train.labels[other]:
                found.append(other)
                break
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_graphs_are_whole_training_graphs_of_their_class_and_count_the_same(
    name: str, mutag: GraphDataset, cache: Path
) -> None:
    made, _ = make(name, mutag, cache)
    assert len(place(made, mutag)) == 6 and made.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert made.weights is None and made.roots is None and made.degrees is None


@pytest.mark.parametrize("name", RULES)
def test_the_picks_are_those_of_the_rule_in_the_features_of_the_pinned_network(
    name: str, mutag: GraphDataset, cache: Path
) -> None:
    made, run = make(name, mutag, cache)
    features = run.features(mutag.train, "gcn-mean")
    assert features.shape == (len(mutag.train), 64)
    picks = [members[RULES[name](features[members], 3)] for members in map(mutag.train.of_class, (0, 1))]
    whole = run.selected(mutag.train, torch.cat(picks))
    assert whole.hash == made.hash
    assert make(name, mutag, cache, seed=1)[0].nodes.equal(made.nodes)


@pytest.mark.parametrize("name", RULES)
def test_at_one_graph_a_class_herding_and_k_center_are_one(
    name: str, mutag: GraphDataset, cache: Path
) -> None:
    sets = [make(one, mutag, cache, ipc=1)[0] for one in RULES]
    assert sets[0].nodes.equal(sets[1].nodes) and sets[0].edges.equal(sets[1].edges)


def test_other_seeds_draw_other_graphs(mutag: GraphDataset, cache: Path) -> None:
    draws = [tuple(place(make("random_subset", mutag, cache, seed=seed)[0], mutag)) for seed in range(5)]
    assert len(set(draws)) == 5 and methods("graphs")["random_subset"].draws == 10


@pytest.mark.parametrize("name", NAMES)
def test_as_many_graphs_are_taken_as_there_is_room_for(name: str, mutag: GraphDataset, cache: Path) -> None:
    rooms = (1, 200, 400, 1000, 3000)
    sets = [make(name, mutag, cache, room=room)[0] for room in rooms]
    sizes = [sum(made.nbytes().values()) for made in sets]
    assert len(sets[0]) == 2 < len(sets[-1])
    for room, size, made in zip(rooms[1:], sizes[1:], sets[1:], strict=True):
        assert size <= room
        counts = made.content["counts"]["per_class"]
        assert 0 <= counts[0] - counts[1] <= 1  # in turn
    for few, more in pairwise(sets):
        assert set(place(few, mutag)) <= set(place(more, mutag))


def test_one_graph_more_would_not_fit(mutag: GraphDataset, cache: Path) -> None:
    made, run = make("herding", mutag, cache, room=1000)
    counts = made.content["counts"]["per_class"]
    features = run.features(mutag.train, "gcn-mean")
    more = [counts[0] + (counts[0] == counts[1]), counts[1] + (counts[0] > counts[1])]
    picks = [
        members[RULES["herding"](features[members], count)]
        for members, count in zip(map(mutag.train.of_class, (0, 1)), more, strict=True)
    ]
    assert sum(run.selected(mutag.train, torch.cat(picks)).nbytes().values()) > 1000


def test_with_endless_room_all_graphs_are_taken(mutag: GraphDataset, cache: Path) -> None:
    made, _ = make("random_subset", mutag, cache, ipc=1, room=10**6)
    assert made.content["counts"]["per_class"] == list(mutag.train.counts()) and made.content["ipc"] == 1
