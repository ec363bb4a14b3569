"""Networks that the suite trains on real data: made once, stored by content, resumable, shared."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from condense.augment import by_name
from condense.data import DatasetSpec, Split
from condense.distill.loop import Loop, State
from condense.files import canonical, digest, hash_tensors, write_atomic
from condense.measure import Budget
from condense.networks import Network, build
from condense.store.targets import Hard
from condense.training import train_step


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a network is trained on the training set: a value, hashed into the network's place in the cache.

    SGD with momentum; the rate falls to a tenth for the second half of the steps.

    Attributes:
        network: Its name.
        steps: SGD steps.
        batch: Images a step, drawn without replacement within an epoch.
        lr: Learning rate of the first half.
        momentum: Momentum.
        weight_decay: L2 coefficient.
        augment: As in `condense.protocol.Protocol`.
        seed: Of initialisation, order and augmentation.
        version: Raised when the training itself changes.
    """

    network: str
    steps: int = 1000
    batch: int = 256
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: str = "none"
    seed: int = 0
    version: int = 1


def feature_extractor(network: str) -> Training:
    """The one pinned recipe for the networks that selection methods look through: `Training`'s defaults.

    The papers say that a network trained on the whole set was used, not how; a thousand steps of 256 are
    about four passes over MNIST and five over CIFAR-10.
    """
    return Training(network=network)


@dataclass(frozen=True)
class Trained:
    """A trained network and what it once cost.

    Attributes:
        network: In evaluation mode, its weights frozen.
        hash: SHA-256 of its weights.
        seconds: The time that its training took, whoever did it.
    """

    network: Network
    hash: str
    seconds: float


def trained(
    training: Training,
    train: Split,
    spec: DatasetSpec,
    space: str,
    *,
    cache: Path,
    budget: Budget,
) -> Trained:
    """The network that a recipe gives on a training set: from the cache, or trained now.

    Args:
        training: The recipe.
        train: Training images in the pixel space ``space``, on the device to train on.
        spec: The dataset.
        space: Name of the pixel space.
        cache: Folder for trained networks and their checkpoints.
        budget: When to stop; the next call goes on from there.

    Raises:
        Stopped: when the budget has run out.
    """
    device = train.images.device
    pixels = {"space": space, "mean": spec.mean, "std": spec.std}
    key = digest({"training": asdict(training), "train": train.hash, "pixels": pixels})
    folder = cache / "trained" / key[:32]
    rng = torch.Generator().manual_seed(training.seed)
    network = build(training.network, spec.shape, spec.num_classes, rng, device)
    if (found := _read(folder, network)) is not None:
        return found
    loop = Loop(
        folder, rng, device=device, budget=budget, title=f"{training.network} on {spec.name}",
        remedy="the pinned recipe does not suit this dataset: use a method without trained networks",
    )  # fmt: skip
    augment = by_name(training.augment, spec.dsa)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=training.lr, momentum=training.momentum, weight_decay=training.weight_decay
    )
    order = torch.randperm(len(train.labels), generator=rng)
    per_epoch = max(1, len(order) // training.batch)
    state: State = {"network": network, "optimizer": optimizer, "order": order}
    for step in loop.steps(training.steps, state, phase="train"):
        if step == training.steps // 2:
            optimizer.param_groups[0]["lr"] = 0.1 * training.lr
        at = step % per_epoch * training.batch
        if at == 0 and step > 0:
            order.copy_(torch.randperm(len(order), generator=rng))
        chosen = order[at : at + training.batch].to(device)
        images = augment(train.images[chosen], rng)
        loop.log(loss=train_step(network, optimizer, images, Hard(train.labels[chosen])))
    _write(folder, network, loop.seconds)
    loop.done()
    read = _read(folder, network)
    assert read is not None
    return read


def _write(folder: Path, network: Network, seconds: float) -> None:
    tensors = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    about = {"seconds": round(seconds, 3), "hash": hash_tensors(tensors)}
    write_atomic(folder / "weights.safetensors", save(tensors))
    write_atomic(folder / "about.json", canonical(about, indent=1))


def _read(folder: Path, network: Network) -> Trained | None:
    """The stored network, or None if it is missing or damaged (it is then trained again)."""
    try:
        about = json.loads((folder / "about.json").read_text())
        tensors = load((folder / "weights.safetensors").read_bytes())
        if hash_tensors(tensors) != about["hash"]:
            return None
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
    network.load_state_dict(tensors)
    network.eval().requires_grad_(False)
    return Trained(network, about["hash"], about["seconds"])
