"""FRePo: the set from which networks with a last layer in closed form predict the labels of real images.

Networks of a pool turn images into features, and kernel ridge regression from the features and labels of the
synthetic images predicts the labels of a real batch. The loss is the squared error, and its gradient goes to
the images and to their labels, with the network held fixed. Then that network takes one step on the synthetic
set, or starts over once it has taken enough of them, so that the set is learned for networks of all ages.

Labels are vectors of one number for each class, at the start the one-hot vector minus 1 / k, divided by
sqrt(k / 10). Stored as `features`, they are trained on by ``published`` as the authors' students are: half
the squared error of the network's outputs, summed over the classes. (Protocols that train with SGD take the
class ids.) The margin loss keeps the largest number of each vector up to 1 / k above the second. With
``flip``, each image predicts together with its mirror image.

Paper: Zhou, Nezhadarya and Ba, Dataset Distillation using Neural Feature Regression, NeurIPS 2022,
https://arxiv.org/abs/2206.00719. Authors' code: yongchaoz/FRePo (commit 43e028a),
``lib/datadistillation/frepo.py`` and ``script/distill.py``.

This implementation differs from the authors' code in these points:

- Networks are those of this suite: convolution, norm, ReLU, pooling, with PyTorch's initial weights. Theirs
  normalise before the second and the third convolution, and start from normal weights.
- A real batch is drawn anew from all training images; theirs is the next one of a shuffled stream.
- The linear system is solved in float64.
- A pool of n networks starts with ages from 0 to ``online_updates``, evenly spaced, as theirs.

The recipes have the published settings: 500 000 steps, and a ConvNet whose blocks have 128, 256 and 512
channels, with batch norm while the set is learned. The paper's students have no norm
(``convnet-double-nonorm-lecun``), and train for a number of updates with batches of up to 500; the moving
average of their weights is tested. This suite's augmentations have no translation, which the authors' list
names beside the crop.

When not to use it: where students need class ids or probabilities; or with hundreds of images per class, as
each step solves a system of as many equations as there are images.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from condense.data import Images
from condense.distillation import ImageMethod, ImageRun, register
from condense.distillation.kernel.optimizers import Lamb
from condense.distillation.kernel.pool import ModelPool
from condense.distillation.kernel.prototypes import Prototypes, centred, margin, real_batch
from condense.distillation.kernel.ridge import KernelRidge
from condense.distillation.method import recipes
from condense.networks import CHUNK, Network, features_in_chunks
from condense.protocol import PUBLISHED, Protocol, Stage
from condense.store import Features, ImageSet
from condense.training.step import train_step

RIDGE = KernelRidge(factor=1e-6, times="mean")
"""The regression of the last layer (``nfr``)."""

BN_MOMENTUM = 0.9
"""Weight of the newest batch in a batch norm's running statistics; flax calls it 0.1 (``Conv``)."""

LAST_RATE = 0.1
"""The learning rate of the last step, as a part of the first one's."""


