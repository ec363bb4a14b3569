"""RCIG: the set from which linearised networks learn to classify real images, by its implicit gradient.

A network of a pool is linearised, so that what it learns from the set is a convex problem: a quadratic
function of a change t of its parameters, with the last layer in closed form. A few steps of Adam from t = 0
solve it. The loss is the cross-entropy of what it then predicts for a real batch, times a learned
temperature. Its gradient has two parts: a direct one, at fixed t, and an implicit one, through t: with g the
gradient by t and H the Hessian of the inner problem, a few steps of Adam find v = H^-1 g, and minus the mixed
derivative of the inner problem in the direction v is the gradient by images and labels. Then the network
itself, not linearised, takes some steps on the set.

Labels are vectors of one number for each class, at the start the one-hot vector minus 1 / k. They are
stored as `features`, with half the squared error of the outputs, summed over the classes, as the loss of
``published``; protocols that train with SGD take the class ids. The authors' students minimise a k-th of
it, which makes no difference to their Adam. What is stored is the moving average of images and labels. The
margin loss keeps the largest number of each vector up to 1 / (2 k) above the second.

Paper: Loo, Hasani, Lechner and Rus, Dataset Distillation with Convexified Implicit Gradients, ICML 2023,
https://arxiv.org/abs/2302.06755. Authors' code: yolky/RCIG (commit a9fb1fa), ``algorithms.py`` and
``configs_final/``.

This implementation differs from the authors' code in these points:

- t holds no change of the last layer's weights, which are solved for. In the authors' code the inner steps
  leave them alone, too, but the implicit gradient has a part through them.
- Each inner problem starts with a fresh Adam. Theirs goes on with the step count of the pool's.
- AdaBelief measures the deviation of the gradient from its new average, as its paper says.
- Linear systems are solved in float64. The parts of the set that the authors' code draws for very large sets
  (their ``direct_batch_sizes``) are not built: all images take part in every update.
- Weights start from uniform values of LeCun's variance, 1 / fan-in, and biases from 0; theirs are normal.

As in the authors' code only the inner step size is changed in the course of the run, and the implicit
gradient of a tensor is at most as long as its direct one.

The recipes have the published settings, with a ConvNet without norms whose blocks have 128, 256 and 512
channels (``convnet-double-nonorm``), softplus in place of ReLU and the steps of the published sets. The
paper's students are that network with ReLU and LeCun's initial weights (``convnet-double-nonorm-lecun``),
trained by Adam with a warm-up of 500 steps and a cosine, with and without augmentation, of which the better
one counts. On the authors' set of CIFAR-10 at one image per class that is the one without: the images and
their mirror images alone. The recipes' protocol is that one at one image per class, with a mirror image or
none drawn for each step, and has the augmentation elsewhere. The authors' code goes on for further steps at
the last step size, by which time the loss is 0. Both matter: that set gives 54 % so (five students), 32 %
with PyTorch's initial weights (two students), and 30 % with the augmentation, too (five students).

When not to use it: where students need class ids, since the sets are learned for their label vectors (a set
of CIFAR-10 at one image per class, 600 updates, gives a narrow ConvNet 31 % under ``published``, and 20 %
by class ids under ``hard-v1``, below DM's 27 %); with many images per class, as each update solves a system
of as many equations as there are images; or where time is short, since an update takes two inner loops.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from condense.data import Images
from condense.distillation import ImageMethod, ImageRun, register
from condense.distillation.kernel.implicit import StepSize, Task, outcome, shortened
from condense.distillation.kernel.linearised import Linearised, Vector, descend
from condense.distillation.kernel.optimizers import AdaBelief
from condense.distillation.kernel.pool import ModelPool
from condense.distillation.kernel.prototypes import Prototypes, real_batch
from condense.distillation.method import recipes
from condense.networks import Network, initialise_
from condense.protocol import PUBLISHED, Protocol, Stage
from condense.store import Features, ImageSet
from condense.training.average import MovingAverage
from condense.training.step import train_step

GROWTH, BACK = 1.2, 0.7
"""Factors of a step size that is tuned: for the next trial, and after the first one that was too large."""
EVERY = 50
"""Number of updates between two changes of the inner step size (``run_rcig``)."""
LR_TEMPERATURE = 0.03
"""Learning rate of the temperature's logarithm (``run_rcig``)."""


