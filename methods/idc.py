"""IDC: each stored image holds several small ones, learned by matching gradients on networks in training.

A stored image is cut into factor x factor tiles, and each tile is enlarged to a training image of full size
(multi-formation; ``factor=1`` is the paper's IDC-I). For each class, the gradients of the convolutions'
weights on real images and on the decoded images, both under one augmentation, are brought together. Between
two matches the network is trained on *real* images with CutMix. Pixels are kept in [0, 1]; networks see them
normalised.

Paper: Kim, Kim, Oh, Yun, Song, Jeong, Ha and Song, Dataset Condensation via Efficient Synthetic-Data
Parameterization, ICML 2022, https://arxiv.org/abs/2205.14959. Authors' code:
snu-mllab/Efficient-Dataset-Condensation, ``condense.py``, with the settings of ``misc/reproduce.py``.

As in the authors' code, the classes take their steps one after the other, under one SGD with momentum for the
whole set: while other classes take their steps, a class keeps moving by its momentum. `Turns` reaches the
same numbers while all classes are matched side by side.

This implementation differs from the authors' code in these points:

- ``lr_images`` is multiplied by ``ipc / 10``, as theirs is. Their second factor (side / 32)^2, which applies
  to Fashion-MNIST's 28 pixels and not to MNIST's, is part of the rate in that recipe.
- Real images are drawn independently for each match and for each training between two matches. The authors'
  code goes through a shuffled class, or the shuffled set, and continues where it stopped.
- A network is not trained after its last match, because it is thrown away then.
- Tiles start from random real images; theirs from the first ones of the file. Where ``factor`` does not
  divide a side, tiles are placed where they will be cut, and the last ones reach beyond the image, where a
  decoded image is grey; theirs are placed some pixels away from where they are cut.
- The pixels are clamped once more before they are stored.
- The decode types "multi" and "bound", networks that are trained before their first match (``early``,
  ``pt_from``) and the matching of features are not built: no setting for images of 28 or 32 pixels uses them.

The authors' evaluation follows ``argument.py``, which overrides the defaults of its own options: on these
datasets a student's batch is augmented by colour, a flip where the dataset allows it, and one of crop, scale
and rotation, and it is mixed with probability 1/2 (not on MNIST). The protocols of the recipes do this and
test after the last step; the authors also print the best of four tests. They normalise CIFAR-100 by the
constants of CIFAR-10.

When not to use it: where a tile shows too little, as on digits of 8 x 8 pixels (use ``factor=1`` there); or
at many images per class, where there is variety enough: for 50 on Fashion-MNIST the authors report 89.1
without multi-formation and 86.2 with it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from condense.augment import dsa
from condense.data import Images
from condense.distillation import (
    ChainedView,
    DecodedView,
    ImageMethod,
    ImageRun,
    LearnableSet,
    View,
    register,
)
from condense.distillation.matching.gradient import Distance, Gradient, match
from condense.distillation.matching.protocols import milestones
from condense.distillation.matching.turns import Turns
from condense.distillation.method import recipes
from condense.errors import Refused
from condense.networks import Network, initialise_
from condense.store import ImageSet, formation
from condense.store.targets import Hard
from condense.training.step import cutmix, train_step

BASE_IPC = 10
"""Images per class at which the pixels move by `IDC.lr_images` itself (``argument.py``, ``tune_lr_img``)."""


@register
@dataclass(frozen=True, kw_only=True)
class IDC(ImageMethod):
    """Gradient matching with several images in each stored one.

    Attributes:
        pixel_space: Space of the learned pixels; only ``raw``, because they are clamped to [0, 1].
        iterations: Number of networks, one after the other: 2000 in the recipes. The defaults make a run
            short: they match a two-hundredth as often as the recipes, at a learning rate that suits this.
        matches: Matches on each network, each with one update of every class.
        lr_images: Learning rate of the pixels at ten images per class. The rate in use is ``ipc / 10`` times
            this, because an image's gradient is one over ``ipc`` of its class's.
        momentum: Momentum of the pixels' SGD.
        metric: Distance of two gradients: ``mse``, the sum of the squared differences, or ``l1``, the sum
            of their absolute values.
        factor: Tiles along each side of a stored image.
        init: What the images start from: ``mix`` (a down-scaled real image in each tile), ``random`` (whole
            real images) or ``noise``.
        batch_real: Real images per class in a match.
        batch_syn: Largest number of decoded images per class in a match; if there are more, random ones are
            taken.
        augment: Augmentation of both sides of a match (operations of `condense.augment.dsa`).
        train_images: Real images that a network is trained on between two matches, rounded up to whole
            batches.
        batch_train: Batch size between two matches.
        lr_network: Learning rate of the network.
        momentum_network: Momentum of the network's SGD.
        weight_decay: L2 coefficient of the network.
        augment_network: Augmentation between two matches.
        cutmix: Probability that a batch between two matches is mixed.
    """

    name = "idc"
    optimizes = True
    through_view = True
    class_batches = frozenset({"batch_real"})
    quick = {
        "iterations": 2,
        "matches": 10,
        "lr_images": 0.3,
        "batch_real": 16,
        "train_images": 32,
        "network": "convnet-w32",
    }
    may_be_zero = frozenset({"train_images"})
    remedy = "lower lr_images, for example to 0.01"

    pixel_space: Literal["raw"] = "raw"
    iterations: int = 20
    matches: int = 50
    lr_images: float = 0.03
    momentum: float = 0.5
    metric: Literal["mse", "l1"] = "l1"
    factor: int = 2
    init: Literal["mix", "random", "noise"] = "mix"
    batch_real: int = 64
    batch_syn: int = 128
    augment: str = "color+crop+cutout"
    train_images: int = 500
    batch_train: int = 64
    lr_network: float = 0.01
    momentum_network: float = 0.9
    weight_decay: float = 5e-4
    augment_network: str = "color+crop"
    cutmix: float = 0.5

    def __post_init__(self) -> None:
        """Checks the fields, that the augmentations exist and that ``cutmix`` is a probability.

        Raises:
            Refused: if a value is unknown or out of range.
        """
        super().__post_init__()
        dsa.parse(self.augment)
        dsa.parse(self.augment_network)
        if self.cutmix > 1:
            raise Refused(
                f"{self.name}: a probability is at most 1", setting="params.cutmix", value=self.cutmix
            )

    @property
    def needs_real(self) -> bool:
        """Whether the images start from real ones."""
        return self.init != "noise"

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Runs Algorithm 1 of the paper."""
        decode = formation(self.factor, run.spec.shape[1:], self.name)
        view = ChainedView(DecodedView(decode[0]), run.view) if decode else run.view
        syn = self._initial(train, run, view)
        turns = Turns(syn, lr=self.lr_images * run.ipc / BASE_IPC, momentum=self.momentum)
        network = run.network()
        require_convolutions(network, self.network)
        trainer = torch.optim.SGD(
            network.parameters(), lr=self.lr_network, momentum=self.momentum_network,
            weight_decay=self.weight_decay,
        )  # fmt: skip
        state: dict[str, object] = {
            "images": syn.images, "velocity": turns.velocity, "network": network, "trainer": trainer,
        }  # fmt: skip
        for step in run.steps(self.iterations * self.matches, state):
            if step % self.matches == 0:
                initialise_(network, run.rng)
                trainer.state.clear()
                syn.images.detach().clamp_(0, 1)
            run.log(loss=self._match(network, syn, turns, train, run))
            if (step + 1) % self.matches:  # deviation: not after a network's last match
                self._train(network, trainer, train, run)
        images = syn.images.detach().clamp(0, 1)  # deviation: clamped at the end too
        return run.distilled(images, syn.labels, augment=f"dsa:{self.augment}", decode=decode)

    def _initial(self, train: Images, run: ImageRun, view: View) -> LearnableSet:
        """Makes the images that learning starts from."""
        if self.init == "mix":
            return LearnableSet.mixed(train, run, self.factor, view)
        if self.init == "random":
            images = train.draw_counts(run.counts, run.rng)
        else:
            noise = torch.randn((sum(run.counts), *run.spec.shape), generator=run.rng).to(run.device)
            images = (noise / 4 + 0.5).clamp(0, 1)
        return LearnableSet(images, run.counts, view)

    def _match(
        self, network: Network, syn: LearnableSet, turns: Turns, train: Images, run: ImageRun
    ) -> Float[Tensor, ""]:
        """Matches every class and updates its images; returns the loss, summed over the classes."""
        size = (run.spec.height, run.spec.width)
        augment = dsa.siamese(self.augment, size, run.spec.num_classes, run.rng).to(run.device)
        real = augment(run.normalize(train.draw(self.batch_real, run.rng)))  # (k, b, c, h, w)
        turns.wait()
        decoded, present = sampled(syn.by_class(), syn.present, self.batch_syn, run.rng)
        synthetic = augment(run.normalize(decoded))  # (k, i, c, h, w), i <= batch_syn
        # Side by side, the classes would share the running statistics of a batch norm.
        together = False if network.mixes_samples else None
        loss, gradient = match(
            network, real, synthetic.detach(), METRICS[self.metric], present=present, together=together
        )
        turns.take(torch.autograd.grad(synthetic, syn.images, gradient)[0])
        return loss

    def _train(self, network: Network, trainer: torch.optim.Optimizer, train: Images, run: ImageRun) -> None:
        """Trains the network on real images."""
        count = -(-self.train_images // self.batch_train) * self.batch_train
        chosen = torch.randperm(len(train), generator=run.rng)[:count].to(run.device)
        for start in range(0, len(chosen), self.batch_train):
            batch = chosen[start : start + self.batch_train]
            images = dsa.augment(run.normalize(train.images[batch]), self.augment_network, run.rng)
            images, target = cutmix(images, Hard(train.labels[batch]), run.rng, self.cutmix)
            train_step(network, trainer, images, target)


def sampled(
    images: Float[Tensor, "k m c h w"],
    present: Bool[Tensor, "k m"] | None,
    most: int,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "k b c h w"], Bool[Tensor, "k b"] | None]:
    """Returns random images of each class, or all of them if there are few; differentiable.

    Args:
        images: The images of each class.
        present: Which of them are images of the set, and no padding; None if all are.
        most: Largest number b of images to take of each class.
        generator: A CPU generator.

    Returns:
        The images, and which of them are no padding.
    """
    if images.shape[1] <= most:
        return images, present
    drawn = torch.rand(images.shape[:2], generator=generator)
    if present is not None:
        drawn = torch.where(present.cpu(), drawn, torch.inf)  # padding comes last
    orders = drawn.argsort(1)[:, :most].to(images.device)
    taken = images[torch.arange(len(images), device=images.device)[:, None], orders]
    return taken, None if present is None else present.gather(1, orders)


