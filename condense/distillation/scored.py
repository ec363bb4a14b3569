"""Selection of real images by a score of each: what forgetting, EL2N and GraNd have in common.

The scoring networks are experts (`condense.training.experts`): trained on the real images without
augmentation, kept after every epoch, and shared by all runs on the same images.
"""

import hashlib
import io
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.utils import vector_to_parameters

from condense.data import ImageDataset, Images
from condense.distillation.coreset import ImageCoreset, Pick
from condense.distillation.images.run import ImageRun
from condense.distillation.images.sampling import Sampling, altogether
from condense.errors import Remedy
from condense.networks import Network, build_network
from condense.reading import read_file, refused_if_damaged
from condense.training.experts import ExpertTraining

MAX_BYTES = 2**30
"""Largest file of scores that is read, in bytes."""


@dataclass(frozen=True, kw_only=True)
class ScoredCoreset(ImageCoreset):
    """Selection of the images with the highest scores; equal scores are put in order at random.

    Attributes:
        network: Name of the scoring networks, which have no batch norm.
        networks: Number of networks whose scores are averaged.
        epochs: Passes over the training images before a network scores.
        lr: Learning rate of SGD with momentum 0.9 and weight decay 5e-4.
        batch: Images per step.
        keep: Whether the highest or the lowest scores are kept.
        balance: Whether each class gives its share of a fraction; else the scores of all classes compete.
        scores: A .npy file with a score of each training image, in their order, in place of networks. Keys
            hold the hash of the file.
    """

    networks: int = 1
    epochs: int = 10
    lr: float = 0.01
    batch: int = 128
    keep: Literal["highest", "lowest"] = "highest"
    balance: bool = True
    scores: str | None = None

    @abstractmethod
    def score(self, train: Images, run: ImageRun) -> Float[Tensor, " n"]:
        """Returns the scores that the networks give to the training images."""

    def require(
        self, dataset: ImageDataset, ipc: int, counts: Sequence[int] | None = None, *,
        teachers: Mapping[str, Path], cache: Path,
    ) -> None:  # fmt: skip
        """Refuses what `ImageMethod.require` refuses, and classes that compete for a set."""
        super().require(dataset, ipc, counts, teachers=teachers, cache=cache)
        if not self.balance:
            raise self.refused("balance", f"a set of {self.name} has so many images of each class")

    def check(self, dataset: ImageDataset, ipc: int, *, teachers: Mapping[str, Path], cache: Path) -> None:
        """Refuses what `ImageMethod.check` refuses, networks with batch norm, and scores of other images."""
        super().check(dataset, ipc, teachers=teachers, cache=cache)
        spec = dataset.spec
        if build_network(self.network, spec.shape, spec.num_classes, torch.Generator()).mixes_samples:
            raise self.refused("network", "batch norms score the images of a batch together")
        if self.scores is not None and (found := self.read_scores().shape) != (n := len(dataset.train),):
            reason = (
                f"the file holds scores of shape {tuple(found)}, not one for each of the {n} training images"
            )
            raise self.refused("scores", reason)

    def _hashed_config(self) -> dict[str, object]:
        """Returns the settings with the hash of the file of scores in place of its path."""
        config = super()._hashed_config()
        if self.scores is not None:
            config["scores"] = hashlib.sha256(self._file()).hexdigest()
        return config

    def _file(self) -> bytes:
        """Reads the file; refuses the hash that a record holds in place of a path."""
        assert self.scores is not None
        path = Path(self.scores)
        if re.fullmatch("[0-9a-f]{64}", self.scores) and not path.exists():
            reason = "this is the hash of a file of scores, as records hold it, and not a file"
            remedy = Remedy(settings={"params.scores": None}, effect="takes the file itself", command="run")
            raise self.refused("scores", reason, remedy)
        return read_file(path, MAX_BYTES)

    def read_scores(self) -> Float[Tensor, "..."]:
        """Reads the file of scores; refuses one that does not hold finite real numbers."""
        data = self._file()
        with refused_if_damaged(f"{self.scores} is no .npy file of numbers"):
            found = np.load(io.BytesIO(data), allow_pickle=False)
            if found.dtype.kind not in "biuf":
                raise self.refused("scores", f"scores are real numbers, not {found.dtype}")
            values = found.astype(np.float64)
        if not np.isfinite(values).all():
            raise self.refused("scores", "some scores are not finite")
        return torch.from_numpy(values)

    def ranked(self, train: Images, run: ImageRun) -> Int64[Tensor, " n"]:
        """Returns the positions of all images, the first to be kept first, on the CPU."""
        if self.scores is None:
            scores = self.score(train, run).double().cpu()
        else:
            scores = self.read_scores()
            scores = scores if run.kept is None else scores[run.kept]
        shuffled = torch.randperm(len(scores), generator=run.rng)
        return shuffled[scores[shuffled].argsort(descending=self.keep == "highest", stable=True)]

    def pick(self, train: Images, run: ImageRun) -> Pick:
        """Picks the first of each class."""
        ranked = self.ranked(train, run)
        place = torch.empty_like(ranked)
        place[ranked] = torch.arange(len(ranked))
        place = place.to(train.labels.device)
        return lambda members, budget: members[place[members].argsort()[:budget]]

    def sampling(self, train: Images, run: ImageRun) -> Sampling:
        """Picks a fraction of each class, or of all images."""
        if self.balance:
            return super().sampling(train, run)
        return Sampling.of(self.ranked(train, run)[: altogether(train, run)])

    def training(self) -> ExpertTraining:
        """Returns how a scoring network is trained."""
        return ExpertTraining(
            network=self.network, lr=self.lr, momentum=0.9, weight_decay=5e-4, batch=self.batch,
            augment="none",
        )  # fmt: skip

    def shared_trainings(self) -> list[object]:
        """Returns how the scoring networks are trained, unless the scores are read from a file."""
        return [self.training()] if self.scores is None else []

    def snapshots(self, train: Images, run: ImageRun, since: int) -> Iterator[Iterator[Network]]:
        """Yields, for each scoring network, its states after the epochs from one on, one after the other."""
        experts = run.experts(self.training(), self.networks, self.epochs, train)
        network = run.network(self.network)
        network.eval().requires_grad_(False)
        for expert in range(len(experts)):
            yield (_at(network, experts.at(expert, epoch)) for epoch in range(since, self.epochs + 1))

    def errors_and_norms(
        self, train: Images, run: ImageRun
    ) -> Iterator[tuple[Float[Tensor, " n"], Float[Tensor, " n"]]]:
        """Yields, for each scoring network after its last epoch, what `errors_and_norms` returns."""
        for states in self.snapshots(train, run, since=self.epochs):
            for network in states:
                yield errors_and_norms(network, train.images, train.labels)


def _at(network: Network, parameters: Float[Tensor, " p"]) -> Network:
    vector_to_parameters(parameters, network.parameters())
    return network


@torch.no_grad()
def errors_and_norms(
    network: Network, images: Float[Tensor, "n c h w"], labels: Int64[Tensor, " n"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Returns the length of softmax(z) - onehot(y), and that of the features with a 1 for the bias.

    Their product is the norm of the gradient of an image's cross-entropy by the last layer: it is the outer
    product of both vectors.
    """
    errors, norms = [], []
    for x, y in zip(torch.split(images, 256), torch.split(labels, 256), strict=True):
        features = network.features(x)
        wrong = network.classifier(features).softmax(1)
        wrong[torch.arange(len(y), device=y.device), y] -= 1
        errors.append(torch.linalg.vector_norm(wrong, dim=1))
        norms.append((1 + features.square().sum(1)).sqrt())
    return torch.cat(errors), torch.cat(norms)
