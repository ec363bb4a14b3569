"""NCFM: synthetic features get the characteristic function of real ones, also where a network seeks a gap.

The characteristic function of features f is Phi(t) = E exp(i <t, f>); two distributions with the same one are
equal. For each class it is compared between real and synthetic images at random frequencies t: normal ones,
or those of a sampling network psi, which learns the frequencies at which the two differ most. The features,
scaled to length 1, come from a network whose parameters lie between its random start and the end of its
training. A second step fits the images to the trained network (calibration). Each stored image holds factor x
factor small ones (multi-formation), in pixels of [0, 1].

Paper: Wang, Yang, Liu, Sun, Hu, He and Zhang, Dataset Distillation with Neural Characteristic Function: A
Minmax Perspective, CVPR 2025, https://arxiv.org/abs/2502.20653. Authors' code: gszfwsb/NCFM, ``NCFM/`` and
``condenser/``.

As in the authors' code on one device, all images are one parameter of one optimiser, which takes a step for
each class in turn, twice in an iteration. Between the two steps of its own, a class moves on by its momentum,
and its squared gradients are averaged with the zeros of the other classes' turns. With k classes an image
therefore moves about sqrt(k) times as far in an iteration as with an AdamW of its own. (With several devices,
the authors' code divides the classes among them, and with them the steps.)

The recipes are the authors' configuration files, with 4096 normal frequencies and no sampling network. The
paper has a sampling network and 1024 frequencies (``sampling_net=True, frequencies=1024``); in the first half
year of the published code its sampling network had no effect. The files' learning rate of 0.01 for AdamW is
multiplied by ``lr_scale_adam``, which is 0.1.

This implementation differs from the authors' code in these points:

- Each step sees other real images, and the synthetic ones as they are at that moment. The authors' code shows
  the first 1024 images of a class every time, and starts from its first images; a thread decodes the
  synthetic images up to ten classes ahead.
- The noise behind the frequencies is drawn once in an iteration, for all classes.
- The sampling network gives as many frequencies as are asked for. In the authors' code it gives 64 whatever
  the setting, of which four differ; in the paper a sixteenth of them differ.
- With the sampling network, a plateau of the loss halves the learning rate of the images once, not twice. (In
  the authors' code the schedule of the sampling network holds the images' optimiser as well.)
- The stored pixels are clamped; theirs may lie a little outside [0, 1].
- Students see CIFAR-100 normalised by its own constants, not by those of CIFAR-10.
- The matching of several layers (in networks of more than five blocks), the paper's soft labels, and the
  decode types "multi" and "bound", which no configuration file has, are not built.

The paper reports each student's best accuracy on the test set; the protocols of the recipes test after the
last step.

When not to use it: where there is no time for its feature networks; or on images so small that a tile shows
nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from condense.augment import dsa
from condense.data import Images
from condense.distillation import (
    ChainedView,
    DecodedView,
    ImageMethod,
    ImageRun,
    LearnableSet,
    Training,
    register,
)
from condense.distillation.matching.protocols import milestones
from condense.distillation.method import recipes
from condense.errors import Refused
from condense.networks import Network, features_in_chunks
from condense.protocol import Protocol
from condense.store import ImageSet, formation

SCALE = 300
"""Factor of the matching loss (``match_loss``)."""

EPS = 1e-12
"""Smallest value of the phase term, so that the gradient of its root is finite (``CFLossFunc``)."""

SLOPE = 0.2
"""Negative slope of the sampling network's leaky ReLUs (``SampleNet``)."""

FALL = 0.5
"""Factor on the learning rate of the images after a plateau (``Condenser.condense``)."""


