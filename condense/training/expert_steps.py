"""How experts are trained: the recipe as a value, and its steps for several networks side by side.

An expert is a network trained on the real images, whose parameters are kept after every epoch. Trajectory
matching makes sets that lead a student along the same trajectory. One class holds the recipes of four papers:

- MTT (Cazenavette et al., CVPR 2022, https://arxiv.org/abs/2203.11932): plain SGD at a constant learning
  rate. Code:
  https://github.com/GeorgeCazenavette/mtt-distillation, ``buffer.py`` (commit 0c42493).
- FTD (Du et al., CVPR 2023, https://arxiv.org/abs/2211.11004): GSAM, which leads to flat minima. Code:
  https://github.com/AngusDujw/FTD-distillation, ``buffer/gsam/gsam.py`` (commit 711532a). DATM takes its
  experts from there.
- AST (Shen, Yang and Lam, 2023, https://arxiv.org/abs/2310.10541): momentum and weight decay, a loss that
  starts at half its size, a gradient penalty, and one fall of the learning rate. Code:
  https://github.com/shenjiyuan123/AST-Alignment-with-Smooth-Expert, ``buffer.py`` and ``epoch_gp`` of
  ``utils.py`` (commit 8030869).

As in all three codes, an epoch is a new order of all images, its last batch may be smaller, and each batch is
augmented by one operation with parameters for each image. Differences from the authors' code, and reasons:

- Experts are not tested on test images after an epoch.
- Everything that expert e draws comes from a generator with the seed e. The authors' codes seed the global
  generator with the clock for every network.
- Snapshots are copies. The authors' ``p.detach().cpu()`` is the live parameter on a CPU, so that all
  snapshots are the last one.
- A network with batch norm keeps no running statistics, since they are not part of a trajectory.
"""

from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy

from condense.augment import named_augmentation
from condense.data import Images, ImageSpec
from condense.errors import unknown
from condense.networks import Network, build_network
from condense.training.parameters import as_parameters, flatten
from condense.training.step import chunks

_EPS = 1e-12
"""Constant that keeps GSAM's quotients finite, as in the authors' code."""


