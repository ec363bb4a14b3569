"""RS2: each epoch of a student's training takes a fresh random subset of the training images.

Okanovic et al.: Repeated Random Sampling for Minimizing the Time-to-Accuracy of Learning, ICLR 2024,
https://arxiv.org/abs/2305.18424; authors' code PatrikOkanovic/RS2 at 99edfc8. No set is made or stored. A
student takes as many steps as one that is trained on a fixed subset of the same size, and the learning rate
falls over these steps (``prune-v1``), but over the epochs the student sees the whole training set: its record
counts these bytes.

By a fraction, an epoch takes a fraction of all images, whatever their classes, and no image comes again
before all have come, as in the authors' study of data pruning. By IPC, it takes as many images of each
class as a distilled set holds, drawn anew for each epoch, as in the authors' comparison with distillation
(``scripts/run_dataset_distillation.sh``), here under the protocol of the distilled set.

Where this differs from the authors' code, and why:

- Without replacement, an order of the images that ends in the middle of an epoch is followed by the next
  order. The authors' sampler goes on at the head of the same order, with one image less
  (``uniform_no_replacement.py``, line 31), and starts the next epoch with a new order: where the size of the
  subset does not divide the number of images, some are seen less often than others.
- An epoch's smaller last batch is trained on. The authors drop it for this sampler alone, so that of 500
  images of CIFAR-10 only 384 are used in an epoch.
- The validation part of the training images is never trained on (`condense.training.validation`). The authors
  state the best of all epochs on test images; here the last epoch counts.

When not to use it: where a student may not see the whole training set, such as in place of a distilled set
that is sent or kept; as a measure of what a fixed subset holds.
"""

from dataclasses import dataclass

import torch

from condense.data import Images
from condense.distillation import ImageMethod, ImageRun, Sampling, register
from condense.distillation.images.sampling import Rounds, altogether, by_class
from condense.distillation.method import recipes
from condense.protocol import BY_STEPS, PUBLISHED, Protocol, Stage


def comparison(batch: int) -> Protocol:
    """Returns the evaluation of the authors' comparison with distillation: 1000 epochs.

    An epoch is one batch, but on Tiny-ImageNet 10 batches at IPC 10 and 34 at IPC 50.

    Args:
        batch: Images in a batch.
    """
    return Protocol(
        name=PUBLISHED, lr=0.01, batch=batch, stages=(Stage(epochs=1000),), augment="crop-flip", seeds=3,
        schedule=BY_STEPS, floor=1e-4, nesterov=True,
    )  # fmt: skip


@register
@dataclass(frozen=True, kw_only=True)
class RS2(ImageMethod):
    """Training on a fresh random subset in each epoch; no set is stored. It works with no network.

    Attributes:
        replacement: Whether an image may come again before all others have come; None for the authors'
            choice: by IPC yes, by a fraction no.
        stratified: Whether each class gives its share of every epoch; None for the authors' choice: with
            ``ipc`` yes, with a fraction no.
    """

    name = "rs2"
    draws = 10
    keeps_real = True
    stores = False
    trains = True

    replacement: bool | None = None
    stratified: bool | None = None

    def sampling(self, train: Images, run: ImageRun) -> Sampling:
        """Returns the subsets of all epochs."""
        usual = run.fraction is None
        replacement = usual if self.replacement is None else self.replacement
        stratified = usual if self.stratified is None else self.stratified
        if stratified:
            groups = [train.of_class(label).cpu() for label in range(train.num_classes)]
            counts = by_class(train, run)
        else:
            groups, counts = [torch.arange(len(train))], (altogether(train, run),)
        return Sampling(sum(counts), Rounds(groups, counts, replacement, run.seed))


_BATCHES = {
    "cifar10": {1: 10, 10: 100, 50: 500},
    "cifar100": {1: 100, 10: 1000, 50: 5000},
    "tiny-imagenet": {1: 200, 10: 200, 50: 300},
}

RS2.recipes = recipes(
    RS2,
    "protocol",
    {(data, ipc): (comparison(batch),) for data, sizes in _BATCHES.items() for ipc, batch in sizes.items()},
    source="PatrikOkanovic/RS2 at 99edfc8, scripts/run_dataset_distillation.sh",
)