@register
@dataclass(frozen=True, kw_only=True)
class NCFM(ImageMethod):
    """Characteristic-function matching.

    Attributes:
        pixel_space: Space of the learned pixels; only ``raw``, because they are clamped to [0, 1].
        iterations: Number of iterations, each with two updates of every class: 20000 in the recipes; the
            default makes a run short.
        optimizer: Optimiser of the images: ``adamw`` or ``sgd``.
        lr_images: Learning rate of the pixels.
        weight_decay: Decoupled weight decay of AdamW; SGD has none.
        momentum: Momentum of SGD, for the images and for the sampling network.
        patience: Iterations without a better loss after which the learning rate of the images is halved.
        batch_real: Real images per class and iteration; at most as many as the largest class has.
        frequencies: Number of frequencies at which the characteristic functions are compared.
        alpha: Weight of the amplitudes' difference.
        beta: Weight of the phases' difference.
        calib_weight: Weight of the calibration's cross-entropy; 0 leaves the calibration out.
        networks: Number of feature networks; each iteration takes one of them.
        network_epochs: Epochs of training of each feature network on the real images.
        factor: Tiles along each side of a stored image.
        augment: Augmentation of both steps (operations of `condense.augment.dsa`), drawn for each class.
        sampling_net: Whether a sampling network makes the frequencies.
        lr_sampling_net: Learning rate of the sampling network's SGD, which maximises the loss.
    """

    name = "ncfm"
    optimizes = True
    through_view = True
    class_batches = frozenset({"batch_real"})
    quick = {
        "iterations": 15,
        "lr_images": 0.01,
        "batch_real": 32,
        "frequencies": 128,
        "networks": 2,
        "network_epochs": 3,
        "network": "convnet-w32",
    }
    remedy = "lower lr_images, for example to 0.0002"

    pixel_space: Literal["raw"] = "raw"
    iterations: int = 200
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr_images: float = 0.001
    weight_decay: float = 5e-4
    momentum: float = 0.5
    patience: int = 500
    batch_real: int = 256
    frequencies: int = 1024
    alpha: float = 0.5
    beta: float = 0.5
    calib_weight: float = 1.0
    networks: int = 2
    network_epochs: int = 2
    factor: int = 2
    augment: str = "color+crop+cutout"
    sampling_net: bool = False
    lr_sampling_net: float = 0.001

    def __post_init__(self) -> None:
        """Checks the fields, that the augmentation exists, and that the sampling network can work.

        Raises:
            Refused: if a value is unknown or out of range.
        """
        super().__post_init__()
        dsa.parse(self.augment)
        if self.sampling_net and self.frequencies < 2:
            raise Refused(
                f"{self.name}: the batch norm of a sampling network needs at least 2 frequencies",
                setting="params.frequencies", value=self.frequencies,
            )  # fmt: skip

    @property
    def needs_real(self) -> bool:
        """Whether the images start from real ones: always."""
        return True

    def training(self, seed: int) -> Training:
        """Returns how a feature network is trained (``pretrain_script.py``, and the configuration files)."""
        return Training(
            network=self.network, epochs=self.network_epochs, batch=128, milestones=(2 / 3, 5 / 6), gamma=0.2,
            augment="dsa:color+crop", cutmix=0.5, seed=seed,
        )  # fmt: skip

    def shared_trainings(self) -> list[Training]:
        """Returns how the first feature network is trained; those of other seeds come with it."""
        return [self.training(0)]

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Minimises eq. 8 of the paper over the images, with the authors' calibration."""
        decode = formation(self.factor, run.spec.shape[1:], self.name)
        view = ChainedView(DecodedView(decode[0]), run.view) if decode else run.view
        syn = LearnableSet.mixed(train, run, self.factor, view)
        optimizer = self._optimizer(syn)
        plateau = ReduceLROnPlateau(optimizer, factor=FALL, patience=self.patience)
        state: dict[str, object] = {"images": syn.images, "optimizer": optimizer, "plateau": plateau}

        trainings = [self.training(seed) for seed in range(self.networks)]
        ends = [(run.untrained(each), run.pretrained(each, train).train()) for each in trainings]
        network = run.untrained(trainings[0]).train()  # its parameters are replaced in each iteration
        shape = (self.frequencies, network.feature_dim)
        psi: nn.Module = nn.Identity()
        players = [optimizer]
        if self.sampling_net:
            psi = sampling_net(network.feature_dim, run.rng).to(run.device)
            rises = SGD(psi.parameters(), lr=self.lr_sampling_net, momentum=self.momentum, maximize=True)
            players = [optimizer, rises]
            state |= {"sampling_net": psi, "sampling_net_optimizer": rises}

        k = run.spec.num_classes
        batch_real = min(self.batch_real, max(train.counts()))
        for _ in run.steps(self.iterations, state):
            syn.images.detach().clamp_(0, 1)
            untrained, trained = ends[int(torch.randint(self.networks, (), generator=run.rng))]
            blend_(network, untrained, trained, float(torch.rand((), generator=run.rng)))
            noise = torch.randn(shape, generator=run.rng).to(run.device)  # (f, d)
            matching = calibration = torch.zeros((), device=run.device)
            for label in range(k):
                shown = self._shown(run)
                real = shown(train.draw(batch_real, run.rng, [label])[0])  # (b, c, h, w)
                target = normalize(features_in_chunks(network, real))  # (b, d)
                learned = normalize(network.features(shown(syn.of_class(label)[0])))  # (i, d)
                gap = cf_loss(target, learned, psi(noise), self.alpha, self.beta)  # eq. 8
                matching = matching + update(SCALE * gap, players) / k
            for label in range(k) if self.calib_weight else ():
                images, labels = syn.of_class(label)
                loss = cross_entropy(trained(self._shown(run)(images)), labels)
                calibration = calibration + update(self.calib_weight * loss, [optimizer]) / k
            plateau.step(float(matching + calibration))  # the only wait for the device
            run.log(loss=matching, calibration=calibration)
        images = syn.images.detach().clamp(0, 1)  # deviation: clamped at the end too
        return run.distilled(images, syn.labels, augment=f"dsa:{self.augment}", decode=decode)

    def _optimizer(self, syn: LearnableSet) -> Optimizer:
        """Returns the optimiser of the images."""
        if self.optimizer == "sgd":
            return SGD([syn.images], lr=self.lr_images, momentum=self.momentum, fused=True)
        return AdamW([syn.images], lr=self.lr_images, weight_decay=self.weight_decay, fused=True)

    def _shown(self, run: ImageRun) -> Callable[[Tensor], Tensor]:
        """Draws an augmentation; returns the function that normalises raw images and augments them by it."""
        drawn = dsa.siamese(self.augment, (run.spec.height, run.spec.width), 1, run.rng).to(run.device)
        return lambda images: drawn(run.normalize(images)[None])[0]


