"""DosCond: synthetic graphs whose gradient on fresh random networks is the gradient of real graphs.

Jin, Tang, Jiang, Li, Zhang, Tang and Yin: Condensing Graphs via One-Step Gradient Matching, KDD 2022,
https://arxiv.org/abs/2206.07746; authors' code amazon-science/doscond, ``graph_agent.py``, ``models.py``,
``utils.py`` and ``script.sh``. Every graph has m nodes, whose features are learned together with a logit for
each pair of them; an iteration samples the edges, relaxed, and matches one gradient of a network that was
just drawn and is never trained.

Where this differs from the authors' code, and why:

- Nodes have the features that the suite's students take, each column one-hot; theirs takes the numbers in
  OGB's columns as they are, as if element numbers were lengths.
- Gradients are written out, for real and synthetic graphs alike: one differentiation in place of two. All
  classes' synthetic gradients are computed side by side. The same numbers, faster.
- Real nodes that a layer cannot tell apart (same features, degrees and neighbours, as far as it sees) are one
  row in it: the same sums from a fraction of the rows on molecules.
- A class of at most ``batch_real`` graphs gives all of them without a draw, as theirs does after one.
- If too few graphs of a class have at most m nodes, some are taken twice; theirs fails.
- The set is what the last iteration leaves; theirs tests one every 200 and names none.
- For datasets outside the authors' table m is the mean number of nodes, rounded (theirs has no value), and
  the other settings are the defaults of ``main.py``.

As in theirs, all m nodes of each graph are stored and pooled, those included that began empty; molbace alone
matches one gradient for both classes; molhiv alone is pooled by the sum, with the norm of its spread features
as a further term; OGB's sets have one logit.

The paper's evaluation (a GCN of 3 layers of 128 units, the epoch that is best on the real validation graphs)
is not one of the suite's, so the recipes carry none.

When not to use it: where the number of nodes tells the classes apart, since all its graphs have the same; on
large graphs, whose pairs of nodes it all learns; where bytes count, as its features are dense numbers.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from condense.data import Graphs
from condense.distillation import GraphMethod, GraphRun, Recipe, register
from condense.distillation.graphs.gradients import (
    Batch,
    Batches,
    Dense,
    Even,
    Weights,
    draw_weights,
    gradient,
    padded,
    sigmoid_error,
    softmax_error,
)
from condense.errors import Refused, unknown
from condense.store import GraphSet

SURE = 5.0
"""The logits of an edge that the start has are this, of all other pairs minus this (``graph_agent.py``)."""

COLDEST, COOLING = 0.01, 200
"""The relaxation's temperature falls from 1 to this over so many iterations (``get_discrete_graphs``)."""

FALL = 0.1
"""Factor on both rates when they fall."""

NORM_WEIGHT = 1.5 / math.sqrt(2 * 100)
"""Of the norm's term on molhiv, the one dataset where it has any (``train``)."""

POOLINGS = ("mean", "sum")