def between_convolutions(
    real: Gradient, synthetic: Gradient, *, size: Callable[[Tensor], Tensor]
) -> Float[Tensor, ""]:
    """Returns the sum of the sizes of all differences between two gradients of convolutions' weights.

    All other parameters count nothing: in the authors' ``matchloss``, biases and norms (1-D) are left out by
    ``--bias`` and linear layers (2-D) by ``--fc``.
    """
    gaps = [size(b - a).sum() for a, b in zip(real, synthetic, strict=True) if a.ndim > 2]
    return torch.stack(gaps).sum()


METRICS: Mapping[str, Distance] = {
    "mse": partial(between_convolutions, size=torch.square),
    "l1": partial(between_convolutions, size=torch.abs),
}
"""The distances by the names of the authors' code; in spite of its name, "mse" is a sum there too."""


def require_convolutions(network: Network, name: str) -> None:
    """Refuses a network without convolutions, which has nothing to match.

    Raises:
        Refused: naming the network.
    """
    if not any(parameter.ndim > 2 for parameter in network.parameters()):
        raise Refused(
            f"idc matches the gradients of convolutions, and {name} has none",
            setting="params.network", value=name,
        )  # fmt: skip


DIGITS = milestones(1000, batch=64, augment="dsa:color+crop_scale_rotate", cutmix=0.5)
PHOTOS = milestones(1000, batch=64, augment="dsa:flip+color+crop_scale_rotate", cutmix=0.5)
UNMIXED = milestones(1000, batch=64, augment="dsa:color+crop_scale_rotate", cutmix=None)
"""The authors' evaluations: ``train.py`` under ``argument.py``."""

