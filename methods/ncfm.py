"""NCFM: real and synthetic features share a characteristic function, wherever a network looks for a gap.

Wang, Yang, Liu, Sun, Hu, He and Zhang: Dataset Distillation with Neural Characteristic Function: A Minmax
Perspective, CVPR 2025, https://arxiv.org/abs/2502.20653; authors' code gszfwsb/NCFM, ``NCFM/`` and
``condenser/``. The characteristic function of features f is Phi(t) = E exp(i <t, f>); if two distributions
share it, they are one. Class by class it is compared at random frequencies t: normal ones, or those of a
sampling network psi that learns where real and synthetic images differ most. The features, each of length 1,
are those of a network between its random start and the end of its training; a second step fits the images to
the trained network (calibration). An image holds factor x factor small ones (multi-formation), in pixels of
[0, 1].

As in the authors' code on one device, all images are one parameter of one optimiser, which is stepped for
every class in turn, twice an iteration. Between its own two steps a class coasts on its momentum, and its
squared gradients are averaged with the zeros of the others' turns: with k classes an image moves about
sqrt(k) times as far in an iteration as with an AdamW of its own. (Several devices of theirs share out the
classes, and with them the steps.)

The recipes are the authors' configuration files, with 4096 normal frequencies and no sampling network. The
paper has one, and 1024 (``--param sampling_net=true --param frequencies=1024``); in the published code it was
without effect for the first half year. The files' rate of 0.01 for AdamW is multiplied by ``lr_scale_adam``,
which is 0.1.

Where this differs from the authors' code, and why:

- Each step sees other real images, and the synthetic ones as they are. Theirs sees the first 1024 images of a
  class each time, and starts from the first; a thread decodes synthetic ones up to ten classes ahead.
- The noise behind the frequencies is drawn once an iteration for all classes: none sees another's images.
- psi gives as many frequencies as are asked for. Theirs gives 64 whatever the setting, of which four differ;
  in the paper a sixteenth do.
- With psi, a plateau halves the images' rate once, not twice (psi's schedule holds their optimiser).
- The stored pixels are clamped; theirs may lie a little outside. ``align_corners=True`` in what students are
  scaled and rotated by. CIFAR-100 is normalised with its own constants, not CIFAR-10's.
- Not built: matching several layers (in networks of more than five blocks), the paper's soft labels, and the
  decode types "multi" and "bound", which no configuration file has.

The paper's accuracies are each student's best on the test set; the recipes' protocol takes the last.

When not to use it: without time for its feature networks; on images so small that a tile shows nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
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
    Recipe,
    Training,
    register,
)
from condense.errors import Refused, unknown
from condense.networks import Network, features_in_chunks
from condense.protocol import Protocol, milestones
from condense.store import ImageSet, formation

SCALE = 300
"""Factor of the matching loss (``match_loss``)."""

EPS = 1e-12
"""Least phase term, which keeps the root's gradient finite (``CFLossFunc``)."""

SLOPE = 0.2
"""Of the sampling network's leaky ReLUs (``SampleNet``)."""

FALL = 0.5
"""What the images' rate is multiplied by on a plateau (``Condenser.condense``)."""


