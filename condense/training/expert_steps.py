"""How experts are trained: the recipe as a value, and its steps for several networks side by side.

An expert is a network trained on the real images whose parameters are kept after every epoch; trajectory
matching makes sets that lead a student along the same way. The recipes of four papers are one class here:

- MTT (Cazenavette et al., CVPR 2022, https://arxiv.org/abs/2203.11932): plain SGD at a constant rate. Code:
  https://github.com/GeorgeCazenavette/mtt-distillation, ``buffer.py`` (commit 0c42493).
- FTD (Du et al., CVPR 2023, https://arxiv.org/abs/2211.11004): GSAM, which leads to flat places. Code:
  https://github.com/AngusDujw/FTD-distillation, ``buffer/gsam/gsam.py`` (commit 711532a). DATM takes its
  experts from there.
- AST (Shen, Yang and Lam, 2023, https://arxiv.org/abs/2310.10541): momentum and weight decay, a loss that
  starts at half its size, a gradient penalty, one fall of the rate. Code:
  https://github.com/shenjiyuan123/AST-Alignment-with-Smooth-Expert, ``buffer.py`` and ``epoch_gp`` of
  ``utils.py`` (commit 8030869).

As in all three, an epoch is a new order of all images, its last batch may be smaller, and each batch is
augmented by one operation with parameters for each image. Where this differs from the authors' code, and why:

- Nothing is measured on test images after an epoch.
- Everything that expert e draws comes from a generator with the seed e. Theirs reseed the global one by the
  clock for every network.
- Their snapshots are ``p.detach().cpu()``, which on a CPU is the live parameter: all snapshots are then the
  last one. These are copies.
- A network with batch norm keeps no running statistics: they are no part of a trajectory.
"""

from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy

from condense.augment import named_augmentation
from condense.data import Images, ImageSpec
from condense.distillation.matching.unrolled import as_parameters, flatten
from condense.errors import unknown
from condense.networks import Network, build_network
from condense.training.step import chunks

OPTIMIZERS = ("sgd", "gsam")
"""What follows a gradient: SGD itself, or SGD along GSAM's direction."""

_EPS = 1e-12
"""What keeps GSAM's quotients finite, as in the authors' code."""


@dataclass(frozen=True, kw_only=True)
class ExpertTraining:
    """How an expert is trained: a value, hashed into the experts' place in the cache.

    How many experts there are and for how many epochs is no part of it: more of either extend what is there.

    Attributes:
        network: Its name.
        lr: Learning rate.
        momentum: Momentum.
        weight_decay: L2 coefficient.
        batch: Images a step, drawn without replacement within an epoch; an epoch's last batch may be smaller.
        augment: As in `condense.protocol.Protocol`.
        optimizer: ``sgd`` or ``gsam``.
        rho: How far GSAM climbs.
        alpha: How much GSAM adds of its second gradient's part across the first one (see `descent`).
        adaptive: Whether GSAM climbs in proportion to each parameter's size.
        lr_drop: (epochs, factor): after so many epochs the rate is multiplied by the factor and the momentum
            starts anew; None keeps the rate.
        clipping: AST's weight of the cross-entropy, 0.5 + 0.05 e in epoch e = 0 .. 9, then 1.
        gradient_penalty: Coefficient of AST's penalty (see `Stacked`); 0 leaves it out.
        version: Raised when the training itself changes.
    """

    network: str
    lr: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch: int = 256
    augment: str = "dsa"
    optimizer: str = "sgd"
    rho: float = 0.01
    alpha: float = 1.0
    adaptive: bool = True
    lr_drop: tuple[int, float] | None = None
    clipping: bool = False
    gradient_penalty: float = 0.0
    version: int = 1

    def __post_init__(self) -> None:
        """Refuses an unknown optimizer."""
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer of experts", self.optimizer, OPTIMIZERS)

    def describe(self) -> dict[str, object]:
        """The fields that are hashed: GSAM's only where they have an effect."""
        values = asdict(self)
        if self.optimizer != "gsam":
            for name in ("rho", "alpha", "adaptive"):
                del values[name]
        return values

    def rate(self, epoch: int) -> float:
        """The learning rate in an epoch."""
        return self.lr * self.lr_drop[1] if self.lr_drop and epoch >= self.lr_drop[0] else self.lr

    def weight(self, epoch: int) -> float:
        """The weight of the cross-entropy in an epoch."""
        return min(1.0, 0.5 + 0.05 * epoch) if self.clipping else 1.0