@register
@dataclass(frozen=True, kw_only=True)
class DosCond(GraphMethod):
    """One-step gradient matching.

    Attributes:
        iterations: Updates of the graphs, each under a fresh network.
        lr_features: Learning rate of the features (Adam).
        lr_structure: Learning rate of the edges' logits (Adam).
        fall_at: Updates after which both rates are a tenth, and Adam begins anew.
        beta: Weight of the penalty on edges beyond the start's density.
        norm_weight: Weight of the norm of the pooled, spread features (the bound of the paper's theorem).
        nodes: Of each synthetic graph; None is the mean of the training graphs, rounded.
        batch_real: Real graphs per class and iteration.
        layers: Of the network.
        hidden: Its width.
        pooling: ``mean`` or ``sum``.
        joint: Whether all classes share one gradient; else each is matched by itself.
        one_logit: Whether the network has one logit for two classes, under binary cross-entropy.
    """

    name = "doscond"
    optimizes = True
    quick = {"iterations": 40, "lr_structure": 0.1, "hidden": 32}
    remedy = "lower lr_features, as in --param lr_features=0.001"

    iterations: int = 1000
    lr_features: float = 0.01
    lr_structure: float = 0.01
    fall_at: int = 401
    beta: float = 0.1
    norm_weight: float = 0.0
    nodes: int | None = None
    batch_real: int = 256
    layers: int = 3
    hidden: int = 128
    pooling: str = "mean"
    joint: bool = False
    one_logit: bool = False

    def __post_init__(self) -> None:
        """Refuses a pooling that there is not."""
        super().__post_init__()
        if self.pooling not in POOLINGS:
            raise unknown("pooling", self.pooling, POOLINGS)

    @property
    def needs_real(self) -> bool:
        """It starts from real graphs."""
        return True

    def distill(self, train: Graphs, run: GraphRun) -> GraphSet:
        """Algorithm 1 of the paper."""
        k = run.spec.num_classes
        if self.one_logit and k != 2:
            raise Refused(f"{self.name}: one_logit tells two classes apart, and {run.spec.name} has {k}")
        size = self.nodes or round(len(train.node_labels) / len(train))
        features, adjacency = start(train, run, size)
        logits, density = SURE * (2 * adjacency - 1), adjacency.mean()
        for leaf in (features, logits):
            leaf.requires_grad_()
        optimizer = torch.optim.Adam(
            [{"params": [features], "lr": self.lr_features}, {"params": [logits], "lr": self.lr_structure}]
        )
        groups = [list(range(k))] if self.joint else [[label] for label in range(k)]
        labels = torch.arange(k, device=run.device).repeat_interleave(run.ipc).view(len(groups), -1)
        real = Real(train, run, self, groups)
        widths = [features.shape[-1], *[self.hidden] * self.layers, 1 if self.one_logit else k]
        state = {"features": features, "logits": logits, "optimizer": optimizer}
        for step in run.steps(self.iterations, state):
            if step == self.fall_at:
                fall(optimizer)
            weights = draw_weights(widths, run.rng, run.device)
            target = real.gradient(weights)
            edges = sampled(logits, temperature(step), run.rng)
            loss, side = self.objective(features, edges, labels, weights, target)
            optimizer.zero_grad()
            torch.autograd.backward(loss + side + self.beta * crowding(logits, density))
            optimizer.step()
            run.log(loss=loss)
        return finished(features.detach(), logits.detach(), labels.flatten(), run)

    def objective(
        self,
        features: Float[Tensor, "n m d"],
        edges: Float[Tensor, "n m m"],
        labels: Int64[Tensor, "k i"],
        weights: Weights,
        target: Weights,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The mismatch of the gradients, and the weighed norm of the spread features.

        Args:
            features: Of all n = k i graphs, group by group.
            edges: Between their nodes.
            labels: The k groups' classes.
            weights: Of the network.
            target: The real graphs' gradient of each group.
        """
        spread = Dense.of(edges.reshape(*labels.shape, *edges.shape[1:]))
        pool = Even(edges.shape[-1], mean=self.pooling == "mean")
        first = spread.there(features.view(len(labels), -1, features.shape[-1]))
        learned = gradient(first, [spread] * (self.layers - 1), pool, weights, self.error(labels))
        side = torch.zeros((), dtype=first.dtype, device=first.device)
        if self.norm_weight:
            classes = max(2, weights[-1].shape[0])
            side = self.norm_weight * (1 - 1 / classes) * norm(first, spread, pool, self.layers)
        return distance(target, learned), side

    def error(self, labels: Int64[Tensor, "*k g"]) -> Callable[[Tensor], Tensor]:
        """The derivative of its loss."""
        return sigmoid_error(labels) if self.one_logit else softmax_error(labels)


class Real:
    """The gradients of real graphs, a random batch of each group of classes at a time.

    Args:
        train: All of them.
        run: Whose generator draws.
        method: Says of which network.
        groups: Classes that share a gradient.
    """

    def __init__(
        self, train: Graphs, run: GraphRun, method: DosCond, groups: Sequence[Sequence[int]]
    ) -> None:
        self._groups = [[train.of_class(label) for label in group] for group in groups]
        self._batches = Batches(train, run.spec.features, method.layers, mean=method.pooling == "mean")
        self._rng, self._most, self._error = run.rng, method.batch_real, method.error
        self._fixed: dict[int, Batch] = {}

    @torch.no_grad()
    def gradient(self, weights: Weights) -> list[Tensor]:
        """As `condense.distillation.graphs.gradients.gradient`, with one axis: the groups."""
        found = []
        for number in range(len(self._groups)):
            batch = self._batch(number)
            found.append(gradient(batch.first, batch.spreads, batch.pool, weights, self._error(batch.labels)))
        return [torch.stack(side) for side in zip(*found, strict=True)]

    def _batch(self, number: int) -> Batch:
        members = self._groups[number]
        if max(map(len, members)) > self._most:
            return self._batches(torch.cat([self._some(member) for member in members]))
        if number not in self._fixed:
            self._fixed[number] = self._batches(torch.cat(members))
        return self._fixed[number]

    def _some(self, member: Int64[Tensor, " g"]) -> Int64[Tensor, " b"]:
        if len(member) <= self._most:
            return member
        return member[torch.randperm(len(member), generator=self._rng)[: self._most].to(member.device)]


def start(train: Graphs, run: GraphRun, size: int) -> tuple[Float[Tensor, "n m d"], Float[Tensor, "n m m"]]:
    """Random real graphs of at most m nodes, class by class, the nodes that they lack being all zero.

    Raises:
        Refused: if a class has no graph that small.
    """
    sizes, chosen = train.nodes_ptr.diff().cpu(), []
    for label, name in enumerate(run.spec.classes):
        members = train.of_class(label).cpu()
        small = members[sizes[members] <= size]
        if not len(small):
            raise Refused(
                f"doscond: no training graph of class {name} has at most {size} nodes, the smallest has "
                f"{int(sizes[members].min())}: set nodes, as in --param nodes={int(sizes[members].min())}"
            )
        order = small[torch.randperm(len(small), generator=run.rng)]
        chosen.append(order.repeat(-(-run.ipc // len(small)))[: run.ipc])
    return padded(train.select(torch.cat(chosen)), run.spec.features, size)


def temperature(step: int) -> float:
    """Of the relaxed edges: geometrically from 1 down, and then constant."""
    return float(max(COLDEST ** (step / COOLING), COLDEST))


def symmetric(logits: Float[Tensor, "n m m"]) -> Float[Tensor, "n m m"]:
    """The logit of a pair: the mean of its two."""
    return (logits + logits.mT) / 2


def sampled(
    logits: Float[Tensor, "n m m"], temperature: float, generator: torch.Generator
) -> Float[Tensor, "n m m"]:
    """Random edges, relaxed: sigmoid((logit + log u - log(1 - u)) / temperature), u uniform for each pair.

    An edge is above a half with the probability sigmoid(logit), at any temperature.

    Args:
        logits: Of the pairs.
        temperature: At 0 edges would be 0 or 1.
        generator: On the CPU.

    Returns:
        Symmetric, between 0 and 1, without loops.
    """
    n, m, _ = logits.shape
    above = torch.triu_indices(m, m, 1, device=logits.device)
    noise = torch.rand(n, above.shape[1], generator=generator, dtype=logits.dtype).logit()
    pairs = symmetric(logits)[:, above[0], above[1]] + noise.to(logits.device)
    edges = torch.zeros_like(logits)
    edges[:, above[0], above[1]] = (pairs / temperature).sigmoid()
    return edges + edges.mT


def distance(real: Weights, learned: Weights) -> Float[Tensor, ""]:
    """The squared gap of two gradients over the first one's squared norm, summed over the leading axis."""
    gap = torch.stack([(b - a).square().flatten(1).sum(1) for a, b in zip(real, learned, strict=True)])
    whole = torch.stack([a.square().flatten(1).sum(1) for a in real])
    return (gap.sum(0) / whole.sum(0)).sum()


def crowding(logits: Float[Tensor, "n m m"], density: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """By how much the mean probability of an edge exceeds the density of the start; 0 where it does not."""
    return (logits.sigmoid().mean() - density).relu()


def norm(first: Float[Tensor, "k r d"], spread: Dense, pool: Even, layers: int) -> Float[Tensor, ""]:
    """The Frobenius norm of the pooled features, spread as often as the network has layers, over n.

    Args:
        first: The features, spread once.
        spread: S.
        pool: To the n graphs.
        layers: How often they are spread.
    """
    rows = first
    for _ in range(layers - 1):
        rows = spread.there(rows)
    pooled = pool.there(rows).flatten(0, 1)
    total: Tensor = pooled.norm()
    return total / len(pooled)


def fall(optimizer: torch.optim.Optimizer) -> None:
    """A tenth of every rate, and a fresh start of the optimiser."""
    optimizer.state.clear()
    for group in optimizer.param_groups:
        group["lr"] *= FALL


def finished(
    features: Float[Tensor, "n m d"],
    logits: Float[Tensor, "n m m"],
    labels: Int64[Tensor, " n"],
    run: GraphRun,
) -> GraphSet:
    """The set: all m nodes of each graph, and the edges that are likelier than not."""
    n, m, _ = features.shape
    likely = (symmetric(logits) > 0) & ~torch.eye(m, dtype=torch.bool, device=logits.device)
    owner, source, target = likely.nonzero(as_tuple=True)
    edges_ptr = torch.bincount(owner, minlength=n).cumsum(0)
    return run.distilled(
        nodes=features.flatten(0, 1),
        edges=torch.stack([owner * m + source, owner * m + target]),
        nodes_ptr=torch.arange(n + 1, device=owner.device) * m,
        edges_ptr=torch.cat([edges_ptr.new_zeros(1), edges_ptr]),
        labels=labels,
    )


def _recipes() -> dict[tuple[str, int], Recipe]:
    # Nodes of each graph, and the learning rate of its edges.
    cells = {
        "mutag": (18, 0.1), "nci1": (30, 1.0), "dd": (285, 2.0),
        "molbace": (34, 0.01), "molbbbp": (24, 2.0), "molhiv": (26, 0.01),
    }  # fmt: skip
    source = "amazon-science/doscond, script.sh and defaults of main.py"
    found: dict[tuple[str, int], Recipe] = {}
    for dataset, (nodes, rate) in cells.items():
        hiv = dataset == "molhiv"
        method = DosCond(
            nodes=nodes,
            lr_structure=rate,
            pooling="sum" if hiv else "mean",
            norm_weight=NORM_WEIGHT if hiv else 0.0,
            one_logit=dataset.startswith("mol"),
            joint=dataset == "molbace",
        )
        recipe = Recipe(method=method, protocol=None, source=source)
        found |= {(dataset, ipc): recipe for ipc in (1, 10, 20 if dataset == "mutag" else 50)}
    return found


DosCond.recipes = _recipes()
