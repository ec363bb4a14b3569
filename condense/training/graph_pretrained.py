"""Graph networks that the suite trains on real data: made once, stored by content, resumable, shared."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn import functional

from condense.data import Graphs, GraphSpec
from condense.data.graphs.batch import batch_of
from condense.files import digest
from condense.networks.graph import GraphNetwork, build_graph_network
from condense.resources import Budget
from condense.training import parameters as weights
from condense.training.loop import Loop, State


@dataclass(frozen=True, kw_only=True)
class GraphTraining:
    """How a network is trained on training graphs: a value, hashed into the network's place in the cache.

    Adam at one rate, without decay: the one pinned recipe for the networks that selection methods look
    through. The papers say that a network trained on all graphs was used, not how; 500 steps of 128 are some
    twenty passes over NCI1 and two over ogbg-molhiv.

    Attributes:
        network: Its name.
        steps: Steps of Adam; an epoch's last batch is left out where it is smaller than the others.
        batch: Graphs a step, drawn without replacement within an epoch.
        lr: Learning rate.
        seed: Of initialisation and order.
        version: Raised when the training itself changes.
    """

    network: str
    steps: int = 500
    batch: int = 128
    lr: float = 1e-3
    seed: int = 0
    version: int = 1


@dataclass(frozen=True)
class GraphPretrained:
    """A trained network and what it once cost.

    Attributes:
        network: In evaluation mode, its weights frozen.
        hash: SHA-256 of its weights.
        seconds: The time that its training took, whoever did it.
    """

    network: GraphNetwork
    hash: str
    seconds: float


def graph_pretrained(
    training: GraphTraining, train: Graphs, spec: GraphSpec, *, cache: Path, budget: Budget
) -> GraphPretrained:
    """The network that a recipe gives on training graphs: from the cache, or trained now.

    Args:
        training: The recipe.
        train: Training graphs, on the device to train on.
        spec: The dataset.
        cache: Folder for trained networks and their checkpoints.
        budget: When to stop; the next call goes on from there.

    Raises:
        Refused: if there is no such network, or its loss is not finite.
        Stopped: when the budget has run out.
    """
    device = train.labels.device
    rng = torch.Generator().manual_seed(training.seed)
    network = build_graph_network(training.network, sum(spec.features), spec.num_classes, rng, device)
    key = digest({"training": asdict(training), "train": train.hash, "features": spec.features})
    folder = cache / "trained" / key[:32]
    if (found := _read(folder, network)) is not None:
        return found
    loop = Loop(
        folder, rng, device=device, budget=budget, title=f"{training.network} on {spec.name}",
        remedy="the pinned recipe does not suit this dataset: use a method without trained networks",
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), lr=training.lr)
    order = torch.randperm(len(train), generator=rng)
    per_epoch = max(1, len(train) // training.batch)
    state: State = {"network": network, "optimizer": optimizer, "order": order}
    for step in loop.steps(training.steps, state, phase="train"):
        at = step % per_epoch * training.batch
        if at == 0 and step > 0:
            order.copy_(torch.randperm(len(train), generator=rng))
        batch = batch_of(train.select(order[at : at + training.batch]), spec.features)
        loss = functional.cross_entropy(network(batch), batch.labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        loop.log(loss=loss.detach())
    weights.write(folder, network, loop.seconds)
    loop.done()
    read = _read(folder, network)
    assert read is not None
    return read


def _read(folder: Path, network: GraphNetwork) -> GraphPretrained | None:
    about = weights.read(folder, network)
    return None if about is None else GraphPretrained(network, about.hash, about.seconds)