def ascent(
    theta: Float[Tensor, "e p"], gradient: Float[Tensor, "e p"], rho: float, adaptive: bool
) -> Float[Tensor, "e p"]:
    """The way up to where SAM takes its second gradient; each network has a norm over all its parameters.

    Plain, it is rho g / |g|; adaptive, rho theta^2 g / |theta g|, both products by element (FTD's
    ``perturb_weights``).
    """
    size = theta.abs() if adaptive else torch.ones_like(theta)
    scaled = size * gradient
    return rho * size * scaled / (_norm(scaled) + _EPS)


def descent(
    gradient: Float[Tensor, "e p"], above: Float[Tensor, "e p"], alpha: float
) -> Float[Tensor, "e p"]:
    """GSAM's direction: the gradient from above, less alpha times the first one's part at right angles to it.

    With g the first gradient and g_p the one from above, c = cos(g, g_p): g_p - alpha (g - c |g| g_p / |g_p|)
    (FTD's ``gradient_decompose``).
    """
    norm, norm_above = _norm(gradient), _norm(above)
    cosine = (gradient * above).sum(1, keepdim=True) / (norm * norm_above + _EPS)
    across = gradient - cosine * norm * above / (norm_above + _EPS)
    return above - alpha * across


def _norm(rows: Float[Tensor, "e p"]) -> Float[Tensor, "e 1"]:
    norm: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return norm


