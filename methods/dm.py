"""DM: the mean features of synthetic images match the mean features of real ones, in many random networks.

Each iteration draws a new, untrained network. For each class, the loss is the squared distance between the
mean features of a real batch and the mean features of all synthetic images, where both sides have gone
through the same (Siamese) augmentation. The network is never trained.

Paper: Zhao and Bilen, Dataset Condensation with Distribution Matching, WACV 2023,
https://arxiv.org/abs/2110.04181. Authors' code: VICO-UoE/DatasetCondensation, ``main_DM.py``.

This implementation differs from the authors' code in these points:

- All classes go through the network in one batch, real and synthetic images apart. The sums are the same;
  this is faster. (With batch norm it would make a difference, and there the authors' code does the same.)
- It makes ``iterations`` updates. The authors' loop makes one more, and reports the set before that update.
- A class with fewer than ``batch_real`` images gives all of its images, some of them twice. The authors' code
  fails or takes a smaller batch.

The recipes name the README and the defaults of ``main_DM.py`` as their source. The README gives learning
rates for the CIFARs alone; the recipes for MNIST are the defaults, at the paper's images per class.

When not to use it: at one image per class, where gradient matching is stronger. With networks deeper than
ConvNets, ``lr_images`` has to be 0.1 or 0.01 (the authors' advice).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from condense.augment import dsa
from condense.data import Images
from condense.distillation import ImageMethod, ImageRun, LearnableSet, register
from condense.distillation.matching.protocols import dc_evaluation
from condense.distillation.method import recipes
from condense.networks import Network, initialise_, network_in_chunks
from condense.store import ImageSet
from condense.training.step import chunks


@register
@dataclass(frozen=True, kw_only=True)
class DM(ImageMethod):
    """Distribution matching.

    Attributes:
        iterations: Number of updates, each with a new network: 20000 in the paper and the recipes; the
            default makes a run short.
        lr_images: Learning rate of the pixels.
        momentum: Momentum of the pixels' SGD.
        batch_real: Real images per class and iteration.
    """

    name = "dm"
    optimizes = True
    through_view = True
    class_batches = frozenset({"batch_real"})
    quick = {"iterations": 60, "batch_real": 64}
    remedy = "lower lr_images, for example to 0.1"

    iterations: int = 500
    lr_images: float = 0.05
    momentum: float = 0.5
    batch_real: int = 256

    @property
    def needs_real(self) -> bool:
        """Whether the images start from real ones: always."""
        return True

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Runs Algorithm 1 of the paper."""
        syn = LearnableSet.real(train, run)
        optimizer = torch.optim.SGD([syn.images], lr=self.lr_images, momentum=self.momentum)
        size = (run.spec.height, run.spec.width)
        network = run.network().requires_grad_(False)
        describe = partial(self.describe, network)
        for _ in run.steps(self.iterations, {"images": syn.images, "optimizer": optimizer}):
            initialise_(network, run.rng)
            augment = dsa.siamese(run.strategy, size, run.spec.num_classes, run.rng).to(run.device)
            real = augment(train.draw(self.batch_real, run.rng)).flatten(0, 1)  # (k * b, c, h, w)
            sizes = (self.batch_real,) * run.spec.num_classes
            target = class_means(network_in_chunks(network, describe, real), sizes)  # (k, d)
            shown = augment(syn.by_class())  # (k, i, c, h, w)
            images = shown.flatten(0, 1) if syn.present is None else shown[syn.present]  # (n, c, h, w)
            learned = torch.cat([describe(images[part]) for part in chunks(images, network)])
            loss = (class_means(learned, syn.seen_counts) - target).square().sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            run.log(loss=loss)
        return run.distilled(syn.images, syn.labels)

    def describe(self, network: Network, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Returns the vectors whose class means are matched: here, the features."""
        return network.features(images)


def class_means(rows: Float[Tensor, "n d"], sizes: Sequence[int]) -> Float[Tensor, "k d"]:
    """Returns the mean of each class's rows, which lie class after class, as many of each as its size."""
    if len(set(sizes)) == 1:
        return rows.view(len(sizes), -1, rows.shape[1]).mean(1)
    return torch.stack([of_class.mean(0) for of_class in torch.split(rows, list(sizes))])


DM.recipes = recipes(
    DM,
    "lr_images",
    {
        **{("cifar10", ipc): (1.0,) for ipc in (1, 10, 50)},
        **{("cifar10", ipc): (10.0,) for ipc in (100, 200, 500, 1000, 1250)},
        **{("cifar100", ipc): (1.0,) for ipc in (1, 10, 50, 100, 125)},
        **{("mnist", ipc): (1.0,) for ipc in (1, 10, 50)},
        **{("tiny-imagenet", ipc): (1.0,) for ipc in (1, 10, 50)},
    },
    source="VICO-UoE/DatasetCondensation, README and defaults of main_DM.py (tiny-imagenet: from memory)",
    protocol=dc_evaluation(1000, augment="dsa"),
    iterations=20000,
)