FULL, WITHOUT_CUTOUT = "color+crop+cutout", "color+crop"
FASHION_RATE = 1e-4 * (28 / 32) ** 2

IDC.recipes = recipes(
    IDC,
    "metric lr_images train_images augment cutmix protocol",
    {
        ("cifar10", 1): ("mse", 5e-3, 2000, FULL, 0.5, PHOTOS),
        ("cifar10", 10): ("mse", 5e-3, 2000, FULL, 0.5, PHOTOS),
        ("cifar10", 50): ("mse", 5e-3, 2000, FULL, 0.5, PHOTOS),
        ("cifar100", 10): ("mse", 5e-3, 2000, FULL, 0.5, PHOTOS),
        ("cifar100", 20): ("mse", 5e-3, 2000, FULL, 0.5, PHOTOS),
        ("svhn", 1): ("mse", 5e-3, 500, FULL, 0.5, DIGITS),
        ("svhn", 10): ("mse", 5e-3, 500, FULL, 0.5, DIGITS),
        ("svhn", 50): ("mse", 5e-3, 500, FULL, 0.5, DIGITS),
        ("mnist", 1): ("l1", 1e-4, 500, WITHOUT_CUTOUT, 0.0, UNMIXED),
        ("mnist", 10): ("l1", 1e-4, 500, WITHOUT_CUTOUT, 0.0, UNMIXED),
        ("mnist", 50): ("l1", 1e-4, 500, WITHOUT_CUTOUT, 0.0, UNMIXED),
        ("fashion-mnist", 1): ("l1", FASHION_RATE, 500, FULL, 0.5, PHOTOS),
        ("fashion-mnist", 10): ("l1", FASHION_RATE, 500, FULL, 0.5, PHOTOS),
        ("fashion-mnist", 50): ("l1", FASHION_RATE, 500, FULL, 0.5, PHOTOS),
    },
    source="snu-mllab/Efficient-Dataset-Condensation, misc/reproduce.py and argument.py",
    iterations=2000,
    matches=100,
)
