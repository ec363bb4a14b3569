"""DWA: SRe2L from real images, each pass with its own teacher, whose weights are moved away from them.

Du, Zhang, Hu, Huang and Zhou: Diversity-Driven Synthesis: Enhancing Dataset Distillation through Directed
Weight Adjustment, NeurIPS 2024, https://arxiv.org/abs/2409.17612; authors' code
AngusDujw/Diversity-Driven-Synthesis at c5b125f, ``distillation/distillation_*.py`` and ``perterb.py``. All
passes of SRe2L invert the same network, and their images are much alike. Here each pass starts from real
images, one of each class. A few gradient ascent steps on their loss move the teacher's weights by at most
``radius``. The pass then inverts the moved network as SRe2L does, with more weight on the variances. Labels
come from the original teacher. DWA is SRe2L (`methods.sre2l`) with one step overridden, `DWA.pass_network`.

Where this differs from the authors' code, and why, beside the points in which SRe2L differs:

- The ascent of each block of classes starts from the original teacher. The authors load the teacher once a
  pass, so that on ImageNet-1K the ten blocks of a pass move it by up to ten times the radius.
- The pixels' gradients of the ascent steps are not used. The authors leave them, ``steps`` of them, in the
  first update of the images.
- The weights get no gradient after the ascent. The authors compute one in each iteration and drop it.
- A pass starts from a random image of each class. On Tiny-ImageNet the authors take the k-th file of each
  folder.
- On CIFAR-10 the authors train the teacher under one normalisation and invert it under another. Their code
  for Tiny-ImageNet does not run, because it lacks that dataset's constants; the recipe has the settings of
  their script, and CutMix, which their evaluation applies by default.

When not to use it: at one image per class, where there is nothing to diversify; and wherever SRe2L should not
be used. Passes cannot share a forward pass, so that small images take longer than with SRe2L on a GPU.
"""

import copy
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from condense.distillation import register
from condense.distillation.inversion.invert import PassNetwork
from condense.distillation.inversion.protocols import CIFAR, TINY, cifar_protocol, tiny_protocol
from condense.distillation.method import recipes
from condense.networks import Network

from .sre2l import SRe2L


@register
@dataclass(frozen=True, kw_only=True)
class DWA(SRe2L):
    """Inversion of a trained network with directed weight adjustment; other fields are those of `SRe2L`.

    Attributes:
        variance_weight: Weight of the variances within the BN statistics; the means have the weight 1.
        init: Initial images: ``real`` (random real images), or ``noise``.
        steps: Number of gradient ascent steps of the weights; 0 leaves them as they are.
        radius: Total length of the ascent steps.
    """

    name = "dwa"
    may_be_zero = SRe2L.may_be_zero | {"steps"}

    variance_weight: float = 11.0
    init: Literal["noise", "real"] = "real"
    steps: int = 12
    radius: float = 0.015

    def pass_network(self) -> PassNetwork | None:
        """Returns the function that adjusts the teacher's weights for a pass."""
        return partial(adjusted, steps=self.steps, radius=self.radius) if self.steps else None


def adjusted(
    network: Network,
    images: Float[Tensor, "b c h w"],
    labels: Int[Tensor, " b"],
    *,
    steps: int,
    radius: float,
) -> Network:
    """Returns a frozen copy of a network after gradient ascent on the cross-entropy of some images.

    Each step is w <- w + (radius / steps) g / ||g||, where the norm is taken over all parameters.

    Args:
        network: In evaluation mode, as its copy is; it does not change.
        images: The images.
        labels: Their classes.
        steps: Number of steps.
        radius: Total length of the steps.
    """
    # deviation: each call starts from the teacher; the authors' blocks of a pass add up on ImageNet
    moved = copy.deepcopy(network).eval().requires_grad_(True)
    weights = list(moved.parameters())
    for _ in range(steps):
        loss = cross_entropy(moved(images), labels)
        # deviation: gradients of the weights alone; the authors' remain in the pixels' gradient as well
        gradients = torch.autograd.grad(loss, weights, materialize_grads=True)
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.add_(gradient * (radius / steps / (norm + 1e-12)))
    return moved.requires_grad_(False)


DWA.recipes = recipes(
    DWA,
    "",
    {("cifar10", 10): (), ("cifar10", 50): (), ("cifar100", 10): (), ("cifar100", 50): ()},
    source="AngusDujw/Diversity-Driven-Synthesis, scripts/run_cifar.sh",
    protocol=cifar_protocol(), **CIFAR,
) | recipes(
    DWA,
    "",
    {("tiny-imagenet", 50): (), ("tiny-imagenet", 100): ()},
    source="AngusDujw/Diversity-Driven-Synthesis, scripts/run_tiny.sh",
    protocol=tiny_protocol(epochs=200, batch=64, cutmix=1.0),
    teacher_epochs=100, iterations=2000, lr_images=0.1, bn_weight=0.01, block=200, **TINY,
)  # fmt: skip