def cf_loss(
    target: Float[Tensor, "b d"],
    learned: Float[Tensor, "i d"],
    frequencies: Float[Tensor, "f d"],
    alpha: float,
    beta: float,
) -> Float[Tensor, ""]:
    """Returns the mean distance of two characteristic functions over the frequencies t (eq. 8 of the paper).

    With P and Q the means of exp(i <t, x>) over the rows x of target and learned, the distance at t is the
    root of alpha (|P| - |Q|)^2 + beta 2 (|P| |Q| - Re P Q*): the difference of the amplitudes and that of the
    phases. The second is at least `EPS`. With both weights 1 the root is |P - Q|.

    Args:
        target: Features of real images.
        learned: Features of synthetic images.
        frequencies: The frequencies t.
        alpha: Weight of the amplitudes.
        beta: Weight of the phases.
    """
    p_real, p_imaginary = characteristic(target, frequencies)  # (f,)
    q_real, q_imaginary = characteristic(learned, frequencies)
    p = (p_real.square() + p_imaginary.square()).sqrt()
    q = (q_real.square() + q_imaginary.square()).sqrt()
    amplitude = (p - q).square()
    phase = 2 * (p * q - p_real * q_real - p_imaginary * q_imaginary)
    return (alpha * amplitude + beta * phase.clamp(min=EPS)).sqrt().mean()