@register
@dataclass(frozen=True, kw_only=True)
class RCIG(ImageMethod):
    """Reparameterised convexified implicit gradients.

    Attributes:
        network: Name of the networks of the pool; by default with the norm of this suite's students.
        iterations: Number of updates of the set: 5000 to 15000 in the recipes; the default makes a run short.
        lr: Learning rate of AdaBelief for images and labels.
        batch_real: Real images per update, of all classes.
        l2_rate: Weight of the squares of all weights, for each stored image.
        inner_steps: Number of Adam's steps on the inner problem.
        inverse_steps: Number of Adam's steps towards the inverse Hessian times the gradient.
        lr_inner: Step size of the inner problem's Adam, from which the tuning starts.
        lr_inverse: Step size of the other Adam, likewise.
        tune: Whether both step sizes are first raised until a descent no longer falls at every step.
        networks: Number of networks in the pool.
        pool_steps: Largest number of steps that a network takes at a visit; at least one, uniformly drawn.
        online_updates: Number of steps from which on a network starts over.
        lr_network: Learning rate of the networks' Adam.
        softplus: Sharpness of the softplus that takes the place of each ReLU; 0 leaves the ReLUs.
        flip: Whether an image takes part together with its mirror image; None does so where the data's
            augmentation mirrors images.
        decay: Decay of the moving average of the set, which is stored.
    """

    name = "rcig"
    optimizes = True
    through_view = True
    quick = {
        "iterations": 12, "lr": 0.03, "batch_real": 128, "networks": 3, "network": "convnet-w32-nonorm",
        "inner_steps": 8, "inverse_steps": 8, "lr_inner": 1e-3, "lr_inverse": 10.0, "decay": 0.5,
    }  # fmt: skip
    remedy = "lower lr, for example to 0.001"

    iterations: int = 100
    lr: float = 0.03
    batch_real: int = 256
    l2_rate: float = 5e-4
    inner_steps: int = 20
    inverse_steps: int = 20
    lr_inner: float = 1e-5
    lr_inverse: float = 5e-5
    tune: bool = True
    networks: int = 10
    pool_steps: int = 15
    online_updates: int = 100
    lr_network: float = 5e-5
    softplus: float = 60.0
    flip: bool | None = None
    decay: float = 0.9

    def __post_init__(self) -> None:
        """Checks the fields, and that the average takes something in.

        Raises:
            Refused: if a value is unknown or out of range.
        """
        super().__post_init__()
        if self.decay >= 1:
            raise self.refused("decay", f"decay of {self.name} must be below 1")

    @property
    def needs_real(self) -> bool:
        """Whether the images start from real ones: always."""
        return True

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Runs Algorithm 1 of the paper."""
        learned = Prototypes(train, run, flip=self.flip)
        temperature = torch.zeros((), device=run.device, requires_grad=True)
        groups = [{"params": learned.leaves}, {"params": [temperature], "lr": LR_TEMPERATURE}]
        optimizer, average = AdaBelief(groups, lr=self.lr), MovingAverage(learned.leaves, self.decay)
        pool, inner, inverse = self.pool(run), StepSize(self.lr_inner), StepSize(self.lr_inverse)
        sizes = {"inner": inner, "inverse": inverse}
        for _ in run.steps(int(self.tune), {**sizes}, "tune"):
            self.raise_sizes(learned, train, pool.networks[0], inner, inverse, run)
        state = {
            "images": learned.syn.images, "labels": learned.values, "temperature": temperature,
            "optimizer": optimizer, "average": average, "pool": pool, **sizes,
        }  # fmt: skip
        for step in run.steps(self.iterations, state):
            place = pool.draw(run.rng)
            task = self.task(pool.networks[place], learned)
            t, losses = descend(task.zeros(), task.inner.value_and_gradient, inner.rate, self.inner_steps)
            inner.note(losses)
            if step % EVERY == 0 and step > 0:
                inner.adapt()
            outer = task.outer(t, *real_batch(train, self.batch_real, run.rng), temperature)
            v, _ = task.inverse(outer.by_t, inverse.rate, self.inverse_steps)
            for leaf, direct, implicit in zip(learned.leaves, outer.direct, task.implicit(t, v), strict=True):
                leaf.grad = direct + shortened(implicit, direct)
            temperature.grad = outer.by_temperature
            optimizer.step()
            average.update()
            run.log(loss=outer.loss)
            steps = int(torch.randint(1, self.pool_steps + 1, (), generator=run.rng))
            pool.train(place, partial(train_network, learned), steps)
            if pool.ages[place] >= self.online_updates:
                pool.renew(place, run.rng)
        images, values = average.values()
        return run.distilled(images, learned.syn.labels, features=values)

    def pool(self, run: ImageRun) -> ModelPool:
        """Draws the networks, with softplus in place of ReLU."""
        networks = [run.network() for _ in range(self.networks)]
        for network in networks:
            scale_(network)
            if self.softplus:
                smooth_(network, self.softplus)
        make = partial(Adam, lr=self.lr_network)
        return ModelPool(networks, make, lifetime=self.online_updates, initialise=initialise_widely_)

    def task(self, network: Network, learned: Prototypes) -> Task:
        """Returns what the set is to teach a network, linearised."""
        return Task(Linearised(network), learned, self.l2_rate * len(learned.values))

    def raise_sizes(
        self, learned: Prototypes, train: Images, network: Network, inner: StepSize, inverse: StepSize,
        run: ImageRun,
    ) -> None:  # fmt: skip
        """Raises both step sizes until a descent no longer falls at every step; one step cannot tell."""
        task = self.task(network, learned)
        none = torch.zeros((), device=run.device, requires_grad=True)

        def lasting(size: StepSize, descent: Callable[[float], tuple[Vector, Tensor]]) -> Vector:
            while True:
                end, values = descent(size.rate)
                if len(values) < 2:
                    return end
                size.rate *= GROWTH
                if outcome(values) != 1:
                    size.rate *= BACK
                    return end

        t = lasting(
            inner, lambda lr: descend(task.zeros(), task.inner.value_and_gradient, lr, self.inner_steps)
        )
        outer = task.outer(t, *real_batch(train, self.batch_real, run.rng), none)
        lasting(inverse, lambda lr: task.inverse(outer.by_t, lr, self.inverse_steps))


def train_network(learned: Prototypes, network: Network, optimizer: Optimizer) -> None:
    """Makes one step of a network, as it is, on all images of the set."""
    images, values = (part.detach() for part in learned.all())
    ids = values.argmax(1)
    train_step(network.train(), optimizer, images, Features(values, ids, 0.5 / values.shape[1]))


@torch.no_grad()
def scale_(network: Network) -> None:
    """Brings PyTorch's initial weights, of variance 1 / (3 fan-in), to 1 / fan-in, and the biases to 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.mul_(math.sqrt(3))
            if module.bias is not None:
                module.bias.zero_()


