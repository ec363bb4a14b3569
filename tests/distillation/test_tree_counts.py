"""Computation trees of real data: counts that are known, from a published implementation or from its logs."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from condense.data import Graphs, load_graphs
from condense.data.graphs.files import read_graphs
from condense.data.graphs.sources import MUTAG
from condense.distillation.graphs.itemsets import Chosen, Itemset, Transactions, choose, exclusive, mine
from condense.distillation.graphs.trees import build_forest, colours, degrees, transactions
from condense.errors import Refused
from tests.distillation.tree_sizes import sizes

MOLBACE = Path(__file__).parents[1] / "data" / "graphs" / "ogbg_molbace.zip"


@cache
def bundled(name: str) -> Graphs:
    return load_graphs(str(MOLBACE) if name == "molbace" else name).train


def elsewhere(name: str) -> Path:
    """A file of graphs that is not bundled."""
    path = Path(os.environ.get("CONDENSE_DATA", "")) / f"{name}.zip"
    if not path.is_file():
        pytest.skip(f"there is no {name}.zip in $CONDENSE_DATA")
    return path


def dd() -> Graphs:
    """The training part of the authors' split of DD; all labels but the 16 of their list are one."""
    graphs = read_graphs(elsewhere("DD")).graphs
    train = np.random.RandomState(0).permutation(len(graphs))[: int(0.8 * len(graphs))]
    graphs = graphs.select(torch.from_numpy(train))
    listed = torch.tensor([1, 2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16, 17, 19, 20])
    graphs.node_labels[~torch.isin(graphs.node_features[:, 0], listed)] = -1
    return graphs


@dataclass(frozen=True)
class Found:
    """What is in a set of graphs."""

    graphs: Graphs
    bonds: Tensor
    colours: list[Tensor]
    classes: list[Transactions]

    def unique(self) -> list[int]:
        return [int((one.supports() > 0).sum()) for one in self.classes]

    def all_sets(self, *thresholds: int) -> list[list[Itemset]]:
        pairs = zip(self.classes, thresholds, strict=True)
        return [mine(one, threshold, closed=False) for one, threshold in pairs]

    def exclusive(self, itemsets: list[list[Itemset]], *thresholds: int) -> list[list[Itemset]]:
        chosen = [Chosen(*of_class) for of_class in zip(thresholds, itemsets, strict=True)]
        return exclusive(chosen, self.classes)

    def size(self, classes: list[list[Itemset]]) -> tuple[int, int]:
        """Nodes and edges of the trees of all sets."""
        items = [item for of_class in classes for one in of_class for item in one.items]
        forest = build_forest(torch.tensor(items), self.colours, self.graphs.edges, self.bonds)
        return len(forest.nodes), forest.edges.shape[1]


def find(graphs: Graphs, rounds: int, *, bonds: bool = False, isolated: bool = True) -> Found:
    labels = graphs.edge_labels if bonds else torch.zeros_like(graphs.edge_labels)
    found = colours(graphs.node_labels, graphs.edges, labels, rounds)
    keep = None if isolated else degrees(graphs.edges, len(graphs.node_labels)) > 0
    classes = transactions(found[-1], graphs.labels, graphs.nodes_ptr, graphs.num_classes, keep=keep)
    return Found(graphs, labels, found, classes)


def counts(found: list[list[Itemset]]) -> list[int]:
    return [len(of_class) for of_class in found]


def share(found: Found) -> float:
    """Of all graphs, how many hold the tree that most of them hold."""
    items = torch.cat([one.items for one in found.classes])
    return int(torch.bincount(items).max()) / len(found.graphs)


def supports(found: list[Itemset]) -> set[int]:
    return {one.support for one in found}


def test_mutag_has_as_many_tree_nodes_as_published() -> None:
    graphs = read_graphs(MUTAG).graphs
    per_depth = [sizes(graphs.edges, len(graphs.node_labels), depth) for depth in (1, 2, 3)]
    assert [round(int(one.sum()) / 1000, 1) for one in per_depth] == [10.8, 29.1, 73.3]
    assert [int(one.max()) for one in per_depth[1:]] == [13, 39]


