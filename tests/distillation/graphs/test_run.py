"""What graph methods run on: the registry by kind, the run, and the network that is trained for them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from condense.data import GraphDataset, Graphs, ImageDataset
from condense.data.graphs.batch import batch_of
from condense.distillation import GraphMethod, GraphRun, GraphTraining, ImageMethod, distill
from condense.distillation.registry import build, methods, register, registered
from condense.errors import Refused, Stopped
from condense.networks.graph import GraphNetwork, build_graph_network
from condense.resources import Budget
from condense.store import GraphSet
from condense.training.pretrained import Pretrained
from condense.training.pretrained import pretrained as train_once
from tests.stand_ins import start

TINY = GraphTraining(network="gin-mean", steps=6, batch=16)


@dataclass(frozen=True, kw_only=True)
class Firsts(GraphMethod):
    """The first graphs of each class."""

    name = "firsts"
    keeps_real = True

    def distill(self, train: Graphs, run: GraphRun) -> GraphSet:
        return run.selected(train, torch.cat([train.of_class(label)[: run.ipc] for label in (0, 1)]))


def pretrained(
    data: GraphDataset, cache: Path, training: GraphTraining = TINY, budget: Budget | None = None
) -> Pretrained[GraphNetwork]:
    return train_once(training, data.train, data.spec, cache=cache, budget=budget or Budget())


def test_one_name_may_stand_for_a_method_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("random_subset", "herding", "k_center"):
        images, graphs = build(name, "toy", 1)[0], build(name, "toy", 1, kind="graphs")[0]
        assert isinstance(images, ImageMethod) and isinstance(graphs, GraphMethod)
        assert images.kind == "images" and graphs.kind == "graphs"
    assert "mirage" in methods("graphs") and "mirage" not in methods() and "dm" not in methods("graphs")
    monkeypatch.setattr("condense.distillation.registry._registered", dict(registered()))
    with pytest.raises(Refused, match="two methods are called 'herding'"):
        register(type("Herding", (Firsts,), {"name": "herding"}))


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        ("mirage", "images", "mirage distils graphs; toy holds images"),
        ("dm", "graphs", "dm distils images; toy holds graphs"),
        ("dm+fyi", "graphs", "dm distils images; toy holds graphs"),
        ("mirag", "graphs", "unknown method 'mirag'; nearest: mirage"),
        ("mirage+fyi", "graphs", r"mirage\+fyi: nothing is wrapped around a method for graphs"),
    ],
)
def test_a_method_for_other_data_is_refused_by_name(name: str, kind: str, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        build(name, "toy", 1, kind=kind)


@pytest.mark.usefixtures("unchecked_shapes")
def test_a_method_and_data_of_two_kinds_are_refused_either_way(
    toy: ImageDataset, mutag: GraphDataset, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="firsts distils graphs; toy holds images"):
        Firsts().check(toy, 1, teachers={}, cache=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(Refused, match="herding distils images; mutag holds graphs"):
        build("herding", "toy", 1)[0].check(mutag, 1, teachers={}, cache=tmp_path)


def test_more_graphs_than_a_class_has_or_none_are_refused(mutag: GraphDataset, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="ipc=49: class '-1' of mutag has 48 training graphs"):
        distill(Firsts(), mutag, ipc=49, cache=tmp_path)
    with pytest.raises(Refused, match="ipc=0: at least one graph per class is needed"):
        distill(Firsts(), mutag, ipc=0, cache=tmp_path)


def test_a_set_states_where_it_comes_from(mutag: GraphDataset, tmp_path: Path) -> None:
    made, run = distill(Firsts(), mutag, ipc=2, seed=4, cache=tmp_path)
    content = made.content
    assert content["kind"] == "graphs" and content["key"] == Firsts().run_key(mutag.train.hash, 2, 4)
    assert content["dataset"] == {
        "name": "mutag", "classes": ["-1", "1"], "features": [7], "split": "seeded",
        "train_hash": mutag.train.hash,
    }  # fmt: skip
    assert content["counts"] == {"stored": 4, "effective": 4, "per_class": [2, 2]}
    assert content["seed"] == 4 and content["protocol"] is None and content["edges"] == "both"
    assert content["method"] == {
        "name": "firsts", "chain": [{"name": "firsts", "version": 1, "config": {}}], "source": None
    }  # fmt: skip
    assert made.hash == replace(made, provenance={"device": "elsewhere"}).hash
    real = mutag.train.select(torch.cat([mutag.train.of_class(label)[:2] for label in (0, 1)]))
    assert torch.equal(made.nodes, real.node_features) and torch.equal(made.edges, real.edges)
    assert made.edge_labels is not None and torch.equal(made.edge_labels, real.edge_labels)
    run.done()


def test_learned_features_are_dense_and_trees_say_so(mutag: GraphDataset, tmp_path: Path) -> None:
    _, run = distill(Firsts(), mutag, ipc=1, cache=tmp_path)
    learned = torch.randn(3, 7, requires_grad=True)
    made = run.distilled(
        nodes=learned,
        edges=torch.tensor([[1], [0]]),
        nodes_ptr=torch.tensor([0, 2, 3]),
        edges_ptr=torch.tensor([0, 1, 1]),
        labels=torch.tensor([0, 1]),
        weights=torch.tensor([3, 1]),
        roots=torch.tensor([True, False, True]),
        to_parent=True,
    )
    assert made.content["nodes"] == {"encoding": "dense", "width": 7} and made.content["edges"] == "to-parent"
    assert torch.equal(made.nodes, learned) and not made.nodes.requires_grad
    assert made.weighting.tolist() == [0.75, 0.25]


def test_the_network_is_trained_as_a_plain_loop_does(mutag: GraphDataset, tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    network = build_graph_network("gin-mean", 7, 2, rng)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    order = torch.randperm(150, generator=rng)
    for step in range(6):
        batch = batch_of(mutag.train.select(order[16 * step : 16 * step + 16]), (7,))
        adam.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(network(batch), batch.labels))
        adam.step()
    found = pretrained(mutag, tmp_path).network
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), network.parameters(), strict=True))
    assert not found.training and not any(weight.requires_grad for weight in found.parameters())


def test_a_trained_network_is_read_again_and_a_damaged_one_trained_again(
    mutag: GraphDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pretrained(mutag, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("condense.training.pretrained.Loop", None)
        again = pretrained(mutag, tmp_path)
        assert again.hash == first.hash and again.seconds == first.seconds
    (weights,) = tmp_path.rglob("weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-8])
    assert pretrained(mutag, tmp_path).hash == first.hash
    changed = [replace(TINY, steps=7), replace(TINY, batch=7), replace(TINY, seed=7)]
    others = [pretrained(mutag, tmp_path, training) for training in changed]
    assert len({first.hash, *(other.hash for other in others)}) == 4
    assert len(list(tmp_path.rglob("weights.safetensors"))) == 4


def test_a_training_whose_budget_is_spent_goes_on_where_it_was(
    mutag: GraphDataset, tmp_path: Path, spent_after: Callable[[int], Budget]
) -> None:
    with pytest.raises(Stopped, match="gin-mean on mutag, phase train, step 3 of 6"):
        pretrained(mutag, tmp_path / "cut", budget=spent_after(2))
    assert pretrained(mutag, tmp_path / "cut").hash == pretrained(mutag, tmp_path / "whole").hash


def test_the_features_are_those_of_the_network_and_their_cost_is_the_runs(
    mutag: GraphDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "condense.distillation.graphs.run.GraphTraining", lambda network: replace(TINY, network=network)
    )
    _, run = distill(Firsts(), mutag, ipc=1, cache=tmp_path)
    features = run.features(mutag.train, "gin-mean")
    found = pretrained(mutag, tmp_path)
    with torch.no_grad():
        expected = found.network.features(batch_of(mutag.train, (7,)))
    assert torch.allclose(features, expected, atol=1e-5) and not features.requires_grad
    before = run._loop.seconds
    run.features(mutag.train, "gin-mean")
    assert run._loop.seconds - before >= found.seconds


@pytest.mark.parametrize("bad", [float("nan"), 1e3])
def test_learned_features_out_of_all_range_are_refused(
    mutag: GraphDataset, tmp_path: Path, bad: float
) -> None:
    run: GraphRun
    _, run = start(build("doscond", "mutag", 1, kind="graphs")[0], mutag, ipc=1, cache=tmp_path)
    nodes = torch.zeros(2, sum(mutag.spec.features))
    nodes[1, 0] = bad
    with pytest.raises(Refused, match="the features have diverged: 1 of"):
        run.distilled(
            nodes=nodes, edges=torch.zeros(2, 0, dtype=torch.long), labels=torch.tensor([0, 1]),
            nodes_ptr=torch.tensor([0, 1, 2]), edges_ptr=torch.tensor([0, 0, 0]),
        )  # fmt: skip
