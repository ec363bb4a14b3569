"""DC: synthetic images whose gradient on a network points where the gradient of real images points.

Zhao, Mopuri and Bilen: Dataset Condensation with Gradient Matching, ICLR 2021, https://arxiv.org/abs/2006.05929;
authors' code VICO-UoE/DatasetCondensation, ``main.py`` and ``utils.py`` (``match_loss``). Class by class, the
distance is one minus the cosine for each output channel of each layer; between two matches, the network is
trained on the images as they are by then.

Where this differs from the authors' code, and why:

- ``iterations`` rounds, where theirs makes one more and reports the set before it.
- Real gradients are summed over pieces that stay in a CPU's cache, synthetic ones are differentiated a class
  at a time: the same sums, faster and in less memory.
- A network with batch norm refreshes its statistics without recording a graph for it.
- A class with fewer than ``batch_real`` images gives all of them, some twice; theirs takes fewer.
- Numbers of images per class outside the authors' table of loops, where theirs aborts, take the nearest
  smaller entry's.

The paper averages 20 students on each of 5 sets; the recipes' protocols have 5 students a set.

When not to use it: above ten images per class it is slow (matching takes a whole training of the network each
round), and other families do better there; with deep networks (ResNet) it learns little, as the authors say.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad, grad_and_value, vmap
from torch.nn.functional import cross_entropy

from condense.augment import dsa
from condense.data import Images
from condense.distillation import ImageMethod, ImageRun, LearnableSet, Recipe, register
from condense.errors import unknown
from condense.networks import Network
from condense.protocol import dc_evaluation
from condense.store import ImageSet
from condense.store.targets import Hard
from condense.training.step import chunks, train_step

LOOPS: Mapping[int, tuple[int, int]] = {
    1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10),
}  # fmt: skip
"""By images per class: matches a round, and epochs of training between two of them (``get_loops``)."""

EPS = 1e-6
"""Keeps the cosine of a row without gradient finite (``distance_wb``)."""

BATCH_NORM_REAL = 16
"""Real images per class that refresh the statistics of a network with batch norm (``main.py``)."""

GPU_CLASSES = 10
"""Classes that a GPU matches side by side: the activations of 256 real images each are some 10 GiB."""

Gradient = Sequence[Tensor]
"""One tensor a parameter."""


@register
@dataclass(frozen=True, kw_only=True)
class DC(ImageMethod):
    """Gradient matching.

    Attributes:
        iterations: Rounds, each with a fresh network.
        outer_steps: Matches (updates of the images) a round; None is `LOOPS`'s.
        inner_epochs: Epochs of training on the images between two matches; None is `LOOPS`'s.
        lr_images: Learning rate of the pixels.
        momentum: Of the pixels' SGD.
        lr_network: Learning rate of the network between two matches (plain SGD).
        batch_real: Real images per class and match.
        batch_train: Stored images a batch between two matches (as many more as the view makes of them).
        init: ``noise`` or ``real``.
        metric: ``ours`` (the paper's), or its ablations ``mse`` and ``cos``.
        augment: ``none``, ``dsa`` (the dataset's strategy) or a strategy of its own, ``dsa:color_crop``;
            alike on both sides of a match, image by image between matches.
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
    may_be_zero = frozenset({"inner_epochs"})
    remedy = "lower lr_images, as in --param lr_images=0.01"

    iterations: int = 1000
    outer_steps: int | None = None
    inner_epochs: int | None = None
    lr_images: float = 0.1
    momentum: float = 0.5
    lr_network: float = 0.01
    batch_real: int = 256
    batch_train: int = 256
    init: str = "noise"
    metric: str = "ours"
    augment: str = "none"

    def __post_init__(self) -> None:
        """Refuses names that stand for nothing."""
        super().__post_init__()
        known: dict[str, tuple[str, Mapping[str, object]]] = {
            "init": (self.init, INITS),
            "metric": (self.metric, METRICS),
        }
        for field, (name, names) in known.items():
            if name not in names:
                raise unknown(field, name, names)
        dsa.strategy_of(self.augment, "none")

    @property
    def needs_real(self) -> bool:
        """Only when it starts from real images."""
        return self.init == "real"

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Algorithm 1 of the paper."""
        syn = INITS[self.init](train, run)
        optimizer = torch.optim.SGD([syn.images], lr=self.lr_images, momentum=self.momentum)
        outer_steps, inner_epochs = self.loops(run.ipc)
        distance = METRICS[self.metric]
        strategy = dsa.strategy_of(self.augment, run.strategy)
        size = (run.spec.height, run.spec.width)
        for _ in run.steps(self.iterations, {"images": syn.images, "optimizer": optimizer}):
            network = run.network()
            inner = torch.optim.SGD(network.parameters(), lr=self.lr_network)
            for outer in range(outer_steps):
                refresh_batch_norm(network, train, run.rng)
                augment = dsa.siamese(strategy, size, run.spec.num_classes, run.rng).to(run.device)
                real, images = augment(train.draw(self.batch_real, run.rng)), augment(syn.by_class())
                loss, gradient = match(network, real, images.detach(), distance)
                optimizer.zero_grad()
                torch.autograd.backward(images, gradient)
                optimizer.step()
                run.log(loss=loss)
                if outer + 1 < outer_steps:
                    self._train(network, inner, syn, inner_epochs, strategy, run.rng)
        return run.distilled(syn.images, syn.labels, augment=self.augment)

    def loops(self, ipc: int) -> tuple[int, int]:
        """Matches a round and epochs between two of them, for a number of images per class."""
        outer_steps, inner_epochs = LOOPS[max(entry for entry in LOOPS if entry <= ipc)]
        return (
            outer_steps if self.outer_steps is None else self.outer_steps,
            inner_epochs if self.inner_epochs is None else self.inner_epochs,
        )

    def _train(
        self, network: Network, optimizer: torch.optim.Optimizer, syn: LearnableSet, epochs: int, strategy: str,
        rng: torch.Generator,
    ) -> None:  # fmt: skip
        """Trains the network on the images as they are now."""
        network.train()
        for _ in range(epochs):
            for chosen in torch.split(torch.randperm(len(syn.labels), generator=rng), self.batch_train):
                with torch.no_grad():
                    images, labels = syn.minibatch(chosen.to(syn.labels.device))
                train_step(network, optimizer, dsa.augment(images, strategy, rng), Hard(labels))


def match(
    network: Network,
    real: Float[Tensor, "k b c h w"],
    synthetic: Float[Tensor, "k i c h w"],
    distance: Callable[[Gradient, Gradient], Tensor],
    *,
    together: bool | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, "k i c h w"]]:
    """The matching loss, summed over the classes, and its gradient with respect to the synthetic images.

    Args:
        network: Must not mix samples in its present mode.
        real: Images of each class.
        synthetic: Images of each class.
        distance: Between the gradient of real and the gradient of synthetic images.
        together: Whether classes are computed side by side or one after the other; None: as suits the device.
    """
    weights = {name: parameter.detach() for name, parameter in network.named_parameters()}

    def cross(weights: dict[str, Tensor], images: Tensor, label: Tensor) -> Tensor:
        return cross_entropy(functional_call(network, weights, (images,)), label.expand(len(images)))

    def alone(real: Tensor, synthetic: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        wanted = list(leaves.values())
        target = [torch.zeros_like(weight) for weight in wanted]
        for part in chunks(real, network):
            share = (part.stop - part.start) / len(real)
            piece = torch.autograd.grad(share * cross(leaves, real[part], label), wanted)
            target = [total + value for total, value in zip(target, piece, strict=True)]
        images = synthetic.detach().requires_grad_()
        learned = torch.autograd.grad(cross(leaves, images, label), wanted, create_graph=True)
        loss = distance(target, learned)
        return loss.detach(), torch.autograd.grad(loss, images)[0]

    def beside_others(real: Tensor, synthetic: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        target = list(grad(cross)(weights, real, label).values())

        def gap(images: Tensor) -> Tensor:
            return distance(target, list(grad(cross)(weights, images, label).values()))

        gradient, loss = grad_and_value(gap)(synthetic)
        return loss, gradient

    labels = torch.arange(len(real), device=real.device)
    if together if together is not None else real.device.type != "cpu":
        losses, gradients = vmap(beside_others, chunk_size=GPU_CLASSES)(real, synthetic, labels)
    else:
        done = [alone(*one) for one in zip(real, synthetic, labels, strict=True)]
        losses, gradients = (torch.stack(values) for values in zip(*done, strict=True))
    return losses.sum(), gradients


def layerwise_cosine(real: Gradient, synthetic: Gradient) -> Float[Tensor, ""]:
    """The paper's distance: one minus the cosine for each output of each convolution and linear layer.

    Biases and the scales and shifts of norms count nothing (``match_loss``, metric "ours").
    """
    total = torch.zeros_like(synthetic[0].sum())
    for a, b in zip(real, synthetic, strict=True):
        if a.ndim > 1:
            a, b = a.flatten(1), b.flatten(1)
            cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + EPS)
            total = total + (1 - cosine).sum()
    return total


def squared(real: Gradient, synthetic: Gradient) -> Float[Tensor, ""]:
    """The squared Euclidean distance over all parameters (metric "mse")."""
    return torch.stack([(b - a).square().sum() for a, b in zip(real, synthetic, strict=True)]).sum()


def cosine(real: Gradient, synthetic: Gradient) -> Float[Tensor, ""]:
    """One minus the cosine of the two gradients as single vectors (metric "cos")."""
    a, b = (torch.cat([piece.flatten() for piece in side]) for side in (real, synthetic))
    gap: Tensor = 1 - (a * b).sum() / (a.norm() * b.norm() + EPS)
    return gap


METRICS: Mapping[str, Callable[[Gradient, Gradient], Tensor]] = {
    "ours": layerwise_cosine,
    "mse": squared,
    "cos": cosine,
}
"""The distances by the names that the authors' code gives them."""

INITS: Mapping[str, Callable[[Images, ImageRun], LearnableSet]] = {
    "noise": lambda train, run: LearnableSet.noise(run),
    "real": LearnableSet.real,
}
"""What the images start from."""


@torch.no_grad()
def refresh_batch_norm(network: Network, train: Images, rng: torch.Generator) -> None:
    """One training-mode forward of real images; then only the batch norms are put into evaluation mode.

    A network without batch norm stays as it is, and nothing is drawn.
    """
    if network.mixes_samples:
        network.train()
        network(train.draw(BATCH_NORM_REAL, rng).flatten(0, 1))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def _recipes() -> dict[tuple[str, int], Recipe]:
    source = "VICO-UoE/DatasetCondensation, README and defaults of main.py"
    # MNIST alone is evaluated with an augmentation, and therefore for longer.
    plain = dc_evaluation(300, augment="none")
    protocols = dict.fromkeys(("fashion-mnist", "svhn", "cifar10", "cifar100"), plain)
    protocols["mnist"] = dc_evaluation(1000, augment="dc:crop_scale_rotate")
    return {
        (dataset, ipc): Recipe(
            method=DC(outer_steps=LOOPS[ipc][0], inner_epochs=LOOPS[ipc][1]), protocol=protocol, source=source
        )
        for dataset, protocol in protocols.items()
        for ipc in (1, 10, 50)
        if (dataset, ipc) != ("cifar100", 50)
    }


DC.recipes = _recipes()
