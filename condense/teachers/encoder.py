"""Encoders: networks that are trained without labels, whose features are what other networks learn."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from condense.files import hash_tensors
from condense.networks import Network, features_in_chunks
from condense.training.barlow_twins import Twins

HEAD = "classifier."
"""The start of the names of the tensors that an encoder does not use."""


@dataclass(frozen=True, eq=False)
class Encoder:
    """A frozen encoder, which tells no classes apart.

    Attributes:
        network: The network in evaluation mode; its classifier is not used.
        name: Name of the network.
        hash: SHA-256 of the tensors, without those of the classifier.
        nbytes: Bytes of these tensors.
    """

    network: Network
    name: str
    hash: str
    nbytes: int

    @classmethod
    def of(cls, twins: Twins, name: str) -> "Encoder":
        """Takes the encoder, a network of this name, out of a finished training."""
        network = twins.encoder
        held: Mapping[str, Tensor] = network.state_dict()
        tensors = {
            name: value.cpu().contiguous() for name, value in held.items() if not name.startswith(HEAD)
        }
        size = sum(tensor.nbytes for tensor in tensors.values())
        return cls(network, name, hash_tensors(tensors), size)

    @property
    def dim(self) -> int:
        """Number d of features."""
        return self.network.feature_dim

    @property
    def accuracy(self) -> None:
        """None: it knows no classes."""

    def features(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Returns the features of normalised images, without gradients."""
        return features_in_chunks(self.network, images)
