"""Students of graphs, trained from scratch on a set and tested once, after their last step.

A step takes all items of a set, and their losses are weighted by the weights that the set stores. If the set
has more items than the protocol's batch, a step takes as many as the batch, drawn by weight, and their losses
count alike. The whole training set is split into batches anew in each epoch; the last one may be smaller.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol as Interface
from typing import runtime_checkable

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor
from torch.nn.functional import cross_entropy

from condense.data import Graphs, GraphSpec
from condense.data.graphs.batch import GraphBatch, batch_of
from condense.errors import Refused
from condense.evaluation.curve import Curve
from condense.evaluation.epochs import Epochs
from condense.evaluation.optimizers import make_optimizer
from condense.evaluation.student import Score, Student
from condense.networks import GraphNetwork, build_graph_network, in_graph_chunks
from condense.protocol import Protocol
from condense.training.loop import Loop, State
from condense.training.step import require_finite

EVERY = 10
"""Number of steps between two scores on the validation graphs, if a protocol selects by them."""


@runtime_checkable
class GraphSource(Interface):
    """What a student of graphs can be trained on: a `condense.store.GraphSet` or `WholeGraphs`."""

    def __len__(self) -> int: ...

    @property
    def weighting(self) -> Float[Tensor, " g"]:
        """The weight of each item's loss; they sum to 1."""
        ...

    def batch(self, index: Int64[Tensor, " b"] | None) -> GraphBatch:
        """Returns the items at the given positions, or all items."""
        ...


@dataclass(frozen=True)
class WholeGraphs:
    """The whole training set, for reference rows.

    Attributes:
        train: The training graphs, on the device.
        widths: The numbers of node features, as in `condense.data.GraphSpec.features`.
    """

    train: Graphs
    widths: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.train)

    @property
    def weighting(self) -> Float[Tensor, " g"]:
        return torch.full((len(self),), 1 / len(self), device=self.train.labels.device)

    def batch(self, index: Int64[Tensor, " b"] | None) -> GraphBatch:
        return batch_of(self.train if index is None else self.train.select(index), self.widths)


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphStudent(Student[GraphNetwork]):
    """Students of graphs, trained for steps.

    Attributes:
        source: What they are trained on, on the device of the test graphs.
        test: The test graphs. They are read after the last step.
        spec: The description of the dataset.
        valid: Real graphs, for a protocol that selects the network by them.
    """

    source: GraphSource
    test: Graphs
    spec: GraphSpec
    valid: Graphs | None = None

    def check(self) -> None:
        name, protocol = self.protocol.name, self.protocol
        if protocol.steps is None or protocol.lr is None:
            raise Refused(f"{name} gives no number of steps or no learning rate for students of graphs")
        if protocol.select is not None and not self.valid:
            raise Refused(f"{name} selects students by validation graphs, and there are none")

    def build(self, rng: torch.Generator) -> GraphNetwork:
        width = sum(self.spec.features)
        return build_graph_network(self.network, width, self.spec.num_classes, rng, self.test.labels.device)

    @property
    def device(self) -> torch.device:
        return self.test.labels.device

    def train(self, network: GraphNetwork, loop: Loop, curve: Curve | None = None) -> GraphNetwork:
        del curve  # graphs have validation graphs of their own
        protocol = self.protocol
        assert protocol.lr is not None and protocol.steps is not None
        optimizer = make_optimizer(network, protocol.lr, protocol)
        kept = network if protocol.select is None else copy.deepcopy(network)
        batches = _epochs(self.source, protocol, loop.rng)
        state: State = {"network": network, "optimizer": optimizer, "batches": batches}
        if protocol.select is not None:
            state |= {"kept": kept, "best": float("-inf")}
        for step in loop.steps(protocol.steps, state, "train", last=True):
            batch, weights = batches.at(step)
            optimizer.zero_grad(set_to_none=True)
            losses = cross_entropy(network(batch), batch.labels, reduction="none")
            loss = losses @ weights
            torch.autograd.backward(loss)
            optimizer.step()
            loop.log(loss=loss)
            if protocol.select is not None and ((step + 1) % EVERY == 0 or step + 1 == protocol.steps):
                assert self.valid is not None
                tested, best = score(network, self.valid, self.spec), state["best"]
                found = tested.accuracy if tested.auc is None else tested.auc
                assert isinstance(best, float)
                if found > best:
                    state["best"] = found
                    kept.load_state_dict(network.state_dict())
        return kept

    def score(self, network: GraphNetwork) -> Score:
        return score(network, self.test, self.spec)


