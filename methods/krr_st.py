"""KRR-ST: images and target vectors, without labels, for networks that go on to other data.

A self-supervised teacher turns training images into vectors. The set holds a few images with learned target
vectors. In each iteration a network of a pool, trained on the set so far, predicts the teacher's vectors of a
real batch by kernel ridge regression from the set's features and targets. The gradient of the squared error
goes to the images and the targets. Then that network takes one step on the set, or starts over once it has
taken enough of them.

The inner training is a plain regression, without augmentation or any other randomness on the set's images:
with a self-supervised loss there, the gradient with respect to the images would be biased (the paper's
theorem 1).

Paper: Lee, Lee and Hwang, Self-Supervised Dataset Distillation for Transfer Learning, ICLR 2024,
https://arxiv.org/abs/2310.06511. Authors' code: db-Lee/selfsup_dd (commit 4beb4b1), ``train.py``,
``algorithms/distill.py`` and ``algorithms/model_pool.py``.

Where this differs from the authors' code, and why:

- The set's images are normalised from the start, as the networks see real images. Theirs keep raw pixels,
  which the networks see without normalisation.
- A network that starts over is counted from 0 again, as the paper says. In the released code the count goes
  on, so that in the end almost every step uses an untrained network: ``counter_reset=false``.
- The authors publish the weights of their teacher and not its training. Here it is trained by Barlow Twins
  with the settings of `condense.training.barlow_twins`: by default a ConvNet, on 10 000 images for 50
  epochs; in the recipes a ResNet18 with 512 outputs. Its stem pads by 1, theirs by 2.
- The ConvNets of the pool are this suite's. Theirs have 128, 256 and 512 channels, as the recipes' have; at
  64 pixels they begin with 64, and the recipe's with 128.
- The linear system is solved in float64. Padding behind a random crop is the mean colour, theirs is black.
- The real batch is drawn anew from all training images; theirs is the next one of a shuffled pass.

Unknown, and chosen here: the teacher's number of epochs (1000 in the recipes) and the width of its projector.

When not to use it: where there are labels for the task at hand. MKDT's authors report random images with a
teacher's vectors as accurate or better (`random_taught`), after a short training on the set.
"""

from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import SGD, Optimizer

from condense.augment import named_augmentation
from condense.data import Images
from condense.distillation import ImageRun, SelfSupervised, register
from condense.distillation.kernel.pool import ModelPool
from condense.distillation.kernel.ridge import KernelRidge
from condense.distillation.method import recipes
from condense.networks import Network, build_network, features_in_chunks
from condense.protocol import PUBLISHED
from condense.protocols import TRANSFER_V1
from condense.store import Features, ImageSet
from condense.training.step import train_step

RIDGE = KernelRidge(factor=1e-6, times="trace", detached=True, bias=True)
"""The regression of the outer loss."""
LAST_RATE = 1e-3
"""The learning rate that the last step would have, as a part of the first one's."""


