"""Mirage: itemsets of small hand-made graphs, and known itemset counts of real datasets."""

import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch

from condense.data import GraphDataset, Graphs, GraphSpec, load_graphs
from condense.data.graphs.batch import batch_of
from condense.distillation import distill
from condense.distillation.graphs import itemsets
from condense.distillation.graphs.itemsets import Chosen, Transactions, choose
from condense.distillation.registry import build
from condense.errors import Refused
from condense.networks.graph import build_graph_network
from condense.store import GraphSet

MOLBACE = Path(__file__).parents[1] / "data" / "graphs" / "ogbg_molbace.zip"
PAIR, PATH, DOT = [(0, 1)], [(0, 1), (1, 2)], list[tuple[int, int]]()


def drawn(*graphs: tuple[int, list[int], list[tuple[int, int]]]) -> GraphDataset:
    """A dataset of graphs as (class, labels of the nodes, edges); all of them are to train on."""
    labels, edges, nodes_ptr, edges_ptr = list[int](), list[tuple[int, int]](), [0], [0]
    for _, nodes, pairs in graphs:
        begin = nodes_ptr[-1]
        edges += sorted((begin + a, begin + b) for i, j in pairs for a, b in ((i, j), (j, i)))
        labels += nodes
        nodes_ptr.append(len(labels))
        edges_ptr.append(len(edges))
    table = torch.tensor(edges, dtype=torch.long).reshape(-1, 2).T.contiguous()
    classes = [label for label, _, _ in graphs]
    train = Graphs(
        node_labels=torch.tensor(labels),
        node_features=torch.tensor(labels)[:, None],
        edges=table,
        edge_labels=torch.zeros_like(table[0]),
        nodes_ptr=torch.tensor(nodes_ptr),
        edges_ptr=torch.tensor(edges_ptr),
        labels=torch.tensor(classes),
        num_classes=max(classes) + 1,
    )
    spec = GraphSpec(
        name="drawn",
        classes=tuple("abc"[: train.num_classes]),
        features=(max(labels) + 1,),
        node_labels=max(labels) + 1,
        edge_values=((),),
        split="seeded",
    )
    return GraphDataset(spec, train, train, train)


def make(data: GraphDataset, cache: Path, ipc: int = 50, name: str = "toy", **params: object) -> GraphSet:
    """A set whose weights are the supports, unless others are asked for."""
    texts = {field: str(value) for field, value in ({"weights": "raw"} | params).items()}
    made: GraphSet = distill(build("mirage", name, ipc, texts, kind="graphs")[0], data, ipc=ipc, cache=cache)[
        0
    ]
    return made


def per_class(made: GraphSet) -> list[int]:
    return made.content["counts"]["per_class"]


def supports(made: GraphSet, label: int) -> list[int]:
    assert made.weights is not None
    return made.weights[made.labels == label].tolist()


def test_a_pair_that_is_in_three_graphs_of_four_is_kept_with_the_weight_three(tmp_path: Path) -> None:
    # Class a: three pairs of 0 and 1, one of which has a dot beside it, and a path. Class b: two dots.
    data = drawn(
        (0, [0, 1], PAIR), (0, [0, 1, 2], PAIR), (0, [1, 0], PAIR), (0, [0, 0, 0], PATH),
        (1, [2], DOT), (1, [2], DOT),
    )  # fmt: skip
    made = make(data, tmp_path, thresholds="3,2", hops=1)
    # The trees of the pair always come together: one closed itemset of two trees, with two nodes each.
    assert per_class(made) == [1, 1] and made.weights is not None and made.weights.tolist() == [3, 2]
    assert made.nodes[:, 0].tolist() == [0, 1, 1, 0, 2] and made.nodes_ptr.tolist() == [0, 4, 5]
    assert made.edges.tolist() == [[1, 3], [0, 2]] and made.edges_ptr.tolist() == [0, 2, 2]
    assert made.roots is not None and made.roots.tolist() == [True, False, True, False, True]
    assert made.batch().degrees.tolist() == [1, 1, 1, 1, 0]
    assert make(data, tmp_path, thresholds="3,2", hops=1, closed=False).content["counts"]["per_class"] == [
        3,
        1,
    ]
    with pytest.raises(Refused, match="nothing is kept of class 'b': its graphs have no tree"):
        make(data, tmp_path, drop_isolated=True)


