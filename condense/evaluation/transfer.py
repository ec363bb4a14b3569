"""Students that are trained on a set, then on other data, and tested there.

Between the two parts a student's last layer is replaced: the others keep what they have learned from the set.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import nn

from condense.data import ImageDataset, Images, ImageSpec
from condense.evaluation.student import ImageSource, Score, Student, WholeImages, fit, require_batches
from condense.networks import Network, build_network, drawn, features_in_chunks
from condense.protocol import Protocol
from condense.resources import Machine
from condense.store import ImageSet
from condense.training.loop import Loop
from condense.training.step import accuracy


@dataclass(frozen=True, kw_only=True, eq=False)
class TransferStudent(Student[Network]):
    """Students of images of one dataset, after a training on a set of another.

    Attributes:
        source: What they are trained on first, in the evaluation space and on the device of the test images;
            None for nothing.
        first: How they are trained on it.
        outputs: Number of outputs of their last layer until then.
        spec: The description of the dataset that the source was made of.
        target: The training images of the other dataset, normalised, of the shape of the source's.
        target_spec: Their description.
        test: The test images of that dataset. They are read after the last step.
    """

    source: ImageSource | None
    first: Protocol
    outputs: int
    spec: ImageSpec
    target: Images
    target_spec: ImageSpec
    test: Images

    @classmethod
    def of(
        cls,
        made: ImageSet | None,
        data: ImageDataset,
        target: ImageDataset,
        protocol: Protocol,
        network: str,
        machine: Machine,
    ) -> Self:
        """Returns the student of a set.

        Args:
            made: The set; None for a student without a first part.
            data: The dataset that it was made of.
            target: The other dataset, of the same shape.
            protocol: A protocol with `Protocol.tune`.
            network: Name of the network.
            machine: The device, and the time limit.
        """
        device, first, outputs = machine.device, protocol, target.spec.num_classes
        source = None
        if made is not None:
            stored = data.space(made.content["pixels"]["space"])
            source = made.with_space(stored).in_space(data.space("normalized")).to(device)
            outputs = made.num_classes
            if made.features is not None and protocol.regress is not None:
                first, outputs = protocol.of_part(protocol.regress), made.features.shape[1]
        space = target.space("normalized").to(device)
        return cls(
            network=network,
            protocol=protocol,
            budget=machine.budget,
            source=source,
            first=replace(first, tune=None, regress=None),
            outputs=outputs,
            spec=data.spec,
            target=target.train.to(device).in_space(space),
            target_spec=target.spec,
            test=target.test.to(device).in_space(space),
        )

    @property
    def device(self) -> torch.device:
        return self.test.images.device

    def check(self) -> None:
        """Refuses a network that cannot be trained on the batches of one of the two parts."""
        assert self.protocol.tune is not None
        if self.source is not None:
            require_batches(self, self.spec.shape, len(self.source), self.first)
        if not self.protocol.tune.frozen:
            second = self.protocol.of_part(self.protocol.tune)
            require_batches(self, self.spec.shape, len(self.target), second)

    def build(self, rng: torch.Generator) -> Network:
        return build_network(self.network, self.spec.shape, self.outputs, rng, self.device)

    def train(self, network: Network, loop: Loop, curve: object = None) -> Network:
        """Trains a network on the source, replaces its last layer and trains it on the target."""
        assert curve is None and self.protocol.tune is not None
        if self.source is not None:
            fit(network, self.source, self.first, self.spec, loop, "train on the set")
        second = self.protocol.of_part(self.protocol.tune)
        k, d = self.target_spec.num_classes, network.feature_dim
        head = drawn(lambda: Network(nn.Sequential(), d, k), loop.rng, self.device)
        network.classifier = head.classifier
        if not self.protocol.tune.frozen:
            fit(network, WholeImages(self.target), second, self.target_spec, loop, last=True)
            return network
        network.eval()
        features = features_in_chunks(network, self.target.images)[:, :, None, None]
        fit(
            head,
            WholeImages(replace(self.target, images=features)),
            second,
            self.target_spec,
            loop,
            last=True,
        )
        return network

    def score(self, network: Network) -> Score:
        return Score(accuracy(network, self.test.images, self.test.labels))
