"""What a method may ask of its surroundings."""

import copy
import math
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from condense.data import DatasetSpec, PixelSpace, Split
from condense.data.pixels import affine
from condense.distill.experts import Experts, ExpertTraining, experts
from condense.distill.loop import Loop, State
from condense.distill.method import Method, Recipe
from condense.distill.trained import Training, trained, untrained
from condense.distill.view import Plain, Through, View
from condense.files import digest
from condense.measure import Budget, device_name, versions
from condense.networks import Network, build
from condense.store import Content, DistilledSet
from condense.store.decode import MultiFormation
from condense.store.manifest import Hints, Link, Pixels


class Run:
    """A method's surroundings. It holds no test data.

    Attributes:
        spec: The dataset's description.
        ipc: Images per class to make.
        rng: The one source of randomness, on the CPU; draws are moved to the device.
        device: Where to compute.
        space: The method's pixel space.
        view: What the synthetic set looks like to the method.
        strategy: The operations that it augments with (`condense.augment.dsa`): the dataset's.
        cache: Folder for what is shared between runs.
    """

    def __init__(
        self,
        method: Method,
        *,
        spec: DatasetSpec,
        space: PixelSpace,
        train_hash: str,
        ipc: int,
        seed: int,
        recipe: Recipe | None,
        device: torch.device,
        budget: Budget,
        cache: Path,
    ) -> None:
        self.spec, self.space, self.ipc = spec, space, ipc
        self.device, self.cache = device, cache
        self.view: View = Plain()
        self.strategy = spec.dsa
        self.rng = torch.Generator().manual_seed(seed)
        self._normalized = affine("normalized", spec.mean, spec.std).to(device)
        self._method, self._recipe, self._seed = method, recipe, seed
        self._train_hash, self._budget = train_hash, budget
        self._key = run_key(method, train_hash, ipc, seed)
        self._loop = Loop(
            cache / "runs" / self._key[:32],
            self.rng,
            device=device,
            budget=budget,
            title=f"{method.title} on {spec.name}",
            remedy=method.remedy,
        )

    def steps(self, n: int, state: State, phase: str = "distil") -> Iterator[int]:
        """The loop of a method: see `condense.distill.loop.Loop.steps`."""
        return self._loop.steps(n, state, phase)

    def log(self, **values: Tensor | float) -> None:
        """Notes a step's loss and the like: see `condense.distill.loop.Loop.log`."""
        self._loop.log(**values)

    def seen(self, view: View, *, strategy: str | None = None) -> "Run":
        """The same run for a method within a wrapper.

        Args:
            view: What the wrapper shows of the set, ahead of what is seen already.
            strategy: What to augment with; None leaves it.
        """
        inner = copy.copy(self)
        inner.view = Through(view, self.view)
        inner.strategy = strategy or self.strategy
        return inner

    def warn(self, sentence: str) -> None:
        """Says something on standard error that does not keep the run from going on."""
        print(f"warning: {sentence}", file=sys.stderr, flush=True)

    def normalize(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Raw pixels as students see them: minus the dataset's mean, by its standard deviation."""
        return self._normalized.encode(images)

    def network(self, name: str | None = None) -> Network:
        """A fresh network, drawn from the run's generator, in training mode (default: the method's)."""
        name = name or self._method.network
        return build(name, self.spec.shape, self.spec.num_classes, self.rng, self.device)

    def trained(self, training: Training, train: Split) -> Network:
        """A network trained on real data: from the cache, or trained now. Its cost counts as the run's."""
        before = self._loop.seconds
        self._loop.keep_peak()
        found = trained(training, train, self.spec, self.space.name, cache=self.cache, budget=self._budget)
        self._loop.charge(found.seconds, self._loop.seconds - before)
        return found.network

    def experts(self, training: ExpertTraining, count: int, epochs: int, train: Split) -> Experts:
        """Networks trained on real data with a snapshot of each epoch, like `trained`: see `Experts`."""
        before = self._loop.seconds
        self._loop.keep_peak()
        found = experts(
            training, count, epochs, train, self.spec, self.space.name,
            cache=self.cache, budget=self._budget, say=partial(print, file=sys.stderr, flush=True),
        )  # fmt: skip
        self._loop.charge(found.seconds, self._loop.seconds - before)
        return found

    def untrained(self, training: Training) -> Network:
        """The network that a training starts from, in evaluation mode and frozen like what it ends with."""
        return untrained(training, self.spec, self.device)

    def distilled(
        self,
        images: Float[Tensor, "n c h w"],
        labels: Int[Tensor, " n"],
        *,
        soft: Float[Tensor, "n k"] | None = None,
        lr: float | None = None,
        augment: str = "dsa",
        decode: Sequence[MultiFormation] = (),
        rollbacks: int | None = None,
    ) -> DistilledSet:
        """The finished set, from images in the method's pixel space.

        Args:
            images: As they shall be stored.
            labels: Class ids.
            soft: Learned label probabilities.
            lr: A learned learning rate for students (a training hint).
            augment: The augmentation that the set was learned for (a training hint).
            decode: Steps from a stored image to those that students train on.
            rollbacks: Steps that were taken back on the way, where that is counted.
        """
        hints: Hints = {"lr": lr, "augment": augment}
        if rollbacks is not None:
            hints["rollbacks"] = rollbacks
        return self._set(images, labels, self.space, soft, hints, decode)

    def selected(self, train: Split, indices: Int[Tensor, " n"]) -> DistilledSet:
        """The finished set, from real images: stored as the bytes that they were loaded as.

        A whitened method's are stored whitened, so that students see them as they see its table's other sets.

        Args:
            train: The images that the method was given.
            indices: Which of them to keep, class-major.
        """
        images, labels = train.images[indices], train.labels[indices]
        if self.space.name == "zca":
            return self.distilled(images, labels)
        raw = (self.space.decode(images) * 255).round().clamp(0, 255).to(torch.uint8)
        space = affine("raw", self.spec.mean, self.spec.std)
        return self._set(raw, labels, space, None, {"lr": None, "augment": "dsa"}, ())

    def _set(
        self,
        images: Num[Tensor, "n c h w"],
        labels: Int[Tensor, " n"],
        space: PixelSpace,
        soft: Float[Tensor, "n k"] | None,
        hints: Hints,
        decode: Sequence[MultiFormation],
    ) -> DistilledSet:
        spec, method = self.spec, self._method
        effective = len(images) * math.prod(step.copies for step in decode)
        per_class = torch.bincount(labels.cpu(), minlength=spec.num_classes).tolist()
        content: Content = {
            "format": "condense-set",
            "version": 1,
            "kind": spec.kind,
            "key": self._key,
            "dataset": {
                "name": spec.name,
                "classes": list(spec.classes),
                "shape": list(spec.shape),
                "train_hash": self._train_hash,
                "dsa": spec.dsa,
            },
            "ipc": self.ipc,
            "counts": {"stored": len(images), "effective": effective, "per_class": per_class},
            "pixels": cast(Pixels, space.describe()),
            "decode": [step.describe() for step in decode],
            "label": {"kind": "hard" if soft is None else "soft", "temperature": 1.0, "teacher": None},
            "hints": hints,
            "protocol": self._recipe.protocol.to_json() if self._recipe else None,
            "method": {
                "name": method.title,
                "chain": cast(list[Link], method.chain()),
                "source": self._recipe.cited_by(method) if self._recipe else None,
            },
            "seed": self._seed,
        }
        provenance: dict[str, object] = {
            "versions": versions(),
            "device": device_name(self.device),
            "threads": torch.get_num_threads(),
            "seconds": round(self._loop.seconds, 3),
            "peak_bytes": self._loop.peak_bytes,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return DistilledSet(
            images=images.detach().cpu(),
            labels=labels.cpu(),
            soft=None if soft is None else soft.detach().cpu(),
            content=content,
            provenance=provenance,
        )

    def done(self) -> None:
        """Removes the checkpoints, once the set is on disk."""
        self._loop.done()


def run_key(method: Method, train_hash: str, ipc: int, seed: int) -> str:
    """The name of a run by all that its result depends on, but for machine and versions."""
    return digest({"chain": cast(list[Link], method.chain()), "train": train_hash, "ipc": ipc, "seed": seed})
