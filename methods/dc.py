"""DC: the gradient that synthetic images give a network points where the gradient of real images points.

A network is drawn at random. On it, the gradient of the cross-entropy is computed for real images and for the
synthetic images of the same class; the distance of the two (one minus their cosine, for each output of each
layer) is the loss, and the pixels move down its gradient. Then the network is trained on the synthetic images
for some epochs and matched again; after some matches a new network is drawn.

Paper: Zhao, Mopuri and Bilen, Dataset Condensation with Gradient Matching, ICLR 2021,
https://arxiv.org/abs/2006.05929. Authors' code: VICO-UoE/DatasetCondensation, ``main.py`` and ``utils.py``
(``match_loss``).

This implementation differs from the authors' code in these points:

- It makes ``iterations`` rounds. The authors' loop makes one more, and reports the set before that round.
- Real images go through the network in chunks that fit a CPU's cache, and synthetic ones class by class. The
  sums are the same; this is faster and needs less memory.
- The statistics of batch norms are refreshed without recording a graph.
- A class with fewer than ``batch_real`` images gives all of its images, some of them twice. The authors' code
  takes a smaller batch.
- For a number of images per class that is not in the authors' table `LOOPS`, the entry below it is used. The
  authors' code stops with an error.

The paper reports the mean of 20 students on each of 5 sets; the protocols of the recipes train 5 students on
one set.

When not to use it: above ten images per class it is slow, because every round trains the network to the end,
and methods of other families are better there. With deep networks (ResNet) it learns little, as the authors
say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from condense.augment import dsa
from condense.data import Images
from condense.distillation import ImageMethod, ImageRun, LearnableSet, register
from condense.distillation.matching.gradient import (
    EPS,
    Distance,
    Gradient,
    layerwise_cosine,
    match,
    refresh_batch_norm,
)
from condense.distillation.matching.protocols import dc_evaluation
from condense.distillation.method import recipes
from condense.networks import Network
from condense.store import ImageSet
from condense.store.targets import Hard
from condense.training.step import train_step

LOOPS: Mapping[int, tuple[int, int]] = {
    1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10),
}  # fmt: skip
"""Matches of a round, and epochs of training between two of them, by images per class (``get_loops``)."""


@register
@dataclass(frozen=True, kw_only=True)
class DC(ImageMethod):
    """Gradient matching.

    Attributes:
        iterations: Number of rounds, each with a new random network.
        outer_steps: Matches of a round, each with one update of the images; None takes the number from
            `LOOPS`.
        inner_epochs: Epochs of training on the synthetic images between two matches; None takes the number
            from `LOOPS`.
        lr_images: Learning rate of the pixels.
        momentum: Momentum of the pixels' SGD.
        lr_network: Learning rate of the network's plain SGD between two matches.
        batch_real: Real images per class in a match.
        batch_train: Stored images in a batch between two matches; a view that shows several images for each
            stored one makes the batch larger.
        init: What the images start from: ``noise`` or ``real`` images.
        metric: The distance of two gradients: ``ours`` (the paper's, `layerwise_cosine`), or ``mse`` or
            ``cos`` from its ablation study.
        augment: Augmentation: ``none``, ``dsa`` (the dataset's strategy) or a strategy of your own such as
            ``dsa:color_crop``. In a match, real and synthetic images of a class share the random parameters;
            between matches each image has its own.
    """

    name = "dc"
    optimizes = True
    through_view = True
    quick = {
        "iterations": 10,
        "outer_steps": 2,
        "inner_epochs": 1,
        "batch_real": 32,
        "network": "convnet-w32",
        "init": "real",
    }
    class_batches = frozenset({"batch_real"})
    may_be_zero = frozenset({"inner_epochs"})
    remedy = "lower lr_images, for example to 0.01"

    iterations: int = 1000
    outer_steps: int | None = None
    inner_epochs: int | None = None
    lr_images: float = 0.1
    momentum: float = 0.5
    lr_network: float = 0.01
    batch_real: int = 256
    batch_train: int = 256
    init: Literal["noise", "real"] = "noise"
    metric: Literal["ours", "mse", "cos"] = "ours"
    augment: str = "none"

    def __post_init__(self) -> None:
        """Checks the fields, and that the augmentation exists.

        Raises:
            Refused: if a value is unknown or out of range.
        """
        super().__post_init__()
        dsa.strategy_of(self.augment, "none")

    @property
    def needs_real(self) -> bool:
        """Whether the images start from real ones."""
        return self.init == "real"

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Runs Algorithm 1 of the paper."""
        syn = LearnableSet.real(train, run) if self.init == "real" else LearnableSet.noise(run)
        optimizer = torch.optim.SGD([syn.images], lr=self.lr_images, momentum=self.momentum)
        strategy = dsa.strategy_of(self.augment, run.strategy)
        outer_steps, inner_epochs = self.loops(run.ipc)
        for _ in run.steps(self.iterations, {"images": syn.images, "optimizer": optimizer}):
            network = run.network()
            trainer = torch.optim.SGD(network.parameters(), lr=self.lr_network)
            for outer in range(outer_steps):
                refresh_batch_norm(network, train, run.rng)
                size = (run.spec.height, run.spec.width)
                augment = dsa.siamese(strategy, size, run.spec.num_classes, run.rng).to(run.device)
                real = augment(train.draw(self.batch_real, run.rng))  # (k, b, c, h, w)
                synthetic = augment(syn.by_class())  # (k, i, c, h, w)
                loss, gradient = match(
                    network, real, synthetic.detach(), METRICS[self.metric], present=syn.present
                )
                optimizer.zero_grad()
                torch.autograd.backward(synthetic, gradient)
                optimizer.step()
                run.log(loss=loss)
                if outer + 1 < outer_steps:
                    self._train(network, trainer, syn, inner_epochs, strategy, run.rng)
        return run.distilled(syn.images, syn.labels, augment=self.augment)

    def loops(self, ipc: int) -> tuple[int, int]:
        """Returns how many matches a round has, and how many epochs of training between two of them."""
        outer_steps, inner_epochs = LOOPS[max(entry for entry in LOOPS if entry <= ipc)]
        return (
            outer_steps if self.outer_steps is None else self.outer_steps,
            inner_epochs if self.inner_epochs is None else self.inner_epochs,
        )

    def _train(
        self, network: Network, trainer: torch.optim.Optimizer, syn: LearnableSet, epochs: int, strategy: str,
        rng: torch.Generator,
    ) -> None:  # fmt: skip
        """Trains the network on the synthetic images as they are now."""
        network.train()
        for _ in range(epochs):
            for chosen in torch.split(torch.randperm(len(syn.labels), generator=rng), self.batch_train):
                with torch.no_grad():
                    images, labels = syn.minibatch(chosen.to(syn.labels.device))
                train_step(network, trainer, dsa.augment(images, strategy, rng), Hard(labels))


def squared(real: Gradient, synthetic: Gradient) -> Float[Tensor, ""]:
    """Returns the squared Euclidean distance over all parameters (metric "mse")."""
    return torch.stack([(b - a).square().sum() for a, b in zip(real, synthetic, strict=True)]).sum()


def cosine(real: Gradient, synthetic: Gradient) -> Float[Tensor, ""]:
    """Returns one minus the cosine of the two gradients, each taken as a single vector (metric "cos")."""
    a, b = (torch.cat([piece.flatten() for piece in side]) for side in (real, synthetic))
    gap: Tensor = 1 - (a * b).sum() / (a.norm() * b.norm() + EPS)
    return gap


METRICS: Mapping[str, Distance] = {"ours": layerwise_cosine, "mse": squared, "cos": cosine}
"""The distances by the names of the authors' code."""

PLAIN = dc_evaluation(300, augment="none")
AUGMENTED = dc_evaluation(1000, augment="dc:crop_scale_rotate")  # for MNIST alone, and therefore for longer

DC.recipes = recipes(
    DC,
    "outer_steps inner_epochs protocol",
    {
        ("fashion-mnist", 1): (1, 1, PLAIN),
        ("fashion-mnist", 10): (10, 50, PLAIN),
        ("fashion-mnist", 50): (50, 10, PLAIN),
        ("svhn", 1): (1, 1, PLAIN),
        ("svhn", 10): (10, 50, PLAIN),
        ("svhn", 50): (50, 10, PLAIN),
        ("cifar10", 1): (1, 1, PLAIN),
        ("cifar10", 10): (10, 50, PLAIN),
        ("cifar10", 50): (50, 10, PLAIN),
        ("cifar100", 1): (1, 1, PLAIN),
        ("cifar100", 10): (10, 50, PLAIN),
        ("mnist", 1): (1, 1, AUGMENTED),
        ("mnist", 10): (10, 50, AUGMENTED),
        ("mnist", 50): (50, 10, AUGMENTED),
    },
    source="VICO-UoE/DatasetCondensation, README and defaults of main.py",
)