@register
@dataclass(frozen=True, kw_only=True)
class KRRST(SelfSupervised):
    """Kernel ridge regression on self-supervised targets.

    Attributes:
        network: Name of the networks of the pool. They are trained on the set in training mode, and predict
            in evaluation mode.
        iterations: Number of updates of the set: 160000 in the recipes; the default makes a run short.
        lr: Learning rate of AdamW for images and targets, which falls linearly to a thousandth: 0.0001 in the
            recipes; the default is for a short run.
        batch_real: Real images per update.
        networks: Number L of networks in the pool.
        online_steps: Number T of steps on the set after which a network starts over.
        counter_reset: Whether a network that starts over is counted from 0.
        lr_network: Learning rate of the networks' SGD.
        momentum: Its momentum.
        weight_decay: Its L2 coefficient.
    """

    name = "krr_st"
    quick = {
        "iterations": 12, "batch_real": 64, "networks": 2, "online_steps": 4, "network": "convnet-w32-bn",
        "teacher_network": "convnet-w32-bn", "teacher_images": 200, "teacher_epochs": 1,
        "teacher_projector": 32,
    }  # fmt: skip
    remedy = "lower lr or lr_network"

    network: str = "convnet-bn"
    iterations: int = 500
    lr: float = 0.01
    batch_real: int = 256
    networks: int = 4
    online_steps: int = 100
    counter_reset: bool = True
    lr_network: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-3

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Runs Algorithm 1 of the paper."""
        encoder = self.encoder(train, run)
        images, targets = (
            first.clone().requires_grad_() for first in self.first(train, run, encoder)
        )  # (m, c, h, w), (m, d)
        pool, step_on = self.pool(run, encoder.dim), partial(inner_step, images, targets)
        self.warm_start(pool, step_on, run)
        optimizer = torch.optim.AdamW([images, targets], lr=self.lr, weight_decay=0.0)
        augment = named_augmentation("crop-flip", run.spec.dsa)
        state = {"images": images, "targets": targets, "optimizer": optimizer, "pool": pool}
        for step in run.steps(self.iterations, state):
            place = pool.draw(run.rng)
            chosen = torch.randperm(len(train), generator=run.rng)[: self.batch_real].to(run.device)
            real = augment(train.images[chosen], run.rng)  # the teacher and the network see the same images
            loss = outer_loss(pool.networks[place], images, targets, real, encoder.features(real))
            optimizer.zero_grad()
            torch.autograd.backward(loss, inputs=[images, targets])
            optimizer.param_groups[0]["lr"] = self.lr * falling(step / self.iterations)
            optimizer.step()
            run.log(loss=loss)
            self.visit(pool, place, step_on, run)
        return self.made(images, targets, encoder, run)

    def pool(self, run: ImageRun, dim: int) -> ModelPool:
        """Draws the networks, which have as many outputs as the targets have numbers."""
        networks = [
            build_network(self.network, run.spec.shape, dim, run.rng, run.device)
            for _ in range(self.networks)
        ]
        make = partial(SGD, lr=self.lr_network, momentum=self.momentum, weight_decay=self.weight_decay)
        return ModelPool(networks, make, lifetime=self.online_steps)

    def warm_start(self, pool: ModelPool, step_on: "InnerStep", run: ImageRun) -> None:
        """Trains each network on the first set, for a number of steps that is uniform in 1 ... T - 1."""
        most = max(2, self.online_steps)
        ages = torch.randint(1, most, (len(pool),), generator=run.rng).tolist()
        places = [place for place, age in enumerate(ages) for _ in range(age)]
        for step in run.steps(len(places), {"pool": pool}, "warm start"):
            pool.train(places[step], step_on)

    def visit(self, pool: ModelPool, place: int, step_on: "InnerStep", run: ImageRun) -> None:
        """Trains a network for one step, or lets it start over in place of that."""
        old = pool.ages[place] >= pool.lifetime
        pool.visit(place, step_on, run.rng)
        if old and not self.counter_reset:
            pool.ages[place] = pool.lifetime


InnerStep = partial[None]
"""A step of a network with its optimiser on the set as it is."""


def inner_step(
    images: Float[Tensor, "m c h w"], targets: Float[Tensor, "m d"], network: Network, optimizer: Optimizer
) -> None:
    """Makes one step of a network on all images of the set: the mean squared error, and nothing random."""
    ids = torch.zeros(len(images), dtype=torch.long, device=images.device)
    wanted = Features(targets.detach(), ids, 1 / targets.shape[1])
    train_step(network.train(), optimizer, images.detach(), wanted)


def outer_loss(
    network: Network,
    images: Float[Tensor, "m c h w"],
    targets: Float[Tensor, "m d"],
    real: Float[Tensor, "b c h w"],
    wanted: Float[Tensor, "b d"],
) -> Float[Tensor, ""]:
    """Returns the mean squared error of ridge regression from the set, for the teacher's vectors.

    Args:
        network: The network, whose features are regressed on; it is put into evaluation mode.
        images: The set's images, to which the gradient flows.
        targets: Their targets, likewise.
        real: Real images.
        wanted: The teacher's vectors of the real images.
    """
    network.eval()
    queries = features_in_chunks(network, real)  # (b, D), without gradients
    predicted = RIDGE.predict_by_kernel(queries, network.features(images), targets)  # (b, d)
    return (predicted - wanted).square().mean()


def falling(part: float) -> float:
    """Returns the factor of the learning rate after a part of all steps: a line from 1 to `LAST_RATE`."""
    return 1 - (1 - LAST_RATE) * part


KRRST.recipes = recipes(
    KRRST,
    "lr teacher_images",
    {("cifar100", 10): (1e-4, 50_000), ("tiny-imagenet", 10): (1e-5, 100_000)},
    source="db-Lee/selfsup_dd 4beb4b1, train.py; the teacher's training is not stated: wgcban/mix-bt",
    protocol=replace(TRANSFER_V1, name=PUBLISHED),
    network="convnet-double-bn",
    iterations=160_000,
    batch_real=1024,
    networks=10,
    online_steps=1000,
    teacher_network="resnet18-bn",
    teacher_epochs=1000,
    teacher_projector=1024,
)
