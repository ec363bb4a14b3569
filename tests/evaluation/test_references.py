import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from condense.data import Dataset, GraphDataset, ImageDataset, load_graphs
from condense.evaluation import Outcome
from condense.evaluation.kinds import KINDS, kind_of
from condense.evaluation.references import FEATURES, _fitted

MUTAG = load_graphs("mutag")


def reference(name: str, dataset: Dataset) -> Outcome:
    """Fits and tests a reference of the dataset's kind."""
    outcome: Outcome = kind_of(dataset).references[name](dataset)
    return outcome


def test_the_number_of_nodes_separates_the_classes_of_mutag_as_measured() -> None:
    outcome = reference("num_nodes", MUTAG)
    assert outcome.auc == pytest.approx(95.51, abs=0.01)
    assert reference("num_edges", MUTAG).auc == pytest.approx(94.87, abs=0.01)
    assert outcome.size_correlation == pytest.approx(1.0)
    assert reference("majority", MUTAG).size_correlation is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "folder", "nodes", "edges"),
    [
        ("nci1", "NCI1", 68.14, 67.88),
        ("proteins", "PROTEINS", 78.61, 80.96),
        ("dd", "DD", 84.43, 85.49),
        ("molbace", "ogbg_molbace", 76.80, 76.88),
        ("molhiv", "ogbg_molhiv", 71.80, 71.88),
    ],
)
def test_the_number_of_nodes_separates_the_classes_of_larger_datasets(
    name: str, folder: str, nodes: float, edges: float
) -> None:
    if not (Path(os.environ.get("CONDENSE_DATA", "")) / f"{folder}.zip").exists():
        pytest.skip(f"there is no {folder}.zip in $CONDENSE_DATA")
    dataset = load_graphs(name)
    assert reference("num_nodes", dataset).auc == pytest.approx(nodes, abs=0.01)
    assert reference("num_edges", dataset).auc == pytest.approx(edges, abs=0.01)


def test_the_features_count_what_they_are_named_after() -> None:
    graphs = MUTAG.test
    found = {name: feature(graphs, MUTAG.spec.node_labels) for name, feature in FEATURES.items()}
    for number in range(len(graphs)):
        one = graphs.select([number])
        assert found["num_nodes"][number].tolist() == [len(one.node_labels)]
        pairs = {(min(edge), max(edge)) for edge in one.edges.T.tolist()}
        assert found["num_edges"][number].tolist() == [len(pairs)]
        labels = one.node_labels.tolist()
        assert found["label_histogram"][number].tolist() == [labels.count(label) for label in range(7)]


def test_a_logistic_regression_is_fitted_until_its_gradient_vanishes() -> None:
    rng = np.random.RandomState(0)
    x, labels = rng.randn(80, 3), rng.randint(0, 2, 80)
    # One row at the origin and three on the axes give the intercept and the weights.
    logits = _fitted(x, labels, np.vstack([np.zeros(3), np.eye(3)]))
    gap = logits[:, 1] - logits[:, 0]
    b, w = gap[0], gap[1:] - gap[0]
    rest = 1 / (1 + np.exp(-(x @ w + b))) - labels
    np.testing.assert_allclose(x.T @ rest + w, 0, atol=1e-3)
    np.testing.assert_allclose(rest.sum(), 0, atol=1e-3)


def test_the_labels_of_the_test_graphs_change_nothing_that_is_fitted() -> None:
    flipped = replace(MUTAG.test, labels=1 - MUTAG.test.labels)
    changed = GraphDataset(MUTAG.spec, MUTAG.train, MUTAG.valid, flipped)
    for name in FEATURES:
        auc, opposite = reference(name, MUTAG).auc, reference(name, changed).auc
        assert auc is not None and opposite == pytest.approx(100 - auc)


def test_the_majority_class_is_right_as_often_as_it_occurs(toy: ImageDataset) -> None:
    counts = torch.bincount(MUTAG.train.labels)
    outcome = reference("majority", MUTAG)
    share = (MUTAG.test.labels == counts.argmax()).double().mean()
    assert outcome.accuracy == pytest.approx(100 * float(share)) and outcome.auc == 50
    of_images = reference("majority", toy)
    assert of_images.accuracy == pytest.approx(100 / 3) and of_images.auc is None


def test_each_kind_of_data_has_its_references() -> None:
    names = {kind.name: list(kind.references) for kind in KINDS.values()}
    features = ["num_nodes", "num_edges", "label_histogram"]
    assert names == {"images": ["majority"], "graphs": ["majority", *features]}


def test_there_is_no_auc_for_three_classes() -> None:
    spec = replace(MUTAG.spec, classes=("a", "b", "c"))
    parts = []
    for graphs in (MUTAG.train, MUTAG.valid, MUTAG.test):
        size = graphs.nodes_ptr.diff()
        parts.append(replace(graphs, labels=(size > 14).long() + (size > 19).long(), num_classes=3))
    outcome = reference("num_nodes", GraphDataset(spec, *parts))
    assert outcome.accuracy > 80 and outcome.auc is None