def test_the_degrees_are_those_of_the_graph_and_not_of_the_tree(tmp_path: Path) -> None:
    data = drawn((0, [0, 1, 0], PATH), (1, [2], DOT))
    made = make(data, tmp_path, hops=1, thresholds="1")
    # A leaf below the end of a path is its middle, with two neighbours, one of which the tree does not show.
    ends = [
        (tree, degree)
        for tree, degree in zip(made.nodes[:, 0].tolist(), made.batch().degrees.tolist(), strict=True)
    ]
    assert set(ends) == {(0, 1), (1, 2), (2, 0)}


@pytest.mark.parametrize(
    ("thresholds", "counts"),
    [
        ("3,1", [3, 5]),
        ("2", [4, 4]),
        ("0.5", [3, 3]),
        ("0.6,1.0", [3, 1]),
        ("60%,100%", [3, 1]),
        ("1%", [5, 5]),
    ],
)
def test_thresholds_are_graphs_or_shares_of_a_classs_graphs_rounded_up(
    thresholds: str, counts: list[int], tmp_path: Path
) -> None:
    # Label 0 is in five graphs of each class, 1 with it in four, ...: one closed itemset for each support.
    data = drawn(*[(label, list(range(size)), DOT) for label in (0, 1) for size in (1, 2, 3, 4, 5)])
    assert per_class(make(data, tmp_path, thresholds=thresholds)) == counts


