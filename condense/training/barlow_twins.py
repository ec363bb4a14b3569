"""Barlow Twins: an encoder of images that is trained without labels, on pairs of augmented views.

Zbontar, Jing, Misra, LeCun and Deny, "Barlow Twins: Self-Supervised Learning via Redundancy Reduction" (ICML
2021, https://arxiv.org/abs/2103.03230). Two views of every image go through the encoder and a projector. The
loss asks that each output agrees between the views, and that no two outputs repeat each other.

The settings for small images are those of wgcban/mix-bt: Adam with weight decay 1e-6, batches of 256, a
learning rate of 0.01 with a warm-up and half a cosine, and an off-diagonal weight of 1/128. There a ResNet18
is trained for 1000 epochs or more, with a projector of width 1024; the defaults here are what a CPU can
afford. How long the warm-up is and how views are drawn is not stated with it, and is chosen here.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from condense.augment import dsa, resized
from condense.augment.crop import FLIP, flipped
from condense.data import Images, ImageSpec
from condense.networks import Network, build_network, drawn
from condense.training.pretrained import Schedule, TrainingJob, TrainingRecipe

EPSILON = 1e-5
"""What is added to variances before the root is taken, as in a batch norm."""
SMALLEST = 0.2
"""Smallest share of an image's area that a view shows."""
GREY = 0.2
"""Probability that a view loses its colours."""
LAST = 1e-3
"""Factor of the learning rate at the end of the cosine."""


class Twins(nn.Module):
    """An encoder and the projector that it is trained with.

    Attributes:
        encoder: The network. Its features are the encoder's output; its classifier is not used.
        projector: Two hidden layers with batch norm, and a linear one.
    """

    def __init__(self, encoder: Network, projector: Network) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, projector

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p"]:
        projected: Tensor = self.projector.classifier(self.projector.body(self.encoder.features(x)))
        return projected


def projector(features: int, width: int) -> Network:
    """Makes a projector of a number of features, all layers of which have the same width."""
    hidden = [
        nn.Linear(features, width), nn.BatchNorm1d(width), nn.ReLU(),
        nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(),
    ]  # fmt: skip
    return Network(nn.Sequential(*hidden), width, width)


@dataclass(frozen=True, kw_only=True)
class BarlowTwins(TrainingRecipe[Images, ImageSpec, Twins]):
    """How an encoder is trained without labels.

    Attributes:
        network: Name of the encoder's network.
        images: Number of training images, drawn at random whatever their classes; all, if there are fewer.
        epochs: Passes over these images; an epoch's last batch is left out if it is smaller than the others.
        batch: Images per step, of each of which there are two views.
        lr: Largest learning rate of Adam.
        warmup: Share of the steps in which the learning rate rises linearly; after it, it falls to a
            thousandth along half a cosine.
        weight_decay: L2 coefficient.
        projector: Width of all layers of the projector.
        redundancy: Weight of the correlations between different outputs.
        seed: Seed of the images, the initialisation, the order and the views.
        version: A number that is raised when the training itself changes.
    """

    network: str
    images: int = 10_000
    epochs: int = 50
    batch: int = 256
    lr: float = 0.01
    warmup: float = 0.1
    weight_decay: float = 1e-6
    projector: int = 256
    redundancy: float = 0.0078125
    seed: int = 0
    version: int = 1

    def job(self, train: Images, spec: ImageSpec, space: str) -> "BarlowTwinsJob":
        """Returns the training of an encoder by this recipe; the labels of the images are not read."""
        rng, device = torch.Generator().manual_seed(self.seed), train.images.device
        encoder = build_network(self.network, spec.shape, 1, rng, device)
        head = drawn(partial(projector, encoder.feature_dim, self.projector), rng, device)
        twins = Twins(encoder, head)
        chosen = torch.randperm(len(train), generator=rng)[: self.images]
        batch = min(self.batch, len(chosen))
        per_epoch = len(chosen) // batch
        optimizer = torch.optim.Adam(twins.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        return BarlowTwinsJob(
            f"{self.network} on {spec.name} without labels", twins, rng, optimizer, chosen, batch,
            Schedule(self.epochs * per_epoch, per_epoch), self, train, spec, space,
        )  # fmt: skip

    def rate(self, step: int, steps: int) -> float:
        """Returns the learning rate of a step, counted from 0."""
        rising = round(self.warmup * steps)
        if step < rising:
            return self.lr * (step + 1) / rising
        falling = Schedule(steps - rising, 1).half_cosine(step - rising)
        return self.lr * (LAST + (1 - LAST) * falling)


@dataclass
class BarlowTwinsJob(TrainingJob[Twins]):
    """The training of an encoder: see `TrainingJob`.

    Attributes:
        training: The recipe.
        train: The training images.
        spec: The dataset's specification.
        space: Name of the pixel space that the images are in.
    """

    training: BarlowTwins
    train: Images
    spec: ImageSpec
    space: str

    def key(self) -> Mapping[str, object]:
        """Returns everything that the encoder depends on."""
        spec = self.spec
        return {
            "barlow_twins": asdict(self.training), "train": self.train.hash, "flips": spec.flips,
            "pixels": {"space": self.space, "mean": spec.mean, "std": spec.std},
        }  # fmt: skip

    def step(self, number: int, chosen: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
        """Makes one step of Adam on two views of each image of a batch."""
        training = self.training
        self.optimizer.param_groups[0]["lr"] = training.rate(number, self.schedule.steps)
        images = self.train.images[chosen.to(self.train.images.device)]
        first, second = (view(images, self.rng, flips=self.spec.flips) for _ in range(2))
        outputs = self.network(torch.cat([first, second]))
        n = len(chosen)
        loss = barlow_twins_loss(outputs[:n], outputs[n:], training.redundancy)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        return loss.detach()


def barlow_twins_loss(
    first: Float[Tensor, "n p"], second: Float[Tensor, "n p"], redundancy: float
) -> Float[Tensor, ""]:
    """Returns the loss of the outputs of two views of n images: equation 1 of the paper.

    With each column of both outputs standardised over the batch, C = first^T second / n. The loss is
    sum_i (1 - C_ii)^2 + redundancy * sum_{i != j} C_ij^2.

    Args:
        first: The projector's outputs of the first views.
        second: Those of the second views of the same images.
        redundancy: Weight of the off-diagonal part.
    """
    a, b = ((z - z.mean(0)) / (z.var(0, correction=0) + EPSILON).sqrt() for z in (first, second))
    c = a.T @ b / len(a)
    own = c.diagonal()
    return (1 - own).square().sum() + redundancy * (c.square().sum() - own.square().sum())


def view(x: Float[Tensor, "n c h w"], generator: torch.Generator, *, flips: bool) -> Float[Tensor, "n c h w"]:
    """Returns a random view of each image.

    A box of at least `SMALLEST` of the area is enlarged to the image's size, mirrored with probability 1/2 if
    ``flips``, changed in brightness, saturation and contrast, and grey with probability `GREY`.

    Args:
        x: Normalised images.
        generator: A CPU generator.
        flips: Whether a mirror image is as likely as the image.
    """
    n, _, h, w = x.shape
    shown = resized.enlarged(x, resized.boxes(n, (h, w), generator, smallest=SMALLEST).to(x.device))
    if flips:
        shown = flipped(shown, (torch.rand(n, generator=generator) < FLIP).to(x.device))
    shown = dsa.augment(shown, "color", generator)
    grey = (torch.rand(n, generator=generator) < GREY).to(x.device)
    return torch.where(grey[:, None, None, None], shown.mean(1, keepdim=True), shown)