@register
@dataclass(frozen=True, kw_only=True)
class NCFM(ImageMethod):
    """Characteristic-function matching.

    Attributes:
        iterations: In each, every class has two updates: 20000 in the recipes; the default is for trying
            things out.
        optimizer: ``adamw`` or ``sgd``, of the images.
        lr_images: Learning rate of the pixels.
        weight_decay: Of AdamW, decoupled; SGD has none.
        momentum: Of SGD, the images' and the sampling network's.
        patience: Iterations without a better loss, after which the images' rate is halved.
        batch_real: Real images per class and iteration, at most those of the largest class.
        frequencies: How many the characteristic functions are compared at.
        alpha: Weight of the amplitudes' difference.
        beta: Weight of the phases' difference.
        calib_weight: Weight of the calibration's cross-entropy; 0 leaves the calibration out.
        networks: Feature networks, of which each iteration takes one.
        network_epochs: Epochs that each of them is trained on the real images for.
        factor: Tiles along each side of a stored image.
        augment: Strategy of both steps (`condense.augment.dsa`), drawn for each class.
        sampling_net: Whether the frequencies are a sampling network's.
        lr_sampling_net: Its learning rate (SGD, upwards).
    """

    name = "ncfm"
    optimizes = True
    through_view = True
    quick = {
        "iterations": 15,
        "lr_images": 0.01,
        "batch_real": 32,
        "frequencies": 128,
        "networks": 2,
        "network_epochs": 3,
        "network": "convnet-w32",
    }
    remedy = "lower lr_images, as in --param lr_images=0.0002"

    pixel_space: str = "raw"
    iterations: int = 200
    optimizer: str = "adamw"
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
        """Refuses names that stand for nothing, pixels that cannot be clamped, and what psi cannot norm."""
        super().__post_init__()
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer", self.optimizer, OPTIMIZERS)
        dsa.parse(self.augment)
        if self.pixel_space != "raw":
            raise Refused(f"ncfm learns pixels in [0, 1], pixel_space raw, not {self.pixel_space}")
        if self.sampling_net and self.frequencies < 2:
            raise Refused("ncfm: a sampling network norms its frequencies by each other: at least 2 of them")

    @property
    def needs_real(self) -> bool:
        """It starts from real images."""
        return True

    def training(self, seed: int) -> Training:
        """How a feature network is trained (``pretrain_script.py``, and the configuration files)."""
        return Training(
            network=self.network,
            epochs=self.network_epochs,
            batch=128,
            milestones=(2 / 3, 5 / 6),
            gamma=0.2,
            augment="dsa:color+crop",
            cutmix=0.5,
            seed=seed,
        )

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Equation 8 of the paper, and the authors' calibration."""
        steps = formation(self.factor, run.spec.shape[1:], self.name)
        view = ChainedView(DecodedView(steps[0]), run.view) if steps else run.view
        syn = LearnableSet.mixed(train, run, self.factor, view)
        optimizer = OPTIMIZERS[self.optimizer](self, syn.images)
        plateau = ReduceLROnPlateau(optimizer, factor=FALL, patience=self.patience)
        state: dict[str, object] = {"images": syn.images, "optimizer": optimizer, "plateau": plateau}

        trainings = [self.training(seed) for seed in range(self.networks)]
        ends = [(run.untrained(each), run.pretrained(each, train).train()) for each in trainings]
        network = run.untrained(trainings[0]).train()
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
            noise = torch.randn(shape, generator=run.rng).to(run.device)
            matching = calibration = torch.zeros((), device=run.device)
            for label in range(k):
                see = self._sight(run)
                target = features_in_chunks(network, see(train.draw(batch_real, run.rng, [label])[0]))
                learned = network.features(see(of_class(syn, label)[0]))
                gap = cf_loss(normalize(target), normalize(learned), psi(noise), self.alpha, self.beta)
                matching = matching + update(SCALE * gap, players) / k
            for label in range(k) if self.calib_weight else ():
                images, labels = of_class(syn, label)
                loss = cross_entropy(trained(self._sight(run)(images)), labels)
                calibration = calibration + update(self.calib_weight * loss, [optimizer]) / k
            plateau.step(float(matching + calibration))  # the one wait for the device
            run.log(loss=matching, calibration=calibration)
        images = syn.images.detach().clamp(0, 1)
        return run.distilled(images, syn.labels, augment=f"dsa:{self.augment}", decode=steps)

    def _sight(self, run: ImageRun) -> Callable[[Tensor], Tensor]:
        """How a network is shown raw images: normalised, and under one augmentation that is drawn here."""
        drawn = dsa.siamese(self.augment, (run.spec.height, run.spec.width), 1, run.rng).to(run.device)
        return lambda images: drawn(run.normalize(images)[None])[0]


def cf_loss(
    target: Float[Tensor, "b d"],
    learned: Float[Tensor, "i d"],
    frequencies: Float[Tensor, "f d"],
    alpha: float,
    beta: float,
) -> Float[Tensor, ""]:
    """The mean distance of two characteristic functions, at frequencies t (equation 8 of the paper).

    For each t, the root of alpha (|P| - |Q|)^2 + beta 2 (|P| |Q| - Re P Q*), where P and Q are the means of
    exp(i <t, x>) over target and learned: the difference of their amplitudes, and that of their phases, which
    is `EPS` at least. With both weights 1 the root is |P - Q|.

    Args:
        target: Features of real images.
        learned: Features of synthetic images.
        frequencies: The t.
        alpha: Weight of the amplitudes.
        beta: Weight of the phases.
    """
    p_real, p_imaginary = characteristic(target, frequencies)
    q_real, q_imaginary = characteristic(learned, frequencies)
    p = (p_real.square() + p_imaginary.square()).sqrt()
    q = (q_real.square() + q_imaginary.square()).sqrt()
    amplitude = (p - q).square()
    phase = 2 * (p * q - p_real * q_real - p_imaginary * q_imaginary)
    return (alpha * amplitude + beta * phase.clamp(min=EPS)).sqrt().mean()


