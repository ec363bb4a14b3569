"""Networks that the suite trains on real data: trained once, cached, resumable, and shared between runs.

A process that asks for a network while another one trains it waits and takes it.

`pretrained` is the loop and the cache for networks of images and of graphs. What differs between the kinds of
data is in a `TrainingJob`: see `condense.training.image_training` and its sibling `graph_training`.
"""

import json
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from jaxtyping import Float, Int64
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from condense.files import canonical, digest, hash_tensors, locked, locked_if_free, write_atomic
from condense.resources import Budget
from condense.training.checkpoint import Checkpoints
from condense.training.loop import Loop, State
from condense.training.progress import Cost

NetworkT = TypeVar("NetworkT", bound=nn.Module)
SamplesT = TypeVar("SamplesT")
SpecT = TypeVar("SpecT")


@dataclass(frozen=True)
class Pretrained(Generic[NetworkT]):
    """A trained network and the cost of its training.

    Attributes:
        network: The network in evaluation mode, with frozen weights.
        hash: SHA-256 of the weights.
        seconds: Time that the training took, in whichever run.
        accuracy: Percent of the held-out samples that it classifies correctly; None if none were held out.
    """

    network: NetworkT
    hash: str
    seconds: float
    accuracy: float | None = None


@dataclass(frozen=True)
class Schedule:
    """A training in steps.

    Attributes:
        steps: Number of steps.
        per_epoch: Steps per epoch.
        falls: Steps from which on the learning rate is lower.
    """

    steps: int
    per_epoch: int
    falls: tuple[int, ...] = ()

    def half_cosine(self, step: int) -> float:
        """Returns the factor of a learning rate that falls from 1 at step 0 to 0 after the last step."""
        return 0.5 * (1 + math.cos(math.pi * step / self.steps))


@dataclass
class TrainingJob(ABC, Generic[NetworkT]):
    """The training of one network on one dataset.

    Attributes:
        title: Shown in front of the progress.
        network: The fresh network, on the device to train on.
        rng: The generator that drew the network; everything else is drawn from it, too.
        optimizer: The optimiser of the network's weights.
        positions: Positions of the samples to train on, on the CPU.
        batch: Samples per step, drawn without replacement within an epoch.
        schedule: The training in steps.
    """

    title: str
    network: NetworkT
    rng: torch.Generator
    optimizer: torch.optim.Optimizer
    positions: Int64[Tensor, " n"]
    batch: int
    schedule: Schedule

    @abstractmethod
    def key(self) -> Mapping[str, object]:
        """Returns everything that the trained network depends on; its hash names the place in the cache."""

    @abstractmethod
    def step(self, number: int, chosen: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
        """Makes one step of the optimiser and returns the loss before it, detached.

        Args:
            number: Number of the step, from 0.
            chosen: Positions of the batch's samples, on the CPU.
        """

    def accuracy(self) -> float | None:
        """Returns the percent of held-out samples that it classifies correctly; None if none are held out."""
        return None


class TrainingRecipe(ABC, Generic[SamplesT, SpecT, NetworkT]):
    """How a network is trained: a value that is hashed into the network's place in the cache."""

    @abstractmethod
    def job(self, train: SamplesT, spec: SpecT, space: str) -> TrainingJob[NetworkT]:
        """Returns the training of a network by this recipe; arguments as for `pretrained`."""


def pretrained(
    training: TrainingRecipe[SamplesT, SpecT, NetworkT],
    train: SamplesT,
    spec: SpecT,
    space: str = "",
    *,
    cache: Path,
    budget: Budget,
    remedy: str = "the pinned recipe does not suit this dataset: use a method without trained networks",
) -> Pretrained[NetworkT]:
    """Returns a trained network, which is read from the cache or else trained now.

    Args:
        training: How it is trained.
        train: The training samples, on the device to train on.
        spec: The dataset's specification.
        space: Name of the pixel space that images are in; graphs have none.
        cache: Folder for trained networks and their checkpoints.
        budget: The time limit; after it the next call goes on from there.
        remedy: What the user can do when the loss is not finite.

    Raises:
        Refused: if the network does not exist or does not fit the data, or the loss is not finite.
        Stopped: if the time limit is reached.
    """
    job = training.job(train, spec, space)
    network = job.network
    folder = cache / "trained" / digest(job.key())[:32]
    if (found := _read(folder, network)) is not None:
        with locked_if_free(folder) as free:
            if free:
                Checkpoints(folder).remove()  # those of a training that was killed after its last step
        return found
    with locked(folder, what=f"trains {job.title}", budget=budget):
        return _read(folder, network) or _trained(job, folder, budget, remedy)


def _trained(job: TrainingJob[NetworkT], folder: Path, budget: Budget, remedy: str) -> Pretrained[NetworkT]:
    """Trains a network and stores it; arguments as for `pretrained`."""
    network, positions, batch = job.network, job.positions, job.batch
    device = next(network.parameters()).device
    cost = Cost(job.title, "fewer epochs or a smaller network make it shorter")
    loop = Loop(folder, job.rng, device=device, budget=budget, title=job.title, remedy=remedy, cost=cost)
    order = positions[torch.randperm(len(positions), generator=job.rng)]
    state: State = {"network": network, "optimizer": job.optimizer, "order": order}
    for step in loop.steps(job.schedule.steps, state, phase="train"):
        at = step % job.schedule.per_epoch * batch
        if at == 0 and step > 0:
            order.copy_(positions[torch.randperm(len(positions), generator=job.rng)])
        loop.log(loss=job.step(step, order[at : at + batch]))
    accuracy = job.accuracy()
    _write(folder, network, loop.seconds, accuracy)
    loop.done()
    made = _read(folder, network)
    assert made is not None
    return made


def _write(folder: Path, network: nn.Module, seconds: float, accuracy: float | None) -> None:
    """Stores a network's weights, and beside them the other values of `Pretrained`."""
    tensors = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    about = {"seconds": round(seconds, 3), "hash": hash_tensors(tensors)}
    if accuracy is not None:
        about["accuracy"] = accuracy
    write_atomic(folder / "weights.safetensors", save(tensors))
    write_atomic(folder / "about.json", canonical({**about, "check": digest(about)}, indent=1))


def _read(folder: Path, network: NetworkT) -> Pretrained[NetworkT] | None:
    """Loads stored weights into a network; None if they are missing or, which is said, damaged.

    The files of older versions hold no check of the other values.
    """
    try:
        about = json.loads((folder / "about.json").read_text())
        tensors = load((folder / "weights.safetensors").read_bytes())
        check = about.pop("check", None)
        if hash_tensors(tensors) != about["hash"] or check not in (None, digest(about)):
            raise ValueError("hash")
        found = Pretrained(network, about["hash"], about["seconds"], about.get("accuracy"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError):
        print(f"the network in {folder} is damaged and is trained again", file=sys.stderr, flush=True)
        return None
    network.load_state_dict(tensors)
    network.eval().requires_grad_(False)
    return found
