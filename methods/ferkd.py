"""FerKD: stored labels of crops, unreliable ones replaced by smoothed class ids, and crops mixed by image.

Shen: FerKD: Surgical Label Adaptation for Efficient Distillation, ICCV 2023,
https://arxiv.org/abs/2312.17473; authors' repository szq0214/FKD, folder ``FerKD``. It is FKD (`FKD` has the
loop, the storage and the settings) with two changes. A teacher's label of a crop that shows little of the
object tells students about the background: where the teacher is not confident, the label is replaced by the
class of the image, smoothed. And crops are mixed with other crops of the same image (SelfMix), so that a
mixed view still has one class.

The authors' repository holds a table and no code of the mining, the calibration or the mixture. What it
leaves open are fields, whose defaults are this library's: ``reliable`` and ``confidence`` (which crops keep
their label), ``smoothing`` (what the others get), ``cutmix`` and ``crops`` (how often a view is mixed, and
with how many crops). The crops have FKD's scale, and the labels its temperature of 1.

Where this differs from the paper, and why:

- It sorts crops into easy, hard and background ones, and treats only hard ones; here there is one threshold.
- A mixed view is labelled by the teacher as it is. Its two parts have the same class, so that the replaced
  label is the same, whatever their shares.
- The images are those of a set, and each view is stored where it is seen: see `FKD`.

When not to use it: see `FKD`; where images are so small that every crop shows the object, since the teacher's
doubt is then about the class and worth learning; with images that were made, whose class ids are no better
than the teacher's labels.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import one_hot

from condense.distillation import register

from .fkd import FKD


@register
@dataclass(frozen=True, kw_only=True)
class FerKD(FKD):
    """Stored labels of crops, calibrated by the class of the image.

    Attributes:
        reliable: Probability from which on a label is kept as the teacher gave it.
        confidence: Whether that is the probability of the image's class (``truth``) or of the likeliest one
            (``largest``).
        smoothing: Probability that a replaced label spreads over all classes; its class has the rest.
    """

    name = "ferkd"
    added = frozenset()

    crop: Literal["crop-flip", "resized"] = "resized"
    temperature: float = 1.0
    form: Literal["logits", "hard", "smoothing", "marginal-smoothing", "marginal-renorm", "full"] = "full"
    crop_max: float = 0.936
    crops: int = 4
    partners: Literal["any", "same"] = "same"
    reliable: float = 0.3
    confidence: Literal["truth", "largest"] = "truth"
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        """Refuses what `FKD` refuses, values that are no probabilities, and mixtures of two classes."""
        super().__post_init__()
        for field in ("reliable", "smoothing"):
            if getattr(self, field) > 1:
                raise self.refused(field, "a probability is at most 1")
        if self.partners == "any" and (self.cutmix or self.mixup):
            raise self.refused(
                "partners", "a view of two images has no one class that could replace its label"
            )
        if self.form == "logits" and not self.smoothing:
            raise self.refused("smoothing", "a class without any probability has no logit that can be stored")

    def labels(self, logits: Float[Tensor, "b k"], classes: Int64[Tensor, " b"]) -> Float[Tensor, "b k"]:
        """Returns the labels of views with the unreliable ones replaced, as logits if these are stored."""
        given = (logits / self.temperature).softmax(1)
        replaced = smoothed(classes, logits.shape[1], self.smoothing)
        sure = (
            given.max(1).values if self.confidence == "largest" else given[torch.arange(len(given)), classes]
        )
        if self.form == "logits":
            given, replaced = logits, self.temperature * replaced.log()
        return torch.where((sure >= self.reliable)[:, None], given, replaced)


def smoothed(classes: Int64[Tensor, " b"], k: int, share: float) -> Float[Tensor, "b k"]:
    """Returns labels that spread a share over all k classes and give the rest to their own."""
    return one_hot(classes, k) * (1 - share) + share / k