def _epochs(
    source: GraphSource, protocol: Protocol, generator: torch.Generator
) -> Epochs[tuple[GraphBatch, Float[Tensor, " b"]]]:
    """Returns the batches, each with the weights of its losses. A drawn or whole batch is an epoch."""
    size, weighting = protocol.batch_for(len(source)), source.weighting
    alike = torch.full_like(weighting[:size], 1 / size)
    if protocol.whole:

        def ordered(_: int) -> Iterator[tuple[GraphBatch, Float[Tensor, " b"]]]:
            order = torch.randperm(len(source), generator=generator)
            for chosen in torch.split(order, size):
                yield source.batch(chosen.to(alike.device)), alike[: len(chosen)] * (size / len(chosen))

        return Epochs(ordered, -(-len(source) // size), generator)
    if size < len(source):
        chances = weighting.cpu()

        def drawn(_: int) -> Iterator[tuple[GraphBatch, Float[Tensor, " b"]]]:
            chosen = torch.multinomial(chances, size, replacement=True, generator=generator)
            yield source.batch(chosen.to(alike.device)), alike

        return Epochs(drawn, 1, generator)
    batch = source.batch(None)
    return Epochs(lambda _: iter([(batch, weighting)]), 1, generator)


def score(network: GraphNetwork, graphs: Graphs, spec: GraphSpec) -> Score:
    """Returns the score of a network on graphs, as in `rated`."""
    logits = in_graph_chunks(network, graphs, spec.features)
    return rated(logits.cpu(), graphs.labels.cpu(), graphs.nodes_ptr.diff().cpu())


def rated(
    logits: Float[Tensor, "g k"], labels: Int64[Tensor, " g"], sizes: Int64[Tensor, " g"] | None = None
) -> Score:
    """Returns the accuracy, and for two classes the ROC-AUC and the correlation with the graphs' sizes.

    The score of a sample is the difference of its two logits: unlike probabilities, it does not saturate.

    Args:
        logits: One row for each sample, on the CPU.
        labels: Class ids.
        sizes: Number of nodes of each graph; None for other samples.

    Returns:
        The accuracy in percent; the area under the curve, which is None unless there are two classes; and the
        `rank_correlation` of scores and sizes, if there are two classes.

    Raises:
        Refused: if a logit is not finite, or all graphs are of one of two classes: they have no curve, and no
            other measure takes its place.
    """
    from sklearn.metrics import roc_auc_score

    require_finite(logits.isfinite().all())
    accuracy = 100.0 * int((logits.argmax(1) == labels).sum()) / len(labels)
    if logits.shape[1] != 2:
        return Score(accuracy)
    if bool((labels == labels[0]).all()):
        raise Refused(f"all {len(labels)} graphs are of the class {int(labels[0])}: they have no ROC curve")
    difference = logits[:, 1].double() - logits[:, 0].double()
    auc = 100.0 * float(roc_auc_score(labels.numpy(), difference.numpy()))
    return Score(accuracy, auc, None if sizes is None else rank_correlation(difference, sizes))


def rank_correlation(first: Shaped[Tensor, " n"], second: Shaped[Tensor, " n"]) -> float | None:
    """Returns Spearman's rank correlation of two lists of n numbers, from -1 to 1.

    It is Pearson's correlation of the ranks; equal numbers share the mean of their ranks. If all numbers of
    a list are equal, there is none.
    """
    from scipy.stats import rankdata

    ranks = torch.stack([torch.from_numpy(rankdata(values.numpy())) for values in (first, second)])
    if bool((ranks == ranks[:, :1]).all(1).any()):
        return None
    return float(torch.corrcoef(ranks)[0, 1].clamp(-1, 1))
