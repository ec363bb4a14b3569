"""What needs no network: the largest class, and logistic regressions on trivial features of graphs.

The bare number of nodes tells the classes of several graph sets apart about as well as published distilled
sets do, so a table of graph sets shows these beside its students.
"""

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from condense.data import Dataset, GraphDataset, Graphs
from condense.errors import Refused, unknown
from condense.evaluation.graph_student import rated
from condense.evaluation.student import Outcome
from condense.protocol import REFERENCE_V1


def num_nodes(graphs: Graphs, node_labels: int) -> Float[Tensor, "g 1"]:
    """How many nodes each graph has."""
    del node_labels
    return graphs.nodes_ptr.diff().double()[:, None]


def num_edges(graphs: Graphs, node_labels: int) -> Float[Tensor, "g 1"]:
    """How many undirected edges each graph has."""
    del node_labels
    return graphs.edges_ptr.diff().double()[:, None] / 2


def label_histogram(graphs: Graphs, node_labels: int) -> Float[Tensor, "g l"]:
    """How many nodes of each label each graph has.

    Args:
        graphs: The graphs.
        node_labels: l, how many labels there are.
    """
    cells = graphs.owners * node_labels + graphs.node_labels
    return torch.bincount(cells, minlength=len(graphs) * node_labels).view(len(graphs), -1).double()


FEATURES: Mapping[str, Callable[[Graphs, int], Float[Tensor, "g d"]]] = {
    "num_nodes": num_nodes,
    "num_edges": num_edges,
    "label_histogram": label_histogram,
}
"""Trivial features of graphs by name; each is given the graphs and how many node labels there are."""

REFERENCES = ("majority", *FEATURES)
"""References without a network by name."""


def reference(name: str, dataset: Dataset) -> Outcome:
    """Fits a reference on the training set and tests it once, as `condense.protocol.REFERENCE_V1` says.

    Args:
        name: ``majority`` answers with the largest class of the training set, the first of equals, whatever
            it is shown; the others are a logistic regression on a feature of `FEATURES`, scaled to mean 0 and
            deviation 1 over the training graphs.
        dataset: Of graphs for all but ``majority``.

    Returns:
        Its outcome; of graphs of two classes with the ROC-AUC.

    Raises:
        Refused: if there is no such reference, or it is one of graphs and the dataset holds images.
    """
    if name not in REFERENCES:
        raise unknown("reference", name, REFERENCES)
    started = time.perf_counter()
    of_graphs = isinstance(dataset, GraphDataset)
    if name == "majority":
        counts = torch.bincount(dataset.train.labels.cpu(), minlength=dataset.spec.num_classes)
        always = torch.zeros_like(counts, dtype=torch.float64)
        always[counts.argmax()] = 1
        logits = always.expand(len(dataset.test), -1)
    elif isinstance(dataset, GraphDataset):
        logits = _logistic(FEATURES[name], dataset)
    else:
        raise Refused(f"the reference {name} is of graphs; {dataset.spec.name} holds images")
    accuracy, auc = rated(logits, dataset.test.labels.cpu())
    return Outcome(accuracy, time.perf_counter() - started, auc if of_graphs else None)


def _logistic(
    feature: Callable[[Graphs, int], Float[Tensor, "g d"]], dataset: GraphDataset
) -> Float[Tensor, "g k"]:
    """What a logistic regression on a feature answers for the test graphs."""
    count = dataset.spec.node_labels
    x, unseen = (feature(graphs, count).cpu().numpy() for graphs in (dataset.train, dataset.test))
    mean, deviation = x.mean(0), x.std(0)
    deviation[deviation == 0] = 1
    return torch.from_numpy(
        _fitted((x - mean) / deviation, dataset.train.labels.cpu().numpy(), (unseen - mean) / deviation)
    )


def _fitted(
    x: Float[np.ndarray, "g d"], labels: Int64[np.ndarray, " g"], unseen: Float[np.ndarray, "t d"]
) -> Float[np.ndarray, "t k"]:
    """A logistic regression's logits on what it was not fitted on; every class has training graphs."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    make: Any = LogisticRegression
    model = make(C=1 / REFERENCE_V1.weight_decay, max_iter=REFERENCE_V1.steps, tol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the protocol says how many iterations there are
        model.fit(x, labels)
    decision = model.decision_function(unseen)
    return np.stack([np.zeros_like(decision), decision], 1) if decision.ndim == 1 else decision
