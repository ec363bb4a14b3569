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

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from condense.data import Images
from condense.distillation import ImageMethod, ImageRun, LearnableSet, register
from condense.distillation.matching.distribution import class_statistics, drawn_pixels, mean_gap
from condense.distillation.matching.protocols import dc_evaluation
from condense.distillation.method import recipes
from condense.networks import Network, initialise_
from condense.store import ImageSet


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
        init: What the images start from: ``real`` images, or ``normal`` pixels with the mean and the standard
            deviation of their class and channel, as FedLGD's clients do.
    """

    name = "dm"
    optimizes = True
    through_view = True
    class_batches = frozenset({"batch_real"})
    added = frozenset({"init"})
    quick = {"iterations": 60, "batch_real": 64, "network": "convnet-w32"}
    remedy = "lower lr_images, for example to 0.1"

    iterations: int = 500
    lr_images: float = 0.05
    momentum: float = 0.5
    batch_real: int = 256
    init: Literal["real", "normal"] = "real"

    @property
    def needs_real(self) -> bool:
        """Whether the images start from real ones."""
        return self.init == "real"

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Runs Algorithm 1 of the paper."""
        syn = LearnableSet.real(train, run) if self.init == "real" else self._normal(train, run)
        optimizer = torch.optim.SGD([syn.images], lr=self.lr_images, momentum=self.momentum)
        network = run.network().requires_grad_(False)
        for _ in run.steps(self.iterations, {"images": syn.images, "optimizer": optimizer}):
            initialise_(network, run.rng)
            loss = mean_gap(network, self.describe, syn, train, self.batch_real, run.strategy, run.rng)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            run.log(loss=loss)
        return run.distilled(syn.images, syn.labels)

    def describe(self, network: Network, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Returns the vectors whose class means are matched: here, the features."""
        return network.features(images)

    def _normal(self, train: Images, run: ImageRun) -> LearnableSet:
        """Starts from normal pixels with the statistics of their class."""
        mean, std = class_statistics(train.images, train.labels, train.num_classes)
        size = (run.spec.height, run.spec.width)
        return LearnableSet(drawn_pixels(mean, std, run.counts, size, run.rng), run.counts, run.view)


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