def initialise_widely_(network: Network, generator: torch.Generator) -> None:
    """Draws a network's parameters anew, and scales them like `scale_`."""
    initialise_(network, generator)
    scale_(network)


def smooth_(network: nn.Module, sharpness: float) -> None:
    """Puts a softplus in the place of each ReLU of a network."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.Softplus(beta=sharpness))


def evaluation(epochs: int, warmup: int, strategy: str = "flip_color_crop_rotate_cutout") -> Protocol:
    """Returns the authors' evaluation with an augmentation: Adam with a warm-up and a cosine."""
    return Protocol(
        name=PUBLISHED, optimizer="adam", lr=1e-4, weight_decay=0.0, batch=256,
        stages=(Stage(epochs=epochs),), schedule="cosine", warmup=warmup,
        augment=f"dsa:{strategy}",
    )  # fmt: skip


RCIG.recipes = recipes(
    RCIG,
    "iterations softplus protocol",
    {
        ("cifar10", 1): (15_000, 60.0, evaluation(1000, 500, "flip")),
        ("cifar10", 10): (10_000, 60.0, evaluation(2000, 500)),
        ("cifar100", 1): (10_000, 60.0, evaluation(2000, 500, "flip")),
        ("tiny-imagenet", 1): (5_000, 0.0, evaluation(2000, 500, "flip")),
    },
    lr=0.003,
    batch_real=1024,
    networks=30,
    decay=0.99,
    student="convnet-double-nonorm-lecun",
    source="yolky/RCIG a9fb1fa, configs_final/ and the steps of its stored sets",
    network="convnet-double-nonorm",
    pixel_space="zca-relative",
    flip=True,
)
