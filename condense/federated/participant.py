"""A client: its images on its own disk, the set it has distilled, and its answers to the server.

A client keeps what it changes (its set after a refresh, its control variate) in a file for each round in
which it was changed, and begins a round with the newest file of an earlier one. It keeps the images that all
clients share, too. A round that is done again,
since the server was killed before it had noted the answers, therefore gives the same answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from condense.data import Images
from condense.data.images.pixels import affine
from condense.distillation.matching.distribution import class_statistics
from condense.federated.local import Labelled, Pull, control_change, train_locally
from condense.federated.virtual import Refresh, noise, refreshed
from condense.files import digest, write_atomic
from condense.networks import Network, build_network
from condense.protocol import Protocol
from condense.resources import keep_freed_memory
from condense.training.step import accuracy

KEPT = 2
"""Number of a client's files that are kept: the newest may belong to a round that is done again."""


def generator(*what: object) -> torch.Generator:
    """Returns the generator of a part of a federation, such as a round of a client, seeded by its name."""
    return torch.Generator().manual_seed(int(digest(list(what))[:15], 16))


@dataclass(frozen=True, kw_only=True, eq=False)
class Order:
    """What the server asks of a client in a round.

    Attributes:
        number: Number of the round, from 0.
        seed: Seed of the federation.
        weights: The server's network.
        protocol: How it is trained.
        pull: What is added to the loss; without a drift.
        shared: Images on which all clients train beside their own; None if there are none, or the client has
            those of this version already.
        version: Version of the shared images; 0 if there are none.
        noise: Images of each class that all clients draw for this in place of shared ones, from the seed.
        control: The server's control variate.
        refresh: How the client matches its set to its data ahead of training.
    """

    number: int
    seed: int
    weights: Mapping[str, Tensor]
    protocol: Protocol
    pull: Pull = Pull()
    shared: Labelled | None = None
    version: int = 0
    noise: int = 0
    control: Mapping[str, Tensor] | None = None
    refresh: Refresh | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a client answers.

    Attributes:
        weights: The network after its training.
        steps: Number of its steps.
        loss: Mean loss of its last epoch.
        change: Change of its control variate, if the server has one.
    """

    weights: Mapping[str, Tensor]
    steps: int
    loss: float
    change: Mapping[str, Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class Participant:
    """One client of a federation.

    Attributes:
        folder: Its folder: ``data.safetensors`` with its images, ``local.safetensors`` with the set it has
            distilled, and what it has changed in rounds.
        number: Its number, from 0.
        network: Name of the network.
        shape: Channels, height and width of the images.
        classes: Number of classes of the federation.
        device: The device that it computes on.
    """

    folder: Path
    number: int
    network: str
    shape: tuple[int, int, int]
    classes: int
    device: str = "cpu"

    @staticmethod
    def write(folder: Path, train: Images, test: Images, local: Labelled) -> None:
        """Writes the files of a client.

        Args:
            folder: Its folder.
            train: Its training images, as uint8.
            test: Its test images, as uint8.
            local: The set it has distilled, class after class.
        """
        tensors = {"train": train.images, "train_labels": train.labels}
        tensors |= {"test": test.images, "test_labels": test.labels}
        write_atomic(folder / "data.safetensors", save({k: v.contiguous() for k, v in tensors.items()}))
        own = {"images": local.images.contiguous(), "labels": local.labels.contiguous()}
        write_atomic(folder / "local.safetensors", save(own))

    def statistics(self) -> tuple[Float[Tensor, "k c"], Float[Tensor, "k c"]]:
        """Returns mean and standard deviation of each class and channel: see `class_statistics`."""
        train = self._split("train")
        mean, std = class_statistics(train.images, train.labels, self.classes)
        return mean.cpu(), std.cpu()

    def tested(self, weights: Mapping[str, Tensor]) -> float:
        """Returns the accuracy of a network on the client's test images, in percent."""
        test = self._split("test")
        return accuracy(self._network(weights), test.images, test.labels)

    def answer(self, order: Order) -> Answer:
        """Does what the server asks for."""
        keep_freed_memory()
        rng = generator(order.seed, "round", order.number, "client", self.number)
        network, state = self._network(order.weights), self._state_before(order.number)
        own = self._local(state)
        changed: dict[str, Tensor] = {}
        if order.refresh is not None:
            own = self._refreshed(network, own, order.refresh, rng)
            changed["images"] = own.images
        drift: dict[str, Tensor] | None = None
        if order.control is not None:
            held = {
                name: state.get(f"control.{name}", torch.zeros_like(value)).to(self.device)
                for name, value in order.control.items()
            }
            control = {name: value.to(self.device) for name, value in order.control.items()}
            drift = {name: value - held[name] for name, value in control.items()}
        shared = self._shared(order)
        if order.noise:
            shared = noise(order.noise, self.classes, self.shape, generator(order.seed, "noise"))
        shared = None if shared is None else shared.to(torch.device(self.device))
        pull = replace(order.pull, drift=drift, anchors=shared)
        steps, loss = train_locally(network, own.joined(shared), order.protocol, rng, pull)
        after = {name: value.detach().cpu() for name, value in network.state_dict().items()}
        change = None
        if order.control is not None:
            assert order.protocol.lr is not None
            before = {name: order.weights[name] for name in order.control}
            change = control_change(before, after, order.control, steps, order.protocol.lr)
            changed |= {f"control.{name}": held[name].cpu() + value for name, value in change.items()}
        if changed:
            self._keep("round", order.number, {**state, **changed})
        return Answer(weights=after, steps=steps, loss=loss, change=change)

    def _network(self, weights: Mapping[str, Tensor]) -> Network:
        network = build_network(self.network, self.shape, self.classes, torch.Generator(), self.device)
        network.load_state_dict(weights)
        return network

    def _refreshed(self, network: Network, own: Labelled, how: Refresh, rng: torch.Generator) -> Labelled:
        present = torch.bincount(own.labels.cpu(), minlength=self.classes)
        kept = tuple(torch.where(present)[0].tolist())
        train = self._split("train", kept)
        counts = tuple(present[list(kept)].tolist())
        return Labelled(refreshed(network, own.images, counts, train, how, rng), own.labels)

    def _split(self, name: str, classes: Sequence[int] | None = None) -> Images:
        """Returns a split, or some of its classes, in the federation's pixel space on the client's device."""
        with safe_open(self.folder / "data.safetensors", framework="pt") as file:
            images, labels = file.get_tensor(name), file.get_tensor(f"{name}_labels")
        plain = Images(images, labels, "", self.classes)
        if classes is not None and len(classes) < self.classes:
            plain = plain.only(classes)
        half = (0.5,) * self.shape[0]
        return plain.to(self.device).in_space(affine("normalized", half, half))

    def _local(self, state: Mapping[str, Tensor]) -> Labelled:
        own = load_file(self.folder / "local.safetensors")
        images = state.get("images", own["images"])
        return Labelled(images, own["labels"]).to(torch.device(self.device))

    def _shared(self, order: Order) -> Labelled | None:
        """Returns the shared images of an order, which are kept for later ones, or those that were kept."""
        if not order.version:
            return None
        if order.shared is not None:
            self._keep("shared", order.version, vars(order.shared))
            return order.shared
        kept = load_file(self.folder / f"shared-{order.version:08d}.safetensors")
        return Labelled(kept["images"], kept["labels"])

    def _files(self, name: str) -> list[Path]:
        return sorted(self.folder.glob(f"{name}-*.safetensors"))

    def _state_before(self, number: int) -> dict[str, Tensor]:
        """Returns what the client had changed by the start of a round."""
        earlier = [path for path in self._files("round") if _number(path) < number]
        return load_file(earlier[-1]) if earlier else {}

    def _keep(self, name: str, number: int, held: Mapping[str, Tensor]) -> None:
        """Writes the file of a round or version; removes old ones, and later ones, which are made again."""
        tensors = {key: value.detach().cpu().contiguous() for key, value in held.items()}
        write_atomic(self.folder / f"{name}-{number:08d}.safetensors", save(tensors))
        files = self._files(name)
        later = [path for path in files if _number(path) > number]
        for old in [*later, *files[: len(files) - len(later)][:-KEPT]]:
            old.unlink(missing_ok=True)


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])