def test_a_share_is_taken_exactly(tmp_path: Path) -> None:
    # 0.1 x 30 is 3, though not in floating point.
    data = drawn(*[(label, [int(number < 3)], DOT) for label in (0, 1) for number in range(30)])
    assert supports(make(data, tmp_path, thresholds="0.1"), 1) == [27, 3]


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"thresholds": "1,1,1"}, "thresholds: 3 thresholds are given for 2 classes"),
        ({"thresholds": "0"}, "thresholds='0': '0' is neither a number of graphs"),
        ({"thresholds": "120%"}, "'120%' is neither a number of graphs"),
        ({"thresholds": "many"}, "'many' is neither a number of graphs"),
        ({"thresholds": "1/0%"}, "'1/0%' is neither a number of graphs"),
        ({"thresholds": "nan%"}, "'nan%' is neither a number of graphs"),
        ({"thresholds": "9"}, "kept of class 'a': no tree is in 9 of its 2 graphs, and none in over 2"),
        ({"closed": False}, "auto chooses among closed itemsets"),
        ({"keep_labels": "x"}, "keep_labels='x': it has to list whole numbers"),
        ({"exclusive": True}, "class 'a': all 1 itemsets are frequent in another class too"),
        ({"thresholds": "1", "closed": False, "cap": 1}, "class 'a': more than 1 itemsets have a support"),
        ({"hops": 0}, "hops=0: hops of mirage must be at least 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_sentence(
    params: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    data = drawn(*[(label, [0, 1], PAIR) for label in (0, 0, 1, 1)])
    with pytest.raises(Refused, match=sentence):
        make(data, tmp_path, 50, "toy", **params)


def test_trees_merge_the_labels_that_are_not_listed_and_the_set_keeps_them(
    tmp_path: Path,
) -> None:
    data = drawn((0, [0, 3], PAIR), (0, [0, 4], PAIR), (1, [1], DOT))
    apart = make(data, tmp_path, hops=1, thresholds="1")
    merged = make(data, tmp_path, hops=1, thresholds="1", keep_labels="0,1")
    assert supports(apart, 0) == [1, 1] and supports(merged, 0) == [2]
    assert set(merged.nodes[:, 0].tolist()) == {0, 3, 1}


def test_each_class_has_its_most_frequent_closed_itemsets(
    tmp_path: Path,
) -> None:
    data = load_graphs("mutag")
    few, many = make(data, tmp_path, 3), make(data, tmp_path, 10)
    assert per_class(few) == [3, 3] and per_class(many) == [10, 10]
    assert [supports(many, label)[0] for label in (0, 1)] == [48, 102]
    assert all(supports(few, label) == supports(many, label)[:3] for label in (0, 1))
    assert torch.equal(few.nodes[: few.nodes_ptr[3]], many.nodes[: few.nodes_ptr[3]])
    seeds = [
        distill(build("mirage", "toy", 3, kind="graphs")[0], data, ipc=3, seed=s, cache=tmp_path)[0]
        for s in (0, 1)
    ]
    assert torch.equal(seeds[0].nodes, seeds[1].nodes) and torch.equal(seeds[0].edges, seeds[1].edges)


def test_exclusive_sets_are_as_many_as_asked_for_where_there_are_so_many(tmp_path: Path) -> None:
    data = load_graphs("mutag")
    assert per_class(make(data, tmp_path, 4, exclusive=True)) == [4, 4]


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_class_without_more_itemsets_does_not_prolong_the_search(
    exclusive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets: list[int] = []
    module = import_module(type(build("mirage", "toy", 1, kind="graphs")[0]).__module__)

    def noting(one: Transactions, budget: int) -> Chosen:
        budgets.append(budget)
        return choose(one, budget)

    monkeypatch.setattr(module, "choose", noting)
    monkeypatch.setattr(itemsets, "choose", noting)
    # Class a has one itemset; class b one for each size, the smallest of which is in class a too.
    data = drawn((0, [0], DOT), *[(1, [0, *range(1, size)], DOT) for size in range(2, 20)])
    assert per_class(make(data, tmp_path, 3, hops=1))[1] == 3 and set(budgets) == {3}
    data = drawn((0, [30], DOT), *[(1, [0, *range(1, size)], DOT) for size in range(2, 20)])
    budgets.clear()
    assert per_class(make(data, tmp_path, 3, hops=1, exclusive=exclusive)) == [1, 3] and set(budgets) == {3}


def test_bonds_tell_trees_apart_unless_they_shall_not(tmp_path: Path) -> None:
    data = load_graphs("mutag")
    blind, seeing = make(data, tmp_path, 5, edge_labels=False), make(data, tmp_path, 5)
    assert blind.edge_labels is None and seeing.edge_labels is not None
    assert all(a >= b for a, b in zip(supports(blind, 1), supports(seeing, 1), strict=True))


def test_to_a_gin_the_roots_are_nodes_of_as_many_graphs_as_the_weight_says(
    tmp_path: Path,
) -> None:
    data = load_graphs("mutag")
    made = make(data, tmp_path, 2, edge_labels=False)  # the network does not look at bonds
    net = build_graph_network("gin-sum", 7, 2, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        real, ours = batch_of(data.train, data.spec.features), made.batch()
        everywhere = net.nodes(replace(real, nodes=real.nodes.double()))
        roots = net.nodes(replace(ours, nodes=ours.nodes.double()))
    assert made.roots is not None and made.weights is not None
    owners = made.batch().owners
    for graph in range(len(made)):
        mine = roots[made.roots & (owners == graph)]
        near = (mine[:, None] - everywhere).abs().amax(2) < 1e-12  # which nodes each root equals
        per_graph = torch.zeros(len(mine), len(data.train)).index_add_(1, data.train.owners, near.float()) > 0
        held = per_graph.all(0) & (data.train.labels == made.labels[graph])
        assert int(held.sum()) == int(made.weights[graph])


def test_the_authors_settings_give_the_known_sets_of_molbace(tmp_path: Path) -> None:
    data = load_graphs(str(MOLBACE))
    made = make(data, tmp_path, 9, "molbace")
    assert per_class(made) == [4, 9] and sorted(supports(made, 0)) == [151, 152, 152, 223]
    made = make(data, tmp_path, 3, "molbace")
    assert per_class(made) == [1, 3] and (len(made.nodes), made.edges.shape[1]) == (59, 55)


def test_with_thresholds_only_ipc_sets_are_kept_and_the_rest_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(load_graphs(str(MOLBACE)), tmp_path, 5, thresholds="150,104", hops=3, closed=False)
    assert per_class(made) == [4, 5]
    assert (
        "9 itemsets of class '1' are frequent; the 5 of largest support are kept" in capsys.readouterr().err
    )


# Class a: 0 in four graphs, with 1 in three, with 2 in one. Class b: 3 in forty graphs, with 4 in ten.
UNEVEN = drawn(
    *[(0, nodes, DOT) for nodes in ([0], [0, 1], [0, 1], [0, 1, 2])],
    *[(1, [3, 4] if number < 10 else [3], DOT) for number in range(40)],
)


def shares(made: GraphSet) -> list[list[float]]:
    """The part of each itemset of each class in a student's loss."""
    return [made.weighting[made.labels == label].tolist() for label in (0, 1)]


def test_by_default_itemsets_of_a_class_count_alike_and_classes_too(tmp_path: Path) -> None:
    made = make(UNEVEN, tmp_path, 3, weights="uniform")
    assert per_class(made) == [3, 2]
    assert shares(made) == [pytest.approx([1 / 6] * 3), pytest.approx([1 / 4] * 2)]
    plain, _ = build("mirage", "toy", 3, kind="graphs")
    assert plain.settings()["weights"] == "uniform"


def test_with_as_many_itemsets_in_each_class_uniform_weights_take_no_room(tmp_path: Path) -> None:
    made = make(UNEVEN, tmp_path, 2, weights="uniform")
    assert per_class(made) == [2, 2] and made.weights is None and shares(made) == [[0.25] * 2] * 2


def test_supports_weight_the_itemsets_of_a_class_but_not_the_classes(tmp_path: Path) -> None:
    made = make(UNEVEN, tmp_path, 3, weights="support")
    assert shares(made) == [pytest.approx([4 / 16, 3 / 16, 1 / 16]), pytest.approx([40 / 100, 10 / 100])]


def test_raw_supports_weight_the_classes_too_and_change_nothing_else(tmp_path: Path) -> None:
    made = make(UNEVEN, tmp_path, 3, weights="raw")
    assert supports(made, 0) == [4, 3, 1] and supports(made, 1) == [40, 10]
    assert shares(made)[0] == pytest.approx([4 / 58, 3 / 58, 1 / 58])
    others = [make(UNEVEN, tmp_path, 3, weights=name) for name in ("uniform", "support")]
    assert all(torch.equal(made.nodes, other.nodes) for other in others)


@pytest.mark.parametrize(
    ("ipc", "params", "told"),
    [
        (4, {}, "the 4 itemsets of class 'a' go down to a support of 1 of 150 graphs"),
        (3, {}, "the 3 itemsets of class 'a' go down to a support of 2 of 150 graphs"),
        (2, {}, None),  # 2 % of 150 graphs
        (4, {"thresholds": "1"}, None),
    ],
)
def test_auto_says_when_it_takes_itemsets_that_are_hardly_frequent(
    ipc: int, params: dict[str, object], told: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # In class a the labels 0, 1, 2 and 3 are in 150, 3, 2 and 1 graphs.
    rare = [[0, 1], [0, 1, 2], [0, 1, 2, 3]] + [[0]] * 147
    data = drawn(*[(0, nodes, DOT) for nodes in rare], *[(1, [4], DOT)] * 9)
    make(data, tmp_path, ipc, "toy", **params)
    said = capsys.readouterr().err
    assert ("hardly frequent" in said) == (told is not None) and (told or "") in said


KNOWN = {
    ("nci1", "NCI1", 4): ([2, 4], 51, 43),
    ("molhiv", "ogbg_molhiv", 5): ([4, 5], 121, 111),
    ("imdb-binary", "IMDB-BINARY", 8): ([2, 8], 1943, 1928),
    ("molbbbp", "ogbg_molbbbp", 13): ([9, 13], 240, 206),
}
"""Itemsets of each class, and all nodes and edges of their trees."""


@pytest.mark.slow
@pytest.mark.parametrize("cell", KNOWN, ids=str)
def test_the_authors_settings_give_the_known_sets(cell: tuple[str, str, int], tmp_path: Path) -> None:
    name, folder, ipc = cell
    path = Path(os.environ.get("CONDENSE_DATA", "")) / f"{folder}.zip"
    if not path.is_file():
        pytest.skip(f"there is no {path.name} in $CONDENSE_DATA")
    made = make(load_graphs(str(path)), tmp_path, ipc, name)
    counts, nodes, edges = KNOWN[cell]
    assert (per_class(made), len(made.nodes), made.edges.shape[1]) == (counts, nodes, edges)
