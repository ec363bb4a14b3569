"""How networks are trained on graphs: the recipe as a value, and its steps."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

from condense.data import Graphs, GraphSpec
from condense.data.graphs.batch import batch_of
from condense.networks.graph import GraphNetwork, build_graph_network
from condense.training.pretrained import Schedule, TrainingJob, TrainingRecipe


@dataclass(frozen=True, kw_only=True)
class GraphTraining(TrainingRecipe[Graphs, GraphSpec, GraphNetwork]):
    """How a network is trained on graphs, in whose features coreset methods select.

    The optimiser is Adam at a constant learning rate, without decay. The papers say that a network trained on
    all graphs was used, and not how it was trained. 500 steps of 128 graphs are some twenty passes over NCI1
    and two over ogbg-molhiv.

    Attributes:
        network: Name of the network.
        steps: Number of steps; an epoch's last batch is left out if it is smaller than the others.
        batch: Graphs per step, drawn without replacement within an epoch.
        lr: Learning rate.
        seed: Seed of the initialisation and the order.
        version: A number that is raised when the training itself changes.
    """

    network: str
    steps: int = 500
    batch: int = 128
    lr: float = 1e-3
    seed: int = 0
    version: int = 1

    def job(self, train: Graphs, spec: GraphSpec, space: str) -> "GraphTrainingJob":
        """Returns the training of a network by this recipe."""
        rng, device = torch.Generator().manual_seed(self.seed), train.labels.device
        network = build_graph_network(self.network, sum(spec.features), spec.num_classes, rng, device)
        optimizer = torch.optim.Adam(network.parameters(), lr=self.lr)
        schedule = Schedule(self.steps, max(1, len(train) // self.batch))
        return GraphTrainingJob(
            f"{self.network} on {spec.name}", network, rng, optimizer, torch.arange(len(train)), self.batch,
            schedule, self, train, spec,
        )  # fmt: skip


@dataclass
class GraphTrainingJob(TrainingJob[GraphNetwork]):
    """The training of a network on graphs: see `TrainingJob`.

    Attributes:
        training: The recipe.
        train: The training graphs.
        spec: The dataset's specification.
    """

    training: GraphTraining
    train: Graphs
    spec: GraphSpec

    def key(self) -> Mapping[str, object]:
        """Returns everything that the trained network depends on."""
        training = asdict(self.training)
        return {"training": training, "train": self.train.hash, "features": self.spec.features}

    def step(self, number: int, chosen: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
        """Makes one step of Adam on the mean cross-entropy of the batch."""
        batch = batch_of(self.train.select(chosen), self.spec.features)
        loss = cross_entropy(self.network(batch), batch.labels)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        return loss.detach()
