"""References without a network: the largest class, and logistic regressions on trivial features of graphs.

On several graph datasets the bare number of nodes separates the classes about as well as published distilled
sets do. A table of graph sets therefore shows these references beside its students.
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
from condense.evaluation.graph_student import rated
from condense.evaluation.student import Outcome
from condense.protocols import REFERENCE_V1

Reference = Callable[[Any], Outcome]
"""Fits a reference on the training split of a dataset and tests it, as `REFERENCE_V1` says."""


def num_nodes(graphs: Graphs, node_labels: int) -> Float[Tensor, "g 1"]:
    """Returns the number of nodes of each graph."""
    del node_labels
    return graphs.nodes_ptr.diff().double()[:, None]


def num_edges(graphs: Graphs, node_labels: int) -> Float[Tensor, "g 1"]:
    """Returns the number of undirected edges of each graph."""
    del node_labels
    return graphs.edges_ptr.diff().double()[:, None] / 2


def label_histogram(graphs: Graphs, node_labels: int) -> Float[Tensor, "g l"]:
    """Returns the number of nodes of each of the l labels in each graph."""
    cells = graphs.owners * node_labels + graphs.node_labels
    return torch.bincount(cells, minlength=len(graphs) * node_labels).view(len(graphs), -1).double()


FEATURES: Mapping[str, Callable[[Graphs, int], Float[Tensor, "g d"]]] = {
    "num_nodes": num_nodes,
    "num_edges": num_edges,
    "label_histogram": label_histogram,
}
"""Trivial features of graphs by name. Each takes the graphs and the number of node labels."""


def majority(dataset: Dataset) -> Outcome:
    """Answers every test sample with the largest class of the training split, the first of equals."""
    started = time.perf_counter()
    logits = torch.zeros(dataset.spec.num_classes, dtype=torch.float64)
    logits[_largest(dataset)] = 1
    return _outcome(logits.expand(len(dataset.test), -1), dataset, started)


def majority_of_images(dataset: Dataset) -> Outcome:
    """Returns `majority` without the ROC-AUC, by which images are not compared."""
    started = time.perf_counter()
    right = int((dataset.test.labels == _largest(dataset)).sum())
    return Outcome(100.0 * right / len(dataset.test), time.perf_counter() - started)


def _largest(dataset: Dataset) -> int:
    """Returns the id of the class with the most training samples, the first of equals."""
    counts = dataset.train.counts()
    return counts.index(max(counts))


def logistic(name: str, dataset: GraphDataset) -> Outcome:
    """Fits a logistic regression on a feature of the training graphs and tests it.

    Args:
        name: A feature of `FEATURES`. It is scaled to mean 0 and deviation 1 over the training graphs.
        dataset: The graphs.
    """
    started = time.perf_counter()
    feature, count = FEATURES[name], dataset.spec.node_labels
    x, unseen = (feature(graphs, count).cpu().numpy() for graphs in (dataset.train, dataset.test))
    mean, deviation = x.mean(0), x.std(0)
    deviation[deviation == 0] = 1
    labels = dataset.train.labels.cpu().numpy()
    logits = _fitted((x - mean) / deviation, labels, (unseen - mean) / deviation)
    return _outcome(torch.from_numpy(logits), dataset, started, dataset.test.nodes_ptr.diff().cpu())


def _outcome(
    logits: Float[Tensor, "g k"], dataset: Dataset, started: float, sizes: Int64[Tensor, " g"] | None = None
) -> Outcome:
    score = rated(logits, dataset.test.labels.cpu(), sizes)
    return Outcome.of(score, time.perf_counter() - started)


def _fitted(
    x: Float[np.ndarray, "g d"], labels: Int64[np.ndarray, " g"], unseen: Float[np.ndarray, "t d"]
) -> Float[np.ndarray, "t k"]:
    """Fits a logistic regression and returns its logits of unseen samples; every class must occur."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    make: Any = LogisticRegression
    model = make(C=1 / REFERENCE_V1.weight_decay, max_iter=REFERENCE_V1.steps, tol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the protocol sets the number of iterations
        model.fit(x, labels)
    decision = model.decision_function(unseen)
    return np.stack([np.zeros_like(decision), decision], 1) if decision.ndim == 1 else decision