@register
@dataclass(frozen=True, kw_only=True)
class FRePo(ImageMethod):
    """Neural feature regression with pooling.

    Attributes:
        network: Name of the networks of the pool; by default with the norm of this suite's students. Batch
            norms use the statistics of the set that a network was trained on.
        iterations: Number of updates of the set: 500000 in the recipes; the default makes a run short.
        lr: Learning rate of LAMB for images and labels, the relative change of a tensor in a step. It falls
            to a tenth as a cosine.
        batch_real: Real images per update, of all classes.
        networks: Number of networks in the pool.
        online_updates: Number of steps on the synthetic set after which a network starts over.
        lr_network: Learning rate of the networks' Adam.
        batch_network: Largest number of synthetic images in a step of a network.
        flip: Whether an image predicts together with its mirror image; None does so where the data's
            augmentation mirrors images.
        learn_labels: Whether the labels are learned with the images.
    """

    name = "frepo"
    optimizes = True
    through_view = True
    quick = {"iterations": 150, "batch_real": 256, "networks": 4, "network": "convnet-w32"}
    remedy = "lower lr, for example to 0.0003"

    iterations: int = 1000
    lr: float = 0.01
    batch_real: int = 1024
    networks: int = 10
    online_updates: int = 100
    lr_network: float = 3e-4
    batch_network: int = 1000
    flip: bool | None = None
    learn_labels: bool = True

    @property
    def needs_real(self) -> bool:
        """Whether the images start from real ones: always."""
        return True

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Runs Algorithm 1 of the paper."""
        k = run.spec.num_classes
        learned = Prototypes(train, run, flip=self.flip, divisor=math.sqrt(k / 10))
        leaves = learned.leaves if self.learn_labels else learned.leaves[:1]
        optimizer, pool = Lamb(leaves, lr=self.lr), self.pool(run)
        step_on = partial(self.train_network, learned, run.rng)
        state = {"images": learned.syn.images, "labels": learned.values, "optimizer": optimizer, "pool": pool}
        for step in run.steps(self.iterations, state):
            place = pool.draw(run.rng)
            network = pool.networks[place].eval()
            real, labels = real_batch(train, self.batch_real, run.rng)
            queries = features_in_chunks(network, real)  # (b, d)
            images, values = learned.all()
            predicted = RIDGE.predict(queries, features(network, images), values)  # (b, k)
            error = Features(centred(labels, k), labels, 0.5).loss(predicted)
            loss = error - margin(learned.values, 1 / k)
            optimizer.zero_grad()
            torch.autograd.backward(loss, inputs=list(leaves))
            optimizer.param_groups[0]["lr"] = self.lr * falling(step / self.iterations)
            optimizer.step()
            run.log(loss=loss, error=error)
            pool.visit(place, step_on, run.rng)
        return run.distilled(learned.syn.images, learned.syn.labels, features=learned.values)

    def pool(self, run: ImageRun) -> ModelPool:
        """Draws the networks, whose ages are spread so that they start over at different times."""
        networks = [run.network() for _ in range(self.networks)]
        for network in networks:
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.momentum = BN_MOMENTUM
        ages = [self.online_updates // self.networks * place for place in range(self.networks)]
        make = partial(Adam, lr=self.lr_network)
        return ModelPool(networks, make, lifetime=self.online_updates + 1, ages=ages)

    def train_network(
        self, learned: Prototypes, generator: torch.Generator, network: Network, optimizer: Optimizer
    ) -> None:
        """Makes one step of a network on the synthetic images, or on as many of them as a batch takes."""
        images, target = learned.seen()
        if len(images) > self.batch_network:
            chosen = torch.randperm(len(images), generator=generator)[: self.batch_network].to(images.device)
            images, target = images[chosen], target[chosen]
        fixed = Features(target.values.detach(), target.ids, target.scale)
        train_step(network.train(), optimizer, images.detach(), fixed)


def features(network: Network, images: Float[Tensor, "m c h w"]) -> Float[Tensor, "m d"]:
    """Returns the features of images with their gradients, in pieces that fit a CPU's cache.

    The network is in evaluation mode, in which no image influences another's features.
    """
    size = CHUNK if images.device.type == "cpu" else len(images)
    return torch.cat([network.features(some) for some in torch.split(images, size)])


def falling(part: float) -> float:
    """Returns the factor of the learning rate after a part of all steps: a cosine from 1 to `LAST_RATE`."""
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * part))


def evaluation(epochs: int, strategy: str) -> Protocol:
    """Returns the authors' evaluation: Adam on the label vectors, in batches of up to 500."""
    return Protocol(
        name=PUBLISHED, optimizer="adam", lr=3e-4, weight_decay=0.0, batch=500,
        stages=(Stage(epochs=epochs),), augment=f"dsa:{strategy}", ema=0.995,
    )  # fmt: skip


COLOURED, GREY = "flip_color_crop_rotate_cutout", "color_crop_rotate_cutout"

FRePo.recipes = recipes(
    FRePo,
    "flip pixel_space protocol",
    {
        **{("cifar10", ipc): (True, "zca-relative", evaluation(1000, COLOURED)) for ipc in (1, 10)},
        ("cifar10", 50): (True, "zca-relative", evaluation(1000, COLOURED)),
        ("cifar100", 1): (True, "zca-relative", evaluation(1000, COLOURED)),
        ("cifar100", 10): (False, "zca-relative", evaluation(1000, COLOURED)),
        ("cifar100", 50): (False, "zca-relative", evaluation(500, COLOURED)),
        ("tiny-imagenet", 1): (True, "zca-relative", evaluation(1000, COLOURED)),
        ("tiny-imagenet", 10): (False, "zca-relative", evaluation(1250, COLOURED)),
        **{("mnist", ipc): (False, "normalized", evaluation(1000, GREY)) for ipc in (1, 10, 50)},
        **{("fashion-mnist", ipc): (False, "normalized", evaluation(1000, GREY)) for ipc in (1, 10, 50)},
    },
    student="convnet-double-nonorm-lecun",
    source="yongchaoz/FRePo 43e028a, README and script/distill.py",
    network="convnet-double-bn",
    iterations=500_000,
    lr=3e-4,
)
