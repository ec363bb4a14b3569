"""DM: the mean features of the synthetic images match those of real images, under many random networks.

Zhao and Bilen: Dataset Condensation with Distribution Matching, WACV 2023, https://arxiv.org/abs/2110.04181;
authors' code VICO-UoE/DatasetCondensation, ``main_DM.py``. A fresh, untrained network each iteration; per
class the squared distance between the two mean features; both batches under the same (Siamese) augmentation.

Where this differs from the authors' code, and why:

- All classes go through one forward, real images and synthetic ones apart: the same sums, faster. (With batch
  norm, where it does make a difference, theirs does so too.)
- ``iterations`` updates, where theirs makes one more and reports the set before it.
- A class with fewer than ``batch_real`` images gives all of them, some twice; theirs fails or takes fewer.
- ``align_corners=True`` in the augmentation's samplers, as torch did when the paper was written.

When not to use it: at one image per class gradient matching is stronger; with networks deeper than ConvNets
``lr_images`` has to fall to 0.1 or 0.01 (the authors' advice).
"""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from condense.augment import dsa
from condense.data import Images
from condense.distillation import ImageMethod, ImageRun, LearnableSet, Recipe, register
from condense.networks import Network, initialise_, network_in_chunks
from condense.protocol import dc_evaluation
from condense.store import ImageSet
from condense.training.step import chunks


@register
@dataclass(frozen=True, kw_only=True)
class DM(ImageMethod):
    """Distribution matching.

    Attributes:
        iterations: Updates of the images, each under a fresh network: 20000 in the paper and the recipes; the
            default is for trying things out.
        lr_images: Learning rate of the pixels; the published settings give it per cell.
        momentum: Of the pixels' SGD.
        batch_real: Real images per class and iteration.
    """

    name = "dm"
    optimizes = True
    through_view = True
    quick = {"iterations": 60, "batch_real": 64}
    remedy = "lower lr_images, as in --param lr_images=0.1"

    iterations: int = 500
    lr_images: float = 0.05
    momentum: float = 0.5
    batch_real: int = 256

    @property
    def needs_real(self) -> bool:
        """It starts from real images."""
        return True

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Algorithm 1 of the paper."""
        syn = LearnableSet.real(train, run)
        optimizer = torch.optim.SGD([syn.images], lr=self.lr_images, momentum=self.momentum)
        size = (run.spec.height, run.spec.width)
        network = run.network().requires_grad_(False)
        describe = partial(self.describe, network)
        for _ in run.steps(self.iterations, {"images": syn.images, "optimizer": optimizer}):
            initialise_(network, run.rng)
            augment = dsa.siamese(run.strategy, size, run.spec.num_classes, run.rng).to(run.device)
            real = augment(train.draw(self.batch_real, run.rng)).flatten(0, 1)
            target = class_means(network_in_chunks(network, describe, real), run.spec.num_classes)
            images = augment(syn.by_class()).flatten(0, 1)
            learned = torch.cat([describe(images[part]) for part in chunks(images, network)])
            loss = (class_means(learned, run.spec.num_classes) - target).square().sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            run.log(loss=loss)
        return run.distilled(syn.images, syn.labels)

    def describe(self, network: Network, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """What of each image is matched in the mean: its features."""
        return network.features(images)


def class_means(rows: Float[Tensor, "n d"], num_classes: int) -> Float[Tensor, "k d"]:
    """The mean of each class's rows, which lie class by class, equally many of each."""
    return rows.view(num_classes, -1, rows.shape[1]).mean(1)


def _recipes() -> dict[tuple[str, int], Recipe]:
    protocol = dc_evaluation(1000, augment="dsa")
    cells = {
        **{("cifar10", ipc): 1.0 for ipc in (1, 10, 50)},
        **{("cifar10", ipc): 10.0 for ipc in (100, 200, 500, 1000, 1250)},
        **{("cifar100", ipc): 1.0 for ipc in (1, 10, 50, 100, 125)},
        **{("mnist", ipc): 1.0 for ipc in (1, 10, 50)},
        **{("tiny-imagenet", ipc): 1.0 for ipc in (1, 10, 50)},
    }
    source = "VICO-UoE/DatasetCondensation, README and defaults of main_DM.py (tiny-imagenet: from memory)"
    return {
        cell: Recipe(method=DM(iterations=20000, lr_images=lr), protocol=protocol, source=source)
        for cell, lr in cells.items()
    }


DM.recipes = _recipes()
