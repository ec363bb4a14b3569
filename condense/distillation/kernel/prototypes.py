"""The set that methods of kernel regression learn: images, and a vector of k numbers for each."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from condense.augment import dsa
from condense.data import Images
from condense.distillation.images.learnable import LearnableSet
from condense.distillation.images.run import ImageRun
from condense.store.targets import Features


class Prototypes:
    """Images and label vectors that are learned together, from real images and their centred classes on.

    Args:
        train: The training images.
        run: The run, whose generator draws the first images.
        flip: Whether each image is joined by its mirror image, with the same vector; None joins them where
            the data's augmentation mirrors images.
        divisor: What the first vectors are divided by.

    Attributes:
        syn: The images.
        values: The vectors, (n, k), a leaf tensor like the images.
        flip: Whether there are mirror images.
    """

    def __init__(self, train: Images, run: ImageRun, *, flip: bool | None, divisor: float = 1.0) -> None:
        self.syn = LearnableSet.real(train, run)
        self.flip = dsa.has_flip(run.strategy) if flip is None else flip
        self.values = (centred(self.syn.labels, run.spec.num_classes) / divisor).requires_grad_()

    @property
    def leaves(self) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n k"]]:
        """The two tensors that are learned."""
        return self.syn.images, self.values

    def seen(self) -> tuple[Float[Tensor, "s c h w"], Features]:
        """Returns the images through the method's view, and their vectors, without mirror images."""
        images, labels = self.syn.all()
        return images, Features(self.values.repeat(self.syn.view.copies, 1), labels, 0.5)

    def all(self) -> tuple[Float[Tensor, "m c h w"], Float[Tensor, "m k"]]:
        """Returns the images and vectors that predict others: those of `seen`, mirrored too if `flip`."""
        images, target = self.seen()
        if not self.flip:
            return images, target.values
        return torch.cat([images, images.flip(-1)]), target.values.repeat(2, 1)


def centred(labels: Int[Tensor, " n"], k: int) -> Float[Tensor, "n k"]:
    """Returns the one-hot vectors of some classes, minus 1 / k."""
    return one_hot(labels.long(), k).float() - 1 / k


def margin(values: Float[Tensor, "n k"], most: float) -> Float[Tensor, ""]:
    """Returns how far the largest number of a vector lies above the second, at most `most`, on average."""
    top = values.topk(2, dim=1).values
    return (top[:, 0] - top[:, 1]).clamp(max=most).mean()


def real_batch(
    train: Images, size: int, generator: torch.Generator
) -> tuple[Float[Tensor, "b c h w"], Int[Tensor, " b"]]:
    """Draws training images of all classes, each at most once, and their classes.

    Args:
        train: The training images.
        size: Number of images; all of them if there are fewer.
        generator: A CPU generator.
    """
    chosen = torch.randperm(len(train), generator=generator)[:size].to(train.labels.device)
    return train.images[chosen], train.labels[chosen]