@dataclass(frozen=True, kw_only=True)
class ExpertTraining:
    """How an expert is trained: a value that is hashed into the experts' place in the cache.

    The numbers of experts and epochs are not part of it: more of either extend what is there.

    Attributes:
        network: Name of the network.
        lr: Learning rate.
        momentum: Momentum.
        weight_decay: L2 coefficient.
        batch: Images per step, drawn without replacement within an epoch; an epoch's last batch may be
            smaller.
        augment: Name of the augmentation, as in `condense.protocol.Protocol`.
        optimizer: ``sgd`` along the gradient, or ``gsam`` along GSAM's direction.
        rho: Length of GSAM's ascent step.
        alpha: Weight of the orthogonal part of the gradient in GSAM's direction (see `descent`).
        adaptive: Whether GSAM's ascent is proportional to the size of each parameter.
        lr_drop: (epochs, factor): after so many epochs the learning rate is multiplied by the factor, and the
            momentum is reset; None keeps the learning rate.
        clipping: Whether the cross-entropy has AST's weight: 0.5 + 0.05 e in epoch e = 0 .. 9, then 1.
        gradient_penalty: Coefficient of AST's penalty (see `Stacked`); 0 for no penalty.
        version: A number that is raised when the training itself changes.
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
        """Refuses an unknown optimiser."""
        if self.optimizer not in (known := ("sgd", "gsam")):
            raise unknown("optimizer of experts", self.optimizer, known)

    def describe(self) -> dict[str, object]:
        """Returns the fields that are hashed: those of GSAM only if they have an effect."""
        values = asdict(self)
        if self.optimizer != "gsam":
            for name in ("rho", "alpha", "adaptive"):
                del values[name]
        return values

    def rate(self, epoch: int) -> float:
        """Returns the learning rate in an epoch."""
        return self.lr * self.lr_drop[1] if self.lr_drop and epoch >= self.lr_drop[0] else self.lr

    def weight(self, epoch: int) -> float:
        """Returns the weight of the cross-entropy in an epoch."""
        return min(1.0, 0.5 + 0.05 * epoch) if self.clipping else 1.0


def ascent(
    theta: Float[Tensor, "e p"], gradient: Float[Tensor, "e p"], rho: float, adaptive: bool
) -> Float[Tensor, "e p"]:
    """Returns the ascent step of SAM, after which it takes its second gradient.

    The plain step is rho g / |g|. The adaptive one is rho theta^2 g / |theta g|, with products by element
    (FTD's ``perturb_weights``). The norm is over all parameters of a network.
    """
    size = theta.abs() if adaptive else torch.ones_like(theta)
    scaled = size * gradient
    return rho * size * scaled / (_norm(scaled) + _EPS)


def descent(
    gradient: Float[Tensor, "e p"], above: Float[Tensor, "e p"], alpha: float
) -> Float[Tensor, "e p"]:
    """Returns GSAM's direction, which lowers the gap between the losses before and after the ascent step.

    With g the gradient before the ascent step, g_p the one after it and c = cos(g, g_p), the direction is
    g_p - alpha (g - c |g| g_p / |g_p|) (FTD's ``gradient_decompose``).
    """
    norm, norm_above = _norm(gradient), _norm(above)
    cosine = (gradient * above).sum(1, keepdim=True) / (norm * norm_above + _EPS)
    across = gradient - cosine * norm * above / (norm_above + _EPS)
    return above - alpha * across


def _norm(rows: Float[Tensor, "e p"]) -> Float[Tensor, "e 1"]:
    norm: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return norm


class Stacked:
    """Several networks that are trained independently, each a flat vector of parameters with its own draws.

    The loss of a network on a batch is the cross-entropy on the augmented images, times
    `ExpertTraining.weight`. AST's penalty is added: its coefficient times the mean over images and pixels of

        (|d (sum of the logits) / d pixel| - 1)^2,

    with the norm over a pixel's channels, on the images without augmentation. On a CPU the networks are
    computed one after the other, with batches in chunks that fit the cache; on a GPU in one batched pass.

    Attributes:
        theta: Parameters (e, p) of each network, in the order of ``parameters()``.
        velocity: Momentum buffers (e, p) of SGD.
        rngs: The generators, one per network.
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
            training: How the networks are trained.
            spec: The dataset's specification.
            seeds: The seeds of the e networks.
            device: The device to train on.
            together: Whether all networks go through one batched pass; None for everywhere but on a CPU.
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
        """Starts an epoch, counted from 0, by drawing each network's order of that number of images."""
        self._orders = torch.stack([torch.randperm(images, generator=rng) for rng in self.rngs])
        if self._training.lr_drop and epoch == self._training.lr_drop[0]:
            self.velocity.zero_()

    def step(self, train: Images, epoch: int, batch: int) -> Float[Tensor, " e"]:
        """Makes one step of an epoch that was begun; returns each network's loss before it, detached.

        Args:
            train: The training images.
            epoch: Number of the epoch, from 0.
            batch: Number of the batch, from 0.
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
        """Returns the losses at some parameters, and their gradients.

        Args:
            theta: The parameters.
            images: The batch of each network.
            seen: The same images, augmented.
            labels: Class ids.
            weight: Weight of the cross-entropy.
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
        """Returns everything that further steps depend on."""
        rngs = [rng.get_state() for rng in self.rngs]
        return {"theta": self.theta, "velocity": self.velocity, "orders": self._orders, "rngs": rngs}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restores what `state_dict` returned."""
        theta, velocity, orders, rngs = (state[name] for name in ("theta", "velocity", "orders", "rngs"))
        assert isinstance(theta, Tensor) and isinstance(velocity, Tensor)
        assert isinstance(orders, Tensor) and isinstance(rngs, list)
        self.theta.copy_(theta)
        self.velocity.copy_(velocity)
        self._orders = orders
        for rng, saved in zip(self.rngs, rngs, strict=True):
            rng.set_state(saved)


def _without_running_statistics(network: Network) -> Network:
    """Removes the running statistics of a network's batch norms, which only evaluation mode reads."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    return network