class Stacked:
    """Networks in training that do not see each other: each a flat vector of parameters, with its own draws.

    The loss of a network for a batch is its cross-entropy on the augmented images, times
    `ExpertTraining.weight`. AST's penalty comes on top: its coefficient times the mean over images and pixels
    of

        (|d (sum of the logits) / d pixel| - 1)^2,

    the norm over a pixel's channels, on the images without augmentation. On a CPU the networks take their
    turns, batches in chunks that stay in cache; elsewhere they go through one batched pass.

    Attributes:
        theta: (e, p), the parameters of each network in the order of ``parameters()``.
        velocity: (e, p), SGD's momentum.
        rngs: The generators, one a network.
    """

    def __init__(
        self,
        training: ExpertTraining,
        spec: ImageSpec,
        seeds: list[int],
        device: torch.device,
        *,
        together: bool | None = None,
    ) -> None:
        """Draws the networks.

        Args:
            training: The recipe.
            spec: The dataset.
            seeds: One for each of the e networks.
            device: Where they are.
            together: Whether one pass is for all; None is everywhere but on a CPU.
        """
        self.rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
        networks = [
            build_network(training.network, spec.shape, spec.num_classes, rng, device).requires_grad_(False)
            for rng in self.rngs
        ]
        self.theta = torch.stack([flatten(network) for network in networks])
        self.velocity = torch.zeros_like(self.theta)
        self._orders = torch.empty(0)
        self._training = training
        self._network = _without_running_statistics(networks[0])
        self._augment = named_augmentation(training.augment, spec.dsa)
        self._together = device.type != "cpu" if together is None else together

    def begin(self, epoch: int, images: int) -> None:
        """Starts an epoch: draws each network's order of the images.

        Args:
            epoch: Its number from 0.
            images: How many there are.
        """
        self._orders = torch.stack([torch.randperm(images, generator=rng) for rng in self.rngs])
        if self._training.lr_drop and epoch == self._training.lr_drop[0]:
            self.velocity.zero_()

    def step(self, train: Images, epoch: int, batch: int) -> Float[Tensor, " e"]:
        """Makes a step of an epoch that was begun.

        Args:
            train: The images.
            epoch: Its number from 0.
            batch: The batch's number from 0.

        Returns:
            The loss of each network before the step, detached.
        """
        training = self._training
        at = batch * training.batch
        chosen = self._orders[:, at : at + training.batch].to(train.images.device)
        images, labels = train.images[chosen], train.labels[chosen]
        seen = torch.stack([self._augment(x, rng) for x, rng in zip(images, self.rngs, strict=True)])
        data, weight = (images, seen, labels), training.weight(epoch)
        loss, direction = self.gradients(self.theta, *data, weight)
        if training.optimizer == "gsam":
            above = self.theta + ascent(self.theta, direction, training.rho, training.adaptive)
            direction = descent(direction, self.gradients(above, *data, weight)[1], training.alpha)
        if training.weight_decay:
            direction = direction.add(self.theta, alpha=training.weight_decay)
        self.velocity.mul_(training.momentum).add_(direction)
        self.theta.sub_(self.velocity, alpha=training.rate(epoch))
        return loss

    def gradients(
        self,
        theta: Float[Tensor, "e p"],
        images: Float[Tensor, "e b c h w"],
        seen: Float[Tensor, "e b c h w"],
        labels: Int64[Tensor, "e b"],
        weight: float,
    ) -> tuple[Float[Tensor, " e"], Float[Tensor, "e p"]]:
        """The losses at some parameters, and their gradients.

        Args:
            theta: The parameters.
            images: Each network's batch.
            seen: The same images, augmented.
            labels: Their class ids.
            weight: Of the cross-entropy.
        """
        losses, gradients = theta.new_zeros(len(theta)), torch.zeros_like(theta)
        width = len(theta) if self._together else 1
        for first in range(0, len(theta), width):
            nets = slice(first, first + width)
            for part in chunks(seen[0], self._network):
                leaf = theta[nets].detach().requires_grad_()
                batch = images[nets, part], seen[nets, part], labels[nets, part]
                loss = self._losses(leaf, *batch, weight) * ((part.stop - part.start) / seen.shape[1])
                gradients[nets] += torch.autograd.grad(loss.sum(), leaf)[0]
                losses[nets] += loss.detach()
        return losses, gradients

    def _losses(
        self, theta: Tensor, images: Tensor, seen: Tensor, labels: Tensor, weight: float
    ) -> Float[Tensor, " e"]:
        logits = self._logits(theta, seen)
        entropy = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        loss = weight * entropy.view(labels.shape).mean(1)
        if coefficient := self._training.gradient_penalty:
            images = images.detach().requires_grad_()
            total = self._logits(theta, images).sum()
            (slopes,) = torch.autograd.grad(total, images, create_graph=True)
            loss = loss + coefficient * (torch.linalg.vector_norm(slopes, dim=2) - 1).square().mean((1, 2, 3))
        return loss

    def _logits(
        self, theta: Float[Tensor, "e p"], images: Float[Tensor, "e b c h w"]
    ) -> Float[Tensor, "e b k"]:
        if len(theta) == 1:
            return self._one(theta[0], images[0])[None]
        logits: Tensor = vmap(self._one)(theta, images)
        return logits

    def _one(self, theta: Float[Tensor, " p"], images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        logits: Tensor = functional_call(self._network, as_parameters(self._network, theta), (images,))
        return logits

    def state_dict(self) -> dict[str, object]:
        """All that further steps depend on."""
        rngs = [rng.get_state() for rng in self.rngs]
        return {"theta": self.theta, "velocity": self.velocity, "orders": self._orders, "rngs": rngs}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Takes over what `state_dict` gave."""
        theta, velocity, orders, rngs = (state[name] for name in ("theta", "velocity", "orders", "rngs"))
        assert isinstance(theta, Tensor) and isinstance(velocity, Tensor)
        assert isinstance(orders, Tensor) and isinstance(rngs, list)
        self.theta.copy_(theta)
        self.velocity.copy_(velocity)
        self._orders = orders
        for rng, saved in zip(self.rngs, rngs, strict=True):
            rng.set_state(saved)


def _without_running_statistics(network: Network) -> Network:
    """The same network, its batch norms without the buffers that only evaluation mode would read."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    return network