def characteristic(
    x: Float[Tensor, "n d"], frequencies: Float[Tensor, "f d"]
) -> tuple[Float[Tensor, " f"], Float[Tensor, " f"]]:
    """Returns the real and the imaginary part of the mean of exp(i <t, x>) over the rows x, for each t."""
    angles = frequencies @ x.T  # (f, n)
    return angles.cos().mean(1), angles.sin().mean(1)


def update(loss: Float[Tensor, ""], optimizers: list[Optimizer]) -> Float[Tensor, ""]:
    """Takes one step of each optimiser, and returns the loss, detached."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    torch.autograd.backward(loss)
    for optimizer in optimizers:
        optimizer.step()
    return loss.detach()


@torch.no_grad()
def blend_(network: Network, untrained: Network, trained: Network, share: float) -> None:
    """Sets the parameters of a network to share * untrained + (1 - share) * trained.

    Args:
        network: The network that is changed.
        untrained: The network with weight ``share``.
        trained: The network with the rest of the weight.
        share: A number from 0 to 1.
    """
    ends = zip(untrained.parameters(), trained.parameters(), strict=True)
    for parameter, (start, end) in zip(network.parameters(), ends, strict=True):
        parameter.copy_(torch.lerp(end, start, share))


def sampling_net(dim: int, generator: torch.Generator) -> nn.Sequential:
    """Makes psi, which turns each row of normal noise into a frequency with values within (-1, 1).

    It is three times a linear layer, a batch norm over the rows, and an activation (``SampleNet``).

    Args:
        dim: Number of features.
        generator: Draws the weights, from the distribution of the framework's default.
    """
    layers: list[nn.Module] = []
    with torch.device("meta"):
        for activation in (nn.LeakyReLU(SLOPE), nn.LeakyReLU(SLOPE), nn.Tanh()):
            layers += [nn.Linear(dim, dim), nn.BatchNorm1d(dim, track_running_stats=False), activation]
    net = nn.Sequential(*layers).to_empty(device="cpu")
    for layer in net:
        if isinstance(layer, nn.Linear):
            for parameter in layer.parameters():
                values = torch.rand(parameter.shape, generator=generator)
                parameter.detach().copy_((2 * values - 1) / dim**0.5)
        elif isinstance(layer, nn.BatchNorm1d):
            layer.reset_parameters()
    return net


def evaluation(epochs: int) -> Protocol:
    """Returns the authors' evaluation (``evaluate.py``), tested after the last epoch and not at the best one.

    As in their code, there is no cutout beside CutMix.
    """
    return milestones(
        epochs, at=(0.2, 0.4, 0.6, 0.8), factor=0.5, optimizer="adamw", lr=0.001, weight_decay=0.01,
        batch=128, augment="dsa:flip+color+crop_scale_rotate", cutmix=0.5, seeds=10,
    )  # fmt: skip


FILE = "gszfwsb/NCFM, config/ipc{}/{}.yaml".format

NCFM.recipes = recipes(
    NCFM,
    "optimizer lr_images protocol source",
    {
        ("cifar10", 1): ("adamw", 0.001, evaluation(2000), FILE(1, "cifar10")),
        ("cifar10", 10): ("adamw", 0.001, evaluation(2000), FILE(10, "cifar10")),
        ("cifar10", 50): ("adamw", 0.001, evaluation(2000), FILE(50, "cifar10")),
        ("cifar100", 1): ("adamw", 0.001, evaluation(2000), FILE(1, "cifar100")),
        ("cifar100", 10): ("sgd", 0.01, evaluation(2000), FILE(10, "cifar100")),
        ("cifar100", 50): ("adamw", 0.001, evaluation(2000), FILE(50, "cifar100")),
        ("tiny-imagenet", 1): ("adamw", 0.001, evaluation(2000), FILE(1, "tinyimagenet")),
        ("tiny-imagenet", 10): ("adamw", 0.001, evaluation(300), FILE(10, "tinyimagenet")),
        ("tiny-imagenet", 50): ("adamw", 0.001, evaluation(40), FILE(50, "tinyimagenet")),
    },
    iterations=20000,
    batch_real=1024,
    frequencies=4096,
    networks=20,
    network_epochs=60,
)
