"""Selection of real images by their features, class by class: what the coreset methods share."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from condense.data import Images
from condense.distillation.images.run import ImageRun
from condense.networks import features_in_chunks
from condense.store import ImageSet
from condense.training.pretrained import feature_extractor

Rule = Callable[[Float[Tensor, "n d"], int], Int[Tensor, " budget"]]
"""From the features of one class's images and a budget to the indices of the picks."""


def select_by_features(train: Images, run: ImageRun, network: str, rule: Rule) -> ImageSet:
    """Picks ``run.ipc`` images of each class by a rule, in the features of the pinned network.

    Args:
        train: The images to pick from.
        run: Gives the network, trained on all of them.
        network: Its name.
        rule: Sees one class at a time.
    """
    extractor = run.pretrained(feature_extractor(network), train)
    picked = []
    for label in range(run.spec.num_classes):
        indices = train.of_class(label)
        picked.append(indices[rule(features_in_chunks(extractor, train.images[indices]), run.ipc)])
    return run.selected(train, torch.cat(picked))