def test_one_tree_is_in_every_training_graph_of_mutag() -> None:
    found = find(bundled("mutag"), 2)
    assert [one.count for one in found.classes] == [48, 102] and share(found) == 1.0
    chosen = [choose(one, 10) for one in found.classes]
    assert [(len(one.itemsets), one.itemsets[0].support) for one in chosen] == [(10, 48), (10, 102)]


def test_molbace_has_its_known_trees_and_tree_sets() -> None:
    found = find(bundled("molbace"), 3, bonds=True)
    assert found.unique() == [5892, 3592] and share(found) == pytest.approx(0.27, abs=0.005)
    first = found.all_sets(150, 104)
    assert counts(first) == [4, 9]
    assert sorted(one.support for one in first[0]) == [151, 152, 152, 223]
    second = found.all_sets(104, 71)
    assert counts(second) == [37, 39]
    kept = found.exclusive(second, 104, 71)
    assert counts(kept) == [1, 3] and found.size(kept) == (59, 55)


def test_a_block_of_14_trees_of_molbace_is_one_closed_set_or_thousands() -> None:
    found = find(bundled("molbace"), 3, bonds=True).classes[0]
    assert len(mine(found, 80, closed=False)) == 16_388
    assert len(mine(found, 80)) == 14
    with pytest.raises(Refused, match="more than 10000 itemsets have a support of at least 80"):
        mine(found, 80, closed=False, cap=10_000)


@pytest.mark.slow
def test_nci1_has_its_known_trees_and_tree_sets() -> None:
    found = find(load_graphs(str(elsewhere("NCI1"))).train, 2, isolated=False)
    assert found.unique() == [2954, 2056]
    assert len(torch.unique(torch.cat([one.items for one in found.classes]))) == 3666
    assert share(found) == pytest.approx(0.68, abs=0.005)
    first, second = found.all_sets(440, 570), found.all_sets(420, 550)
    assert (counts(first), counts(second)) == ([9, 11], [10, 11])
    kept = found.exclusive(first, 440, 570)
    assert counts(kept) == [2, 4] and found.size(kept) == (51, 43)
    kept = found.exclusive(second, 420, 550)
    assert sum(counts(kept)) == 5 and found.size(kept)[0] == 46
    assert len(found.all_sets(440, 100)[1]) == 1515


@pytest.mark.slow
def test_molhiv_has_its_known_trees_and_tree_sets() -> None:
    graphs = load_graphs(str(elsewhere("ogbg_molhiv"))).train
    assert find(graphs, 3, bonds=True, isolated=False).unique() == [193_416, 12_927]
    found = find(graphs, 3, bonds=True)
    assert found.unique() == [193_443, 12_941]
    both = found.all_sets(1800, 115)
    assert counts(both) == [4, 5] and supports(both[0]) == {1955, 2208, 2413, 7502}
    assert found.size(both) == (121, 111)


@pytest.mark.slow
def test_dd_has_its_known_trees_and_tree_sets() -> None:
    found = find(dd(), 1)
    assert found.unique() == [158_805, 57_096]
    both = found.all_sets(15, 9)
    assert counts(both) == [28, 4] and found.size(both) == (96, 64)


@pytest.mark.slow
def test_molbbbp_and_imdb_have_their_known_trees_and_tree_sets() -> None:
    found = find(load_graphs(str(elsewhere("ogbg_molbbbp"))).train, 2, bonds=True, isolated=False)
    assert found.unique() == [2575, 8967]
    kept = found.exclusive(found.all_sets(24, 109), 24, 109)
    assert sum(counts(kept)) == 22 and found.size(kept) == (240, 206)
    found = find(load_graphs(str(elsewhere("IMDB-BINARY"))).train, 2)
    assert found.unique() == [1892, 1238]
    kept = found.exclusive(found.all_sets(13, 14), 13, 14)
    assert sum(counts(kept)) == 10 and found.size(kept)[0] == 1943
