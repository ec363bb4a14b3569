"""Projectors: frozen encoders with low-rank adapters, whose logits are the labels of any view of an image.

"Heavy Labels Out! Dataset Distillation with Label Space Lightening", ICCV 2025,
https://arxiv.org/abs/2408.08201; what is stored of one is `condense.store.images.projection.Projection`. An
encoder is a `condense.teachers.Teacher`: a network of this suite that tells the dataset's classes apart. Its
convolutions and linear layers are adapted, the classifier (the head) with a rank of its own. While it labels,
the adapters are merged into the weights, which costs no more than the encoder itself.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from jaxtyping import Float
from torch import Tensor, nn

from condense.errors import Refused
from condense.networks import Network, network_in_chunks
from condense.store import ImageSet
from condense.store.images.projection import Adapted, Projection, factors
from condense.teachers.pinned import find_teacher
from condense.teachers.teacher import Teacher


def adapters(network: Network, rank: int, head_rank: int | None) -> tuple[Adapted, ...]:
    """Returns the weights of an encoder that are adapted: all convolutions and linear layers, the head last.

    Args:
        network: The encoder's network.
        rank: Rank of the adapters of all layers but the head; 0 leaves them as they are.
        head_rank: Rank of the head's; 0 leaves it as it is, None stores it whole.
    """
    layers = [one for one in network.named_modules() if isinstance(one[1], nn.Conv2d | nn.Linear)]
    layers.sort(key=lambda one: one[1] is network.classifier)
    found = []
    for name, layer in layers:
        own, weight = (
            head_rank if layer is network.classifier else rank,
            network.get_parameter(f"{name}.weight"),
        )
        if own != 0:
            found.append(Adapted(name, len(weight), weight[0].numel(), own))
    return tuple(found)


def start(
    network: Network, adapted: Sequence[Adapted], generator: torch.Generator, *, own_head: bool = True
) -> Float[Tensor, " p"]:
    """Returns the numbers with which training starts: a projector that equals its encoder.

    A is drawn from U(-b, b) with b = 1 / sqrt(r), and B is 0. A head that is stored whole is the encoder's.

    Args:
        network: The encoder's network.
        adapted: The weights that are adapted.
        generator: A CPU generator.
        own_head: Whether a whole head is the encoder's own; otherwise it is 0.
    """
    numbers = torch.zeros(sum(one.numbers for one in adapted))
    for one, (left, right) in zip(adapted, factors(adapted, numbers).values(), strict=True):
        if one.rank is not None:
            drawn = torch.rand(left.shape, generator=generator)
            left.copy_((2 * drawn - 1) / math.sqrt(one.rank))
        elif own_head:
            layer = network.get_submodule(one.name)
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            left.copy_(layer.weight.detach().flatten(1))
            right.copy_(layer.bias.detach() if layer.bias is not None else torch.zeros(one.rows))
    return numbers.to(network.classifier.weight.device)


def merged(
    network: Network, adapted: Sequence[Adapted], numbers: Float[Tensor, " p"]
) -> dict[str, Float[Tensor, "..."]]:
    """Returns the parameters of an encoder that adapters change, by name; differentiable in the numbers."""
    known = dict(network.named_parameters())
    found: dict[str, Tensor] = {}
    for one, (left, right) in zip(adapted, factors(adapted, numbers).values(), strict=True):
        weight = known[f"{one.name}.weight"].detach()
        if one.rank is None:
            found |= {f"{one.name}.weight": left.view_as(weight), f"{one.name}.bias": right}
        else:
            found[f"{one.name}.weight"] = weight + (left @ right).view_as(weight)
    return found


@dataclass(frozen=True, eq=False)
class Projector:
    """A frozen encoder with its adapters.

    Attributes:
        network: The network with merged weights, in evaluation mode and frozen.
    """

    network: Network

    @classmethod
    def of(cls, encoder: Teacher, projection: Projection) -> "Projector":
        """Merges stored adapters into a copy of an encoder.

        Raises:
            Refused: if they are the adapters of another network.
        """
        parameters = dict(encoder.network.named_parameters())
        for one in projection.adapted:
            weight = parameters.get(f"{one.name}.weight")
            found = None if weight is None else (len(weight), weight[0].numel() if weight.ndim > 1 else 0)
            whole = one.rank is not None or f"{one.name}.bias" in parameters
            if found != (one.rows, one.columns) or not whole:
                has = "has no such weight" if found is None else f"has one of {found[0]} x {found[1]}"
                raise Refused(
                    f"the adapters are of another network: they change the weight {one.name!r} of {one.rows} "
                    f"x {one.columns}, and the encoder, a {encoder.name}, {has}"
                )
        network = copy.deepcopy(encoder.network)
        device = network.classifier.weight.device
        numbers = projection.numbers.to(device, torch.float32)
        with torch.no_grad():
            for name, value in merged(encoder.network, projection.adapted, numbers).items():
                network.get_parameter(name).copy_(value)
        return cls(network)

    @classmethod
    def of_set(cls, made: ImageSet, encoder: Teacher | None = None) -> "Projector":
        """Merges the adapters that a set stores into its encoder.

        Args:
            made: A set whose labels are projected.
            encoder: Its encoder; None finds it among the teachers that are shipped, pinned or kept here.

        Raises:
            Refused: if the set stores none, or the encoder is not here, another one or one of other classes.
        """
        if (projection := made.projection) is None:
            raise Refused(f"the labels of this set are {made.content['label']['kind']}, not projected")
        named = made.content["teacher"]["hash"]
        encoder = encoder or find_teacher(named, made.device)
        if encoder.hash != named:
            reason = f"this is the encoder {encoder.hash[:8]}, and the set's labels are those of {named[:8]}"
            raise Refused(reason)
        pairs = zip_longest(encoder.classes, made.content["dataset"]["classes"])
        for place, (theirs, ours) in enumerate(pairs):
            if theirs != ours:
                raise Refused(
                    f"the labels are those of another dataset: class {place} of the encoder {named[:8]} is "
                    f"{theirs!r}, and that of the set {ours!r}"
                )
        return cls.of(encoder, projection)

    def logits(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Returns the labels of images, in float32 and without gradients.

        Args:
            images: Images normalised by the dataset's mean and standard deviation, on the network's device.
        """
        return network_in_chunks(self.network, self.network, images)


def projected(made: ImageSet, encoder: Teacher | None = None) -> ImageSet:
    """Returns a set that gives each image with its label: the logits of the image as it is, not augmented.

    Arguments and refusals are those of `Projector.of_set`.
    """
    return made.projected_by(Projector.of_set(made, encoder).logits)
