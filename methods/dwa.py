"""DWA: SRe2L from real images, each pass through a network of its own, moved to where it knows them less.

Du, Zhang, Hu, Huang and Zhou: Diversity-Driven Synthesis: Enhancing Dataset Distillation through Directed
Weight Adjustment, NeurIPS 2024, https://arxiv.org/abs/2409.17612; authors' code
AngusDujw/Diversity-Driven-Synthesis at c5b125f, ``distillation/distillation_*.py`` and ``perterb.py``. All
passes of SRe2L invert one network, and their images are much alike. Here a pass starts from real images, one
of each class; some steps uphill on their loss move the network's weights, by ``radius`` at most; then the
pass goes on as SRe2L's does, with more weight on the variances. Labels come from the network as it was.

Where this differs from the authors' code, and why (as SRe2L does, besides):

- Each block of classes starts from the network as it was. Theirs loads it once a pass, so on ImageNet-1K the
  ten blocks of a pass add their steps up, to ten times the radius at most.
- The uphill steps' gradients of the pixels are not used. Theirs leaves them, ``steps`` of them, in the first
  update of the images.
- The weights get no gradient after the uphill steps. Theirs computes one in each iteration and drops it.
- A pass starts from a random image of each class; theirs on Tiny-ImageNet from the k-th file of each folder.
- On CIFAR-10 theirs trains the network under one normalisation and inverts it under another. On Tiny-ImageNet
  its code does not run (no branch for its constants); the recipe is what its script asks for, with the
  CutMix that its evaluation turns on by default.

When not to use it: at one image per class, where nothing is to be told apart; where SRe2L should not be used.
Passes cannot share a forward, so on a GPU small images take longer than SRe2L's.
"""

import copy
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from condense.distillation import Recipe, register
from condense.distillation.inversion.invert import Adjust
from condense.networks import Network

from .sre2l import SRe2L, cifar_protocol, tiny_protocol


@register
@dataclass(frozen=True, kw_only=True)
class DWA(SRe2L):
    """Inversion of a trained network with directed weight adjustment.

    Attributes:
        variance_weight: Weight of the variances among the statistics, beside the means' 1.
        init: ``real``, or ``noise``.
        steps: Uphill steps of the weights; 0 leaves them.
        radius: Length of all of them together.
    """

    name = "dwa"
    may_be_zero = SRe2L.may_be_zero | {"steps"}

    variance_weight: float = 11.0
    init: str = "real"
    steps: int = 12
    radius: float = 0.015

    def adjust(self) -> Adjust | None:
        """The uphill steps."""
        return partial(adjusted, steps=self.steps, radius=self.radius) if self.steps else None


def adjusted(
    network: Network,
    images: Float[Tensor, "b c h w"],
    labels: Int[Tensor, " b"],
    *,
    steps: int,
    radius: float,
) -> Network:
    """A copy of a network, moved uphill on its loss: w + (radius / steps) g / ||g||, step after step.

    Args:
        network: In evaluation mode; left as it is, and so are the running statistics.
        images: What the loss is of.
        labels: Their classes.
        steps: How often.
        radius: How far in all, as the Euclidean norm over all parameters.

    Returns:
        In evaluation mode, frozen.
    """
    moved = copy.deepcopy(network).eval().requires_grad_(True)
    weights = list(moved.parameters())
    for _ in range(steps):
        loss = cross_entropy(moved(images), labels)
        gradients = torch.autograd.grad(loss, weights, materialize_grads=True)
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.add_(gradient * (radius / steps / (norm + 1e-12)))
    return moved.requires_grad_(False)


def _recipes() -> dict[tuple[str, int], Recipe]:
    cifar = DWA(
        network="resnet18-bn", teacher="trained", iterations=1000, lr_images=0.25, bn_weight=0.01, roll=4,
        encode="jpeg",
    )  # fmt: skip
    tiny = DWA(
        network="resnet18-bn", teacher="trained", teacher_epochs=100, teacher_lr=0.2, teacher_batch=256,
        iterations=2000, lr_images=0.1, bn_weight=0.01, crop_min=0.08, flip=True, roll=4, block=200,
        encode="jpeg",
    )  # fmt: skip
    source = "AngusDujw/Diversity-Driven-Synthesis, scripts/run_{}.sh"
    recipes = {
        (name, ipc): Recipe(method=cifar, protocol=cifar_protocol(), source=source.format("cifar"))
        for name in ("cifar10", "cifar100")
        for ipc in (10, 50)
    }
    protocol = tiny_protocol(epochs=200, batch=64, cutmix=1.0)
    return recipes | {
        ("tiny-imagenet", ipc): Recipe(method=tiny, protocol=protocol, source=source.format("tiny"))
        for ipc in (50, 100)
    }


DWA.recipes = _recipes()
