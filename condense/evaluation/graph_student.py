"""The training loop that judges sets of graphs: a fresh student on a set, tested once.

A step is over all items of a set, the loss weighted by the weights that the set stores; a set of more items
than the protocol's batch gives as many, drawn by weight, whose losses then count alike. The whole training
set is taken in batches of its own, each graph once an epoch; an epoch's last batch may be a smaller one.
"""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol as Interface

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

from condense.data import Graphs, GraphSpec
from condense.data.graphs.batch import GraphBatch, batch_of
from condense.errors import Refused
from condense.evaluation.student import Outcome, make_optimizer
from condense.networks import GraphNetwork, build_graph_network, in_graph_chunks
from condense.protocol import Protocol
from condense.resources import Budget, keep_freed_memory

EVERY = 10
"""Steps between two looks at the validation graphs, under a protocol that selects by them."""


class GraphSource(Interface):
    """What a student of graphs can be trained on: a `condense.store.GraphSet`, or `WholeGraphs`."""

    def __len__(self) -> int: ...

    @property
    def weighting(self) -> Float[Tensor, " g"]:
        """What each item's loss counts; the sum is 1."""
        ...

    def batch(self, index: Int64[Tensor, " b"] | None) -> GraphBatch:
        """The items of an index on their device, or all of them."""
        ...


@dataclass(frozen=True)
class WholeGraphs:
    """The whole training set, for reference rows.

    Attributes:
        train: On the device.
        widths: `condense.data.GraphSpec.features`.
    """

    train: Graphs
    widths: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.train)

    @property
    def weighting(self) -> Float[Tensor, " g"]:
        """The same for each graph."""
        return torch.full((len(self),), 1 / len(self), device=self.train.labels.device)

    def batch(self, index: Int64[Tensor, " b"] | None) -> GraphBatch:
        """Some of the graphs, or all of them."""
        return batch_of(self.train if index is None else self.train.select(index), self.widths)


def train_graph_student(
    source: GraphSource,
    test: Graphs,
    spec: GraphSpec,
    protocol: Protocol,
    *,
    student: str,
    seed: int,
    valid: Graphs | None = None,
    budget: Budget | None = None,
) -> Outcome:
    """Trains a fresh student of graphs by a protocol and tests it once.

    The seed draws the student's weights, then the batches as they come, from one generator of its own: no
    other seed and no other student changes what it draws.

    Args:
        source: What to train on, on the device of the test graphs.
        test: Read once, after the last step.
        spec: The dataset.
        protocol: How to train.
        student: Name of the network.
        seed: Of the evaluation.
        valid: Real graphs that a protocol may select by; left alone by all others.
        budget: When to stop; an unfinished student is lost.

    Raises:
        Stopped: when the budget has run out.
        Refused: if there is no such network, torch_geometric is not installed, or the protocol does not say
            how to train students of graphs.
    """
    started = time.perf_counter()
    keep_freed_memory()
    if protocol.steps is None or protocol.lr is None:
        raise Refused(
            f"{protocol.name} does not say how many steps, or at what rate, students of graphs train"
        )
    if protocol.select is not None and (valid is None or not len(valid)):
        raise Refused(f"{protocol.name} selects students by validation graphs, and there are none")
    rng = torch.Generator().manual_seed(seed)
    network = build_graph_network(student, sum(spec.features), spec.num_classes, rng, test.labels.device)
    optimizer = make_optimizer(network, protocol.lr, protocol)
    best, kept = float("-inf"), network
    steps = zip(range(1, protocol.steps + 1), _batches(source, protocol, rng), strict=False)
    for step, (batch, weights) in steps:
        if budget is not None and budget.spent():
            raise budget.stop(f"{student} {seed}, step {step - 1} of {protocol.steps}")
        optimizer.zero_grad(set_to_none=True)
        losses = cross_entropy(network(batch), batch.labels, reduction="none")
        torch.autograd.backward(losses @ weights)
        optimizer.step()
        if protocol.select is not None and (step % EVERY == 0 or step == protocol.steps):
            assert valid is not None
            accuracy, auc = score(network, valid, spec)
            if (found := accuracy if auc is None else auc) > best:
                best, kept = found, copy.deepcopy(network)
    accuracy, auc = score(kept, test, spec)
    return Outcome(accuracy, time.perf_counter() - started, auc)


def _batches(
    source: GraphSource, protocol: Protocol, generator: torch.Generator
) -> Iterator[tuple[GraphBatch, Float[Tensor, " b"]]]:
    """Batches without end, and what each of their losses counts."""
    size, weighting = min(protocol.batch or len(source), len(source)), source.weighting
    alike = torch.full_like(weighting[:size], 1 / size)
    if protocol.whole:
        while True:
            order = torch.randperm(len(source), generator=generator)
            for chosen in torch.split(order, size):
                yield source.batch(chosen.to(alike.device)), alike[: len(chosen)] * (size / len(chosen))
    elif size < len(source):
        chances = weighting.cpu()
        while True:
            chosen = torch.multinomial(chances, size, replacement=True, generator=generator)
            yield source.batch(chosen.to(alike.device)), alike
    else:
        batch = source.batch(None)
        while True:
            yield batch, weighting


def score(network: GraphNetwork, graphs: Graphs, spec: GraphSpec) -> tuple[float, float | None]:
    """Percent of the graphs whose largest logit is their label's, and for two classes the ROC-AUC.

    Args:
        network: On the graphs' device.
        graphs: Taken a chunk at a time.
        spec: The dataset.
    """
    logits, labels = in_graph_chunks(network, graphs, spec.features).cpu(), graphs.labels.cpu()
    return rated(logits, labels)


def rated(logits: Float[Tensor, "g k"], labels: Int64[Tensor, " g"]) -> tuple[float, float | None]:
    """Accuracy and ROC-AUC in percent.

    The curve ranks by the difference of two logits, which does not run out of digits as probabilities do.

    Args:
        logits: A row a graph, on the CPU; a difference that is no number ranks as 0.
        labels: Class ids.

    Returns:
        The accuracy; the area under the curve, None unless there are two classes and both occur.
    """
    from sklearn.metrics import roc_auc_score

    accuracy = 100.0 * int((logits.argmax(1) == labels).sum()) / len(labels)
    if logits.shape[1] != 2 or bool((labels == labels[0]).all()):
        return accuracy, None
    difference = (logits[:, 1].double() - logits[:, 0].double()).nan_to_num()
    return accuracy, 100.0 * float(roc_auc_score(labels.numpy(), difference.numpy()))
