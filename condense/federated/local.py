"""What a client does with the server's network: it trains it for some epochs on images of its own."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from condense.networks import Network
from condense.protocol import Protocol


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images in the federation's pixel space and their class ids.

    Attributes:
        images: The images.
        labels: Their class ids, among all classes of the federation.
    """

    images: Float[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.labels)

    def joined(self, other: "Labelled | None") -> "Labelled":
        """Returns these images followed by others."""
        if other is None:
            return self
        return Labelled(torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels]))

    def to(self, device: torch.device) -> "Labelled":
        """Returns the same images on a device."""
        return Labelled(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, kw_only=True, eq=False)
class Pull:
    """What is added to the cross-entropy or to its gradient while a client trains; by default nothing.

    Attributes:
        proximal: The weight mu of (mu / 2) ||w - W||^2, with the server's network W (FedProx).
        drift: c - c_i, which is added to the gradient, by the names of the parameters (SCAFFOLD).
        anchors: Images with whose features those of each batch are contrasted: see `contrast`.
        weight: Weight of that loss.
        temperature: Temperature of that loss.
    """

    proximal: float = 0.0
    drift: Mapping[str, Tensor] | None = None
    anchors: Labelled | None = None
    weight: float = 0.0
    temperature: float = 0.07


NOTHING = Pull()


def train_locally(
    network: Network, data: Labelled, protocol: Protocol, rng: torch.Generator, pull: Pull = NOTHING
) -> tuple[int, float]:
    """Trains a network in place by SGD on the client's images.

    Args:
        network: The server's network.
        data: The images, which are shuffled in each epoch and cut into the protocol's batches; the last one
            may be smaller.
        protocol: Gives learning rate, momentum, weight decay, batch and epochs.
        rng: A CPU generator.
        pull: What is added to the cross-entropy.

    Returns:
        The number of steps, and the mean loss of the last epoch.
    """
    assert protocol.lr is not None
    network.train()
    start = {name: one.detach().clone() for name, one in network.named_parameters()}
    optimizer = torch.optim.SGD(
        network.parameters(), protocol.lr, protocol.momentum, weight_decay=protocol.weight_decay
    )
    steps, total = 0, 0.0
    for _ in range(protocol.epochs):
        order = torch.randperm(len(data), generator=rng).to(data.labels.device)
        losses = []
        for chosen in torch.split(order, protocol.batch_for(len(data))):
            loss = _loss(network, data.images[chosen], data.labels[chosen], start, pull)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            if pull.drift is not None:
                for name, one in network.named_parameters():
                    assert one.grad is not None
                    one.grad += pull.drift[name]
            optimizer.step()
            losses.append(loss.detach())
        steps, total = steps + len(losses), float(torch.stack(losses).mean())
    return steps, total


def _loss(
    network: Network,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    start: Mapping[str, Tensor],
    pull: Pull,
) -> Float[Tensor, ""]:
    features = network.features(images)
    loss = cross_entropy(network.classifier(features), labels)
    if pull.proximal:
        gaps = [(one - start[name]).square().sum() for name, one in network.named_parameters()]
        loss = loss + 0.5 * pull.proximal * torch.stack(gaps).sum()
    if pull.weight and pull.anchors is not None:
        rows = torch.cat([features, network.features(pull.anchors.images)])
        loss = loss + pull.weight * contrast(rows, torch.cat([labels, pull.anchors.labels]), pull.temperature)
    return loss


def contrast(
    rows: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], temperature: float
) -> Float[Tensor, ""]:
    """Returns the supervised contrastive loss (Khosla et al. 2020, https://arxiv.org/abs/2004.11362, L_out).

    With unit vectors z_i, and the other rows P(i) of the class of row i, it is the mean, over all rows i that
    have such others, of -1/|P(i)| times the sum over p in P(i) of
    log(exp(z_i z_p / T) / sum over a != i of exp(z_i z_a / T)).

    Args:
        rows: The features.
        labels: Their class ids.
        temperature: The temperature T.
    """
    unit = normalize(rows, dim=1)
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    similar = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
    log_share = similar - similar.logsumexp(1, keepdim=True)
    same = (labels[:, None] == labels) & ~itself
    counts = same.sum(1)
    each = -log_share.masked_fill(~same, 0.0).sum(1) / counts.clamp_min(1)
    return each[counts > 0].mean() if bool((counts > 0).any()) else rows.sum() * 0


def control_change(
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    control: Mapping[str, Tensor],
    steps: int,
    lr: float,
) -> dict[str, Tensor]:
    """Returns the change of a client's control variate in SCAFFOLD: -c + (W - w_i) / (K lr).

    It is option II of Karimireddy et al. 2020 (https://arxiv.org/abs/1910.06378).

    Args:
        before: The server's parameters W.
        after: The client's parameters w_i after its steps.
        control: The server's control variate c.
        steps: Number K of steps.
        lr: Learning rate of the steps.
    """
    return {name: (before[name] - after[name]) / (steps * lr) - value for name, value in control.items()}
