"""Trajectory matching: a student that trains on synthetic images is led to where an expert got on real ones.

The parts that MTT, TESLA, FTD, DATM and AST share: what is learned, the piece of an expert's trajectory that
an update matches, the loss, the student's batches, and a factor on published learning rates. The student's
steps and their gradient are in `condense.distillation.matching.unrolled`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import functional_call

from condense.augment import dsa
from condense.distillation.images.learnable import LearnableSet
from condense.distillation.matching.unrolled import Batch, Vector
from condense.distillation.method import Recipe
from condense.networks import Network, network_in_chunks
from condense.training.experts import Experts
from condense.training.parameters import as_parameters

CIFAR100_STEP = 0.567
"""Factor on an ``lr_images`` that was chosen for CIFAR-100 normalised by the constants of CIFAR-10.

It is the mean of the squared standard deviations of CIFAR-10 by that of CIFAR-100. With it the raw pixels of
the three channels move 0.99, 0.94 and 1.07 times as far as in the authors' code.
"""


class Learned:
    """The tensors that trajectory matching learns.

    Args:
        syn: The synthetic images with their class ids.
        lr: Initial learning rate of the student.
        logits: Initial logits of the images' labels, if the labels are learned.

    Attributes:
        syn: As given.
        lr: The student's learning rate, a leaf.
        logits: The logits of the soft labels; None if the labels are class ids.
    """

    def __init__(self, syn: LearnableSet, lr: float, logits: Float[Tensor, "n k"] | None = None) -> None:
        self.syn = syn
        self.lr = torch.tensor(lr, device=syn.images.device, requires_grad=True)
        self.logits = None if logits is None else logits.detach().clone().requires_grad_()

    @property
    def images(self) -> Float[Tensor, "n c h w"]:
        """The synthetic images, a leaf."""
        return self.syn.images

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that an update changes, by name."""
        tensors = {"images": self.images, "lr": self.lr}
        return tensors if self.logits is None else {**tensors, "logits": self.logits}

    @property
    def soft(self) -> Float[Tensor, "n k"] | None:
        """The probabilities that label the images; None if class ids do."""
        return None if self.logits is None else self.logits.softmax(1)

    def batch(
        self, indices: Int64[Tensor, " b"]
    ) -> tuple[Float[Tensor, "m c h w"], Int64[Tensor, " m"] | Float[Tensor, "m k"]]:
        """Returns some images through the view, and their labels; differentiable in both."""
        images, places = self.syn.view(self.images[indices], indices)
        labels = self.syn.labels if (soft := self.soft) is None else soft
        return images, labels[places]


@dataclass(frozen=True, eq=False)
class Segment:
    """A piece of an expert's trajectory.

    Attributes:
        expert: Number of the expert.
        epoch: Epoch t of its first snapshot.
        start: The expert's parameters after t epochs.
        goal: The expert's parameters some epochs later.
    """

    expert: int
    epoch: int
    start: Vector
    goal: Vector


def draw_segment(experts: Experts, window: tuple[int, int], length: int, rng: torch.Generator) -> Segment:
    """Draws an expert and a start epoch, both uniformly.

    Args:
        experts: The experts.
        window: First start epoch, and the one after the last.
        length: Epochs from the start to the goal.
        rng: A CPU generator.
    """
    expert = draw_integer(0, len(experts), rng)
    epoch = draw_integer(*window, rng)
    return Segment(expert, epoch, experts.at(expert, epoch), experts.at(expert, epoch + length))


def draw_integer(low: int, high: int, rng: torch.Generator) -> int:
    """Draws a uniform whole number from ``low`` to ``high - 1``."""
    return int(torch.randint(low, high, (), generator=rng))


def trajectory_loss(start: Vector, goal: Vector) -> Callable[[Vector], Float[Tensor, ""]]:
    """Returns the loss |end - goal|^2 / |start - goal|^2 as a function of the student's last parameters.

    It is 0 at the goal, and 1 for a student that has not come nearer to it.

    Args:
        start: The parameters that the student starts from.
        goal: The parameters that it should reach.
    """
    way = (start - goal).square().sum()
    return lambda end: (end - goal).square().sum() / way


def student_batches(
    learned: Learned, strategy: str, rng: torch.Generator, *, steps: int, size: int | None
) -> list[Batch]:
    """Draws the batches of a student: every image is seen once before one is seen again.

    Args:
        learned: The images and their labels.
        strategy: Augmentation (`condense.augment.dsa`): each batch draws an operation, and parameters for
            each of its images.
        rng: A CPU generator.
        steps: Number of batches.
        size: Images in a batch, counted after the view; None takes all images in every batch.
    """
    copies, n = learned.syn.view.copies, len(learned.syn.labels)
    stored = max(1, min(n, (size or n) // copies))
    height, width = learned.images.shape[-2:]
    batches: list[Batch] = []
    pieces: Sequence[Tensor] = []
    for _ in range(steps):
        # As in MTT's code, pieces are taken from the end: one that is smaller than the others comes first.
        pieces = pieces or torch.split(torch.randperm(n, generator=rng), stored)
        indices, pieces = pieces[-1], pieces[:-1]
        drawn = dsa.draw_ops(strategy, (height, width), rng, per_group=len(indices) * copies)
        device = learned.images.device
        batches.append(_augmented(learned, indices.to(device), drawn.to(device)))
    return batches


def _augmented(learned: Learned, indices: Int64[Tensor, " b"], drawn: dsa.Drawn) -> Batch:
    """Returns a batch that is made of the images of the moment, but augmented alike at every call."""

    def batch() -> tuple[Tensor, Tensor]:
        images, labels = learned.batch(indices)
        return drawn(images[None])[0], labels

    return batch


def predict(network: Network, parameters: Vector, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
    """Returns the logits of a network with other parameters, without gradients.

    A batch norm uses the statistics of the whole batch, because a trajectory holds no running statistics.

    Args:
        network: Gives the structure, and is put into training mode.
        parameters: The parameters to use in place of its own.
        images: The images.
    """
    weights = as_parameters(network.train(), parameters)

    def part(images: Tensor) -> Tensor:
        statistics = {name: buffer.clone() for name, buffer in network.named_buffers()}
        logits: Tensor = functional_call(network, weights | statistics, (images,))
        return logits

    return network_in_chunks(network, part, images)


def by_own_constants(table: Mapping[tuple[str, int], Recipe]) -> dict[tuple[str, int], Recipe]:
    """Multiplies the authors' ``lr_images`` by `CIFAR100_STEP` where CIFAR-100 is not whitened."""
    return {
        (dataset, ipc): replace(
            recipe,
            method=replace(method, lr_images=method.lr_images * CIFAR100_STEP),
            source=f"{recipe.source}; lr_images there is for CIFAR-10's constants",
        )
        if dataset == "cifar100" and (method := cast(Any, recipe.method)).pixel_space == "normalized"
        else recipe
        for (dataset, ipc), recipe in table.items()
    }
