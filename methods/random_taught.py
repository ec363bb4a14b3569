"""Random images with the outputs of a self-supervised teacher: what methods without labels have to beat.

Training images are drawn at random, whatever their classes. Each is stored, as it is, with the vector that an
encoder trained by Barlow Twins gives for it. This is KRR-ST before its first update (Lee, Lee and Hwang,
Self-Supervised Dataset Distillation for Transfer Learning, ICLR 2024, https://arxiv.org/abs/2310.06511), and
with equal fields and seed the same images and vectors. That such sets are strong was found by Joshi, Ni and
Mirzasoleiman, Dataset Distillation via Knowledge Distillation (MKDT), ICLR 2025,
https://arxiv.org/abs/2410.02116.

Where this differs from their comparison, and why: all methods here are judged by one protocol, and MKDT's
random subsets have a teacher of its own. Images are stored as float32, since distilled ones are.

When not to use it: where there are labels; `random_subset` keeps class ids.
"""

from dataclasses import dataclass

from condense.data import Images
from condense.distillation import ImageRun, SelfSupervised, register
from condense.store import ImageSet


@register
@dataclass(frozen=True, kw_only=True)
class RandomTaught(SelfSupervised):
    """Random images with the targets of a self-supervised teacher."""

    name = "random_taught"
    draws = 3
    quick = {
        "teacher_network": "convnet-w32-bn", "teacher_images": 200, "teacher_epochs": 1,
        "teacher_projector": 32,
    }  # fmt: skip

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Draws the images."""
        encoder = self.encoder(train, run)
        images, targets = self.first(train, run, encoder)
        return self.made(images, targets, encoder, run)