def characteristic(
    x: Float[Tensor, "n d"], frequencies: Float[Tensor, "f d"]
) -> tuple[Float[Tensor, " f"], Float[Tensor, " f"]]:
    """The real and the imaginary part of the mean of exp(i <t, x>) over the rows x, for each frequency t."""
    angles = frequencies @ x.T
    return angles.cos().mean(1), angles.sin().mean(1)


def of_class(syn: LearnableSet, label: int) -> tuple[Float[Tensor, "m c h w"], Int[Tensor, " m"]]:
    """The images of one class through the view, and their labels."""
    first = label * syn.ipc
    return syn.minibatch(torch.arange(first, first + syn.ipc, device=syn.images.device))


def update(loss: Float[Tensor, ""], optimizers: list[Optimizer]) -> Float[Tensor, ""]:
    """One step of each optimiser along its parameters' gradient; returns the loss, detached."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    torch.autograd.backward(loss)
    for optimizer in optimizers:
        optimizer.step()
    return loss.detach()


@torch.no_grad()
def blend_(network: Network, untrained: Network, trained: Network, share: float) -> None:
    """Overwrites a network's parameters by share * untrained + (1 - share) * trained.

    Args:
        network: Receives them.
        untrained: Counts with ``share``.
        trained: Counts with the rest.
        share: From 0 to 1.
    """
    ends = zip(untrained.parameters(), trained.parameters(), strict=True)
    for parameter, (start, end) in zip(network.parameters(), ends, strict=True):
        parameter.copy_(torch.lerp(end, start, share))


def sampling_net(dim: int, generator: torch.Generator) -> nn.Sequential:
    """psi: from rows of normal noise to as many frequencies within (-1, 1), all of them of ``dim`` values.

    Three times a linear layer, a batch norm by the rows at hand, and an activation (``SampleNet``).

    Args:
        dim: Of the features.
        generator: What the weights are drawn from, as the framework's default does.
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


OPTIMIZERS: Mapping[str, Callable[[NCFM, Tensor], Optimizer]] = {
    "adamw": lambda method, images: AdamW(
        [images], lr=method.lr_images, weight_decay=method.weight_decay, fused=True
    ),
    "sgd": lambda method, images: SGD([images], lr=method.lr_images, momentum=method.momentum, fused=True),
}
"""The images' optimisers by name."""


def _recipes() -> dict[tuple[str, int], Recipe]:
    """``config/ipc*/*.yaml``: alike but for one optimiser, and the students' epochs."""
    files = {"cifar10": "cifar10", "cifar100": "cifar100", "tiny-imagenet": "tinyimagenet"}
    epochs = {("tiny-imagenet", 10): 300, ("tiny-imagenet", 50): 40}
    by_sgd = {("cifar100", 10)}
    recipes = {}
    for dataset, file in files.items():
        for ipc in (1, 10, 50):
            cell = (dataset, ipc)
            method = NCFM(
                iterations=20000,
                optimizer="sgd" if cell in by_sgd else "adamw",
                lr_images=0.01 if cell in by_sgd else 0.001,
                batch_real=1024,
                frequencies=4096,
                networks=20,
                network_epochs=60,
            )
            recipes[cell] = Recipe(
                method=method,
                protocol=_evaluation(epochs.get(cell, 2000)),
                source=f"gszfwsb/NCFM, config/ipc{ipc}/{file}.yaml",
            )
    return recipes


def _evaluation(epochs: int) -> Protocol:
    """``evaluate.py``, without its choice of the best epoch; beside CutMix the cutout is left out."""
    return milestones(
        epochs,
        at=(0.2, 0.4, 0.6, 0.8),
        factor=0.5,
        optimizer="adamw",
        lr=0.001,
        weight_decay=0.01,
        batch=128,
        augment="dsa:flip+color+crop_scale_rotate",
        cutmix=0.5,
        seeds=10,
    )


NCFM.recipes = _recipes()
