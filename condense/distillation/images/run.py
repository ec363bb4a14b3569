"""What a method may ask of its surroundings."""

import copy
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float, Int, Int8, Num, UInt8
from torch import Tensor

from condense.data import Images, ImageSpec, PixelSpace
from condense.data.images.pixels import affine
from condense.distillation.images.taught import FIXED, TRAINED, TeacherMethod, as_teacher
from condense.distillation.images.view import ChainedView, IdentityView, View
from condense.distillation.method import ImageMethod, Recipe
from condense.distillation.run import Run, run_key
from condense.errors import Refused
from condense.networks import Network, build_network
from condense.resources import Budget
from condense.store import ImageSet
from condense.store.images.decode import AnyStep
from condense.store.images.encode import NO_ENCODING, encoding_named
from condense.store.images.encode import encode as encode_images
from condense.store.images.replay import Layout, Replay, hash_images
from condense.store.images.writer import Writer
from condense.store.manifest import Encoding, Hints, ImageContent, Pixels, Replayed
from condense.teachers import Teacher, check_classes, find, fixed, keep, read
from condense.training.experts import Experts, ExpertTraining, experts
from condense.training.pretrained import Pretrained, Training, pretrained, untrained

__all__ = ["ImageRun", "run_key"]


class ImageRun(Run):
    """A method's surroundings. It holds no test data.

    Attributes:
        spec: The dataset's description.
        ipc: Images per class to make.
        space: The method's pixel space.
        view: What the synthetic set looks like to the method.
        strategy: The operations that it augments with (`condense.augment.dsa`): the dataset's.
    """

    _method: ImageMethod

    def __init__(
        self,
        method: ImageMethod,
        *,
        spec: ImageSpec,
        space: PixelSpace,
        train_hash: str,
        ipc: int,
        seed: int,
        recipe: Recipe | None,
        device: torch.device,
        budget: Budget,
        cache: Path,
        teachers: Mapping[str, Path] | None = None,
    ) -> None:
        super().__init__(
            method, dataset=spec.name, train_hash=train_hash, ipc=ipc, seed=seed, recipe=recipe,
            device=device, budget=budget, cache=cache,
        )  # fmt: skip
        self.spec, self.space = spec, space
        self.view: View = IdentityView()
        self.strategy = spec.dsa
        self._normalized = affine("normalized", spec.mean, spec.std).to(device)
        self._teachers, self._teacher = teachers or {}, cast(Teacher | None, None)
        self._shards = self._folder / "replay"

    def seen(self, view: View, *, strategy: str | None = None) -> "ImageRun":
        """The same run for a method within a wrapper.

        Args:
            view: What the wrapper shows of the set, ahead of what is seen already.
            strategy: What to augment with; None leaves it.
        """
        inner = copy.copy(self)
        inner.view = ChainedView(view, self.view)
        inner.strategy = strategy or self.strategy
        return inner

    def normalize(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Raw pixels as students see them: minus the dataset's mean, by its standard deviation."""
        return self._normalized.encode(images)

    def network(self, name: str | None = None) -> Network:
        """A fresh network, drawn from the run's generator, in training mode (default: the method's)."""
        name = name or self._method.network
        return build_network(name, self.spec.shape, self.spec.num_classes, self.rng, self.device)

    def pretrained(self, training: Training, train: Images) -> Network:
        """A network trained on real data: from the cache, or trained now. Its cost counts as the run's."""
        return self._trained(training, train, self.space.name).network

    def teacher(self, which: str | TeacherMethod, training: Training | None, train: Images) -> Teacher:
        """A teacher; the set that the run makes says which was the first that it asked for.

        Args:
            which: A method with its field ``teacher``, or what that holds: ``fixed``, ``trained`` or a hash.
            training: How one is trained here; None is the method's own.
            train: The training images, in the run's pixel space: one is trained on them, and any other must
                know their classes.

        Raises:
            Refused: if there is no such teacher, or its classes are others.
            Stopped: when the budget has run out while one is trained.
        """
        if isinstance(which, TeacherMethod):
            training = training or which.training()
            which = which.teacher
        if which == TRAINED:
            if training is None:
                raise ValueError("a teacher that is trained needs its training")
            found = self._trained(training, self._normalized_images(train), "normalized")
            teacher = as_teacher(found, training, self.spec, self._train_hash)
        else:
            if which == FIXED:
                teacher = fixed(self.spec.name, self._train_hash, self.device)
            elif which in self._teachers:
                teacher = read(
                    self._teachers[which], self.device,
                    network=self._method.network, spec=self.spec,
                )  # fmt: skip
                if teacher.hash != which:
                    raise Refused(f"{self._teachers[which]} has changed: it holds another teacher now")
            else:
                teacher = find(which, self.device, cache=self.cache)
            images = self._normalized_images(train).images
            check_classes(teacher, images, train.labels, self.spec, self._train_hash)
        keep(teacher, self.cache)
        self._teacher = self._teacher or teacher
        return teacher

    def experts(self, training: ExpertTraining, count: int, epochs: int, train: Images) -> Experts:
        """Networks trained on real data with a snapshot of each epoch, like `pretrained`: see `Experts`."""
        make = partial(
            experts, training, count, epochs, train, self.spec, self.space.name,
            cache=self.cache, budget=self._budget, say=partial(print, file=sys.stderr, flush=True),
        )  # fmt: skip
        return self._charged(make)

    def _trained(self, training: Training, train: Images, space: str) -> Pretrained:
        return self._charged(
            partial(pretrained, training, train, self.spec, space, cache=self.cache, budget=self._budget)
        )

    def _normalized_images(self, train: Images) -> Images:
        """The training images as they were loaded, normalised, whatever the run's pixel space is."""
        if self.space.name == "normalized":
            return train
        raw = (self.space.decode(train.images) * 255).round().clamp(0, 255).to(torch.uint8)
        return replace(train, images=raw).in_space(self._normalized)

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
        decode: Sequence[AnyStep] = (),
        rollbacks: int | None = None,
        labelled_by: Teacher | None = None,
        as_bytes: bool = False,
        encode: str = NO_ENCODING,
        compensators: Int8[Tensor, "g m c h w"] | None = None,
    ) -> ImageSet:
        """The finished set, from images in the method's pixel space.

        Args:
            images: As they shall be stored.
            labels: Class ids.
            soft: Learned label probabilities.
            lr: A learned learning rate for students (a training hint).
            augment: The augmentation that the set was learned for (a training hint).
            decode: Steps from a stored image to those that students train on.
            rollbacks: Steps that were taken back on the way, where that is counted.
            labelled_by: The teacher whose answers `soft` holds, if one gave them.
            as_bytes: Whether the images are stored as raw pixels of 8 bits, rounded and clamped.
            encode: How such bytes are compressed: ``none``, ``png``, ``jpeg``, or ``jpeg:90`` of another
                quality than 75. The images are what the files are read as.
            compensators: What the decode step `Compensated` adds to the images.
        """
        hints: Hints = {"lr": lr, "augment": augment}
        if rollbacks is not None:
            hints["rollbacks"] = rollbacks
        space, how = self.space, encoding_named(encode)
        if as_bytes or how is not None:
            images, space = self._as_bytes(images), affine("raw", self.spec.mean, self.spec.std)
        made = self._set(images, labels, space, soft, hints, decode, compensators, how)
        if labelled_by is not None:
            made.content["label"]["teacher"] = labelled_by.hash
        return made

    def selected(self, train: Images, indices: Int[Tensor, " n"]) -> ImageSet:
        """The finished set, from real images: stored as the bytes that they were loaded as.

        A whitened method's are stored whitened, so that students see them as they see its table's other sets.

        Args:
            train: The images that the method was given.
            indices: Which of them to keep, class-major.
        """
        images, labels = train.images[indices], train.labels[indices]
        if self.space.name == "zca":
            return self.distilled(images, labels)
        return self.distilled(images, labels, as_bytes=True)

    def _as_bytes(self, images: Float[Tensor, "n c h w"]) -> UInt8[Tensor, "n c h w"]:
        return (self.space.to(images.device).decode(images) * 255).round().clamp(0, 255).to(torch.uint8)

    def _set(
        self,
        images: Num[Tensor, "n c h w"],
        labels: Int[Tensor, " n"],
        space: PixelSpace,
        soft: Float[Tensor, "n k"] | None,
        hints: Hints,
        decode: Sequence[AnyStep],
        compensators: Int8[Tensor, "g m c h w"] | None,
        how: Encoding | None,
    ) -> ImageSet:
        spec = self.spec
        effective = len(images) * math.prod(step.copies for step in decode)
        per_class = torch.bincount(labels.cpu(), minlength=spec.num_classes).tolist()
        content: ImageContent = {
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
            "protocol": self._protocol(),
            "method": self._described(),
            "seed": self._seed,
        }
        if (teacher := self._teacher) is not None:
            content["teacher"] = {
                "hash": teacher.hash,
                "network": teacher.name,
                "bytes": teacher.nbytes,
                "accuracy": teacher.accuracy,
            }
        encoded = None
        if how is not None:
            content["encoding"] = how
            encoded = encode_images(images, how)
            images = encoded.images(spec.shape)
        return ImageSet(
            images=images.detach().cpu(),
            labels=labels.cpu(),
            soft=None if soft is None else soft.detach().cpu(),
            compensators=None if compensators is None else compensators.cpu(),
            encoded=encoded,
            content=content,
            provenance=self._provenance(),
        )

    def shown(self, made: ImageSet) -> ImageSet:
        """A set as a teacher and the students that it labels for see it: normalised, on the run's device."""
        return made.in_space(self._normalized, self.space).to(self.device)

    def writer(self, made: ImageSet, *, batch: int, top_k: int | None, shards: int) -> Writer:
        """What takes in labels of views of a set, and streams them to the run's folder, a file an epoch.

        Args:
            made: The set, as it will be stored.
            batch: Views of a batch.
            top_k: Logits that are stored of each view; None for all.
            shards: How many epochs will be labelled.

        Raises:
            Refused: if the disk cannot hold that.
        """
        layout = Layout(len(made), self.spec.num_classes, batch, top_k)
        return Writer(self._shards, layout, hash_images(made.tensors(), made.content), shards)

    def replayed(
        self,
        made: ImageSet,
        writer: Writer,
        teacher: Teacher,
        *,
        temperature: float,
        epochs: int,
        crop: str,
        cutmix: float,
        mixup: float | None,
    ) -> ImageSet:
        """A set with stored labels in place of its own; class ids stay beside them.

        Args:
            made: The set that was labelled.
            writer: Its labels.
            teacher: Who gave them.
            temperature: Of the loss that students are trained with.
            epochs: How long they are trained.
            crop: How the views were drawn, like `cutmix` and `mixup`: see `condense.augment.views.draw_views`.
            cutmix: Probability.
            mixup: Beta's parameter.
        """
        label: Replayed = {
            "kind": "replayed", "temperature": temperature, "teacher": teacher.hash, "images": writer.images,
            "epochs": epochs, "shards": len(writer.shards), "batch": writer.layout.batch, "crop": crop,
            "cutmix": cutmix, "mixup": mixup, "top_k": writer.layout.top_k, "dtype": "float16",
        }  # fmt: skip
        content = cast(ImageContent, {**made.content, "label": label, "replay": writer.shards})
        replay = Replay.of(writer.folder, content)
        return replace(made, soft=None, replay=replay, content=content, provenance=self._provenance())

    def done(self) -> None:
        """Removes the checkpoints and the labels that were streamed, once the set is on disk."""
        super().done()
        shutil.rmtree(self._shards, ignore_errors=True)
