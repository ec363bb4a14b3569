"""A set of graphs: bit for bit what it was after a time on disk, and what networks make of it."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from condense.data import load_graphs
from condense.data.graphs.batch import batch_of, multi_hot
from condense.errors import Refused
from condense.store import GraphSet, load, save, verify
from condense.store.graphs.codec import INTEGERS, narrowed
from condense.store.graphs.manifest import PART_OF
from tests.store.graph_sets import content, fields, make

FORMS: list[dict[str, Any]] = [
    {},
    {"edge_labels": 0},
    {"weights": "whole"},
    {"dense": True, "weights": "float"},
    {"trees": True, "weights": "whole"},
    {"trees": True, "edge_labels": 0},
    {"largest": 1},
    {"features": (300, 2), "largest": 40},
]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    trees=st.booleans(),
    dense=st.booleans(),
    graphs=st.integers(1, 6),
    largest=st.sampled_from([1, 2, 5, 9]),
    edge_labels=st.integers(0, 3),
    weights=st.sampled_from([None, "whole", "float"]),
    features=st.sampled_from([(1,), (7,), (300,), (3, 1, 70_000), (2, 5)]),
)
def test_each_tensor_comes_back_from_the_narrowest_integers(**chosen: Any) -> None:
    if sum(chosen["features"]) > 1000 and chosen["dense"]:
        chosen["dense"] = False
    before, after = make(**chosen), _again(make(**chosen))
    assert after.hash == before.hash and after.content == before.content
    for name in PART_OF:
        mine, its = getattr(before, name), getattr(after, name)
        assert (mine is None) == (its is None)
        assert mine is None or (torch.equal(mine, its) and mine.dtype == its.dtype)
    for tensor in before.tensors().values():
        narrower = [kind for kind in INTEGERS if kind.itemsize < tensor.dtype.itemsize]
        if tensor.dtype in INTEGERS and narrower:
            assert tensor.long().max() > torch.iinfo(narrower[-1]).max
    stored = before.tensors()
    assert stored["edges"].shape[1] * (1 if chosen["trees"] else 2) == before.edges.shape[1]
    sizes = before.nodes_ptr.diff()
    assert not stored["edges"].numel() or stored["edges"].long().max() < sizes.max()


def _again(made: GraphSet) -> GraphSet:
    """A set after a time on disk; its pictures are not of interest here."""
    from condense.store.graphs import gallery as graph_gallery

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_gallery, "draw_graphs", lambda made: b"")
        made.save(Path(folder) / "set")
        return GraphSet.load(Path(folder) / "set")


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_set_of_each_form_is_saved_loaded_and_verified(form: dict[str, Any], tmp_path: Path) -> None:
    before = make(**form)
    content_hash = save(before, tmp_path / "set")
    after = load(tmp_path / "set")
    assert isinstance(after, GraphSet)
    assert content_hash == before.hash == after.hash == after.provenance["hash"] == verify(tmp_path / "set")
    stored = load_file(tmp_path / "set" / "data.safetensors")
    assert sum(t.numel() * t.element_size() for t in stored.values()) == sum(after.nbytes().values())
    assert after.content["bytes"] == before.nbytes() and set(before.nbytes()) == {"graphs", "labels"}
    assert after.provenance["device"] == "cpu"


def test_the_narrowest_integers_hold_the_largest_value() -> None:
    for largest, kind in (
        (255, torch.uint8),
        (256, torch.uint16),
        (65536, torch.int32),
        (2**31, torch.int64),
    ):
        assert narrowed(torch.tensor([0, largest])).dtype == kind
        assert narrowed(torch.tensor([0, largest])).long().tolist() == [0, largest]


def test_the_bytes_of_a_small_set_are_counted_by_hand() -> None:
    edges = torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]])  # a path of three nodes and an edge
    labels = torch.tensor([0, 1])
    made = GraphSet(
        nodes=torch.tensor([[0], [1], [0], [2], [2]]),
        edges=edges,
        nodes_ptr=torch.tensor([0, 3, 5]),
        edges_ptr=torch.tensor([0, 4, 6]),
        labels=labels,
        weights=torch.tensor([300.0, 2.0]),
        content=content(labels, [3]),
    )
    assert made.nbytes() == {"graphs": 5 + 3 * 2 + 3 + 3, "labels": 2 + 2 * 2}
    assert made.dense_bytes == made.content["dense_bytes"] == 4 * ((3 * 3 + 3**2) + (2 * 3 + 2**2))
    assert made.tensors()["edges"].tolist() == [[0, 1, 0], [1, 2, 1]]


def test_equal_graphs_in_other_forms_have_one_hash() -> None:
    plain = make(edge_labels=0, weights="whole")
    order = torch.arange(len(plain.edges[0])).flip(0)
    begin, end = plain.edges_ptr[-2:].tolist()
    last = torch.cat([torch.arange(begin), order[: end - begin]])
    other = make(
        {
            "edges": plain.edges[:, last],
            "edge_labels": torch.zeros_like(last),
            "degrees": torch.bincount(plain.edges[1], minlength=len(plain.nodes)),
            "weights": plain.weights.float() if plain.weights is not None else None,
        },
        edge_labels=0,
        weights="whole",
    )
    assert other.hash == plain.hash and other.degrees is None and other.edge_labels is None
    assert make({"provenance": {}}).hash == make().hash != make(seed=1).hash


def test_real_graphs_are_given_to_networks_as_the_dataset_gives_them() -> None:
    dataset = load_graphs("mutag")
    real, spec = dataset.train.select(range(9)), dataset.spec
    names = ("edges", "edge_labels", "nodes_ptr", "edges_ptr", "labels")
    made = GraphSet(
        nodes=real.node_features,
        content=content(real.labels, spec.features),
        **{name: getattr(real, name) for name in names},
    )
    assert torch.equal(made.edges, real.edges) and made.edge_labels is not None
    index = torch.tensor([7, 2, 2, 0])
    for ours, theirs in (
        (made.batch(), batch_of(real, spec.features)),
        (made.batch(index), batch_of(real.select(index), spec.features)),
    ):
        for name in ("nodes", "edges", "degrees", "owners", "labels"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name))
        assert ours.roots is None
    assert made.batch() is made.batch()


def test_trees_keep_their_roots_and_their_original_degrees() -> None:
    made = make(trees=True)
    index = torch.tensor([3, 1])
    batch, given = made.batch(index), made.batch()
    nodes = torch.cat([torch.arange(int(made.nodes_ptr[i]), int(made.nodes_ptr[i + 1])) for i in index])
    assert made.roots is not None and batch.roots is not None and made.degrees is not None
    assert torch.equal(batch.roots, made.roots[nodes]) and torch.equal(batch.degrees, made.degrees[nodes])
    assert torch.equal(given.degrees, made.degrees)
    assert (batch.edges[0] > batch.edges[1]).all()  # children come after their parents in these


def test_weights_are_scaled_to_a_sum_of_one() -> None:
    assert torch.equal(make().weighting, torch.full((4,), 0.25))
    made = make({"weights": torch.tensor([1, 2, 3, 10])})
    torch.testing.assert_close(made.weighting, torch.tensor([1, 2, 3, 10]) / 16)
    halves = make({"weights": torch.tensor([0.5, 0.5, 0.25, 0.25])})
    assert halves.tensors()["weights"].dtype == torch.float32
    torch.testing.assert_close(halves.weighting, torch.tensor([2, 2, 1, 1]) / 6)


@pytest.mark.parametrize("form", FORMS[:7], ids=str)
def test_the_loader_of_torch_geometric_gives_what_batch_gives(form: dict[str, Any]) -> None:
    loader = pytest.importorskip("torch_geometric.loader")
    made = make(**form)
    (given,) = loader.DataLoader([made[i] for i in range(-len(made), 0)], batch_size=len(made))
    own = made.batch()
    assert torch.equal(given.x, own.nodes) and given.x.dtype == torch.float32
    assert torch.equal(given.edge_index, own.edges) and torch.equal(given.batch, own.owners)
    assert torch.equal(given.degrees, own.degrees) and torch.equal(given.y, made.labels)
    torch.testing.assert_close(given.weight, made.weighting)
    assert torch.equal(given.roots, torch.ones_like(given.roots) if own.roots is None else own.roots)
    labels = torch.zeros_like(own.edges[0]) if made.edge_labels is None else made.edge_labels
    assert torch.equal(given.edge_label, labels)
    if not made.nodes.is_floating_point():
        assert torch.equal(given.x, multi_hot(made.nodes, made.content["dataset"]["features"]))
    with pytest.raises(IndexError, match="graph 4 of a set of 4"):
        made[len(made)]


def test_only_single_graphs_need_torch_geometric(tmp_path: Path) -> None:
    make(trees=True).save(tmp_path / "set")
    code = """
import sys
sys.modules["torch_geometric"] = None
import condense
from condense.errors import Refused
made = condense.load("set")
made.save("again")
print(len(made.batch()))
try:
    made[0]
except Refused as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    size, sentence = done.stdout.splitlines()
    assert size == "4" and "pip install -e '.[graph]'" in sentence


def test_a_set_moves_with_all_its_tensors() -> None:
    made = make(trees=True, weights="float").to("cpu")
    assert made.hash == make(trees=True, weights="float").hash and made.device == torch.device("cpu")


def test_features_that_are_not_finite_can_be_held_but_not_stored(tmp_path: Path) -> None:
    values = fields(dense=True)
    nodes = values["nodes"]
    assert isinstance(nodes, torch.Tensor)
    nodes[0, 0] = torch.nan
    made = make({"nodes": nodes}, dense=True)
    with pytest.raises(Refused, match="this set cannot be stored: 1 numbers of the nodes are not finite"):
        made.save(tmp_path / "set")
    assert not (tmp_path / "set").exists()
