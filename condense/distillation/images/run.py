"""The run of a method that distils images."""

import copy
import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar, cast

import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor, nn

from condense.data import Images, ImageSpec, PixelSpace
from condense.data.images.pixels import WHITENED, affine
from condense.distillation.images.view import ChainedView, IdentityView, View
from condense.distillation.run import FAR, Run, RunSettings
from condense.errors import Refused
from condense.networks import Network, build_network
from condense.store import ImageSet
from condense.store.images.decode import DecodeStep
from condense.store.images.encode import NO_ENCODING, encoding_named
from condense.store.images.encode import encode as encode_images
from condense.store.images.manifest import ImageContent, ReplayedLabelPart
from condense.store.images.projection import Projection
from condense.store.images.replay import Replay, hash_images
from condense.store.images.shards import ShardLayout
from condense.store.images.writer import LabelWriter
from condense.store.manifest import UNLABELLED
from condense.teachers import (
    FIXED,
    TRAINED,
    Teacher,
    check_classes,
    find_teacher,
    fixed,
    keep_teacher,
    read_teacher,
)
from condense.teachers.encoder import Encoder
from condense.teachers.training import as_teacher
from condense.training.experts import Experts, ExpertTraining, experts
from condense.training.image_training import Training
from condense.training.label_trial import LabelTrial
from condense.training.parameters import as_parameters
from condense.training.pretrained import Pretrained, TrainingRecipe, pretrained
from condense.training.step import accuracy

N = TypeVar("N", bound=nn.Module)
"""A network, or whatever else is trained as one."""


class ImageRun(Run[ImageSpec]):
    """The run of a method that distils images: see `Run` for what all methods have.

    Args:
        settings: The settings of the run.
        space: The method's pixel space, on the run's device.

    Attributes:
        space: The method's pixel space.
        view: The transformation through which the method sees its synthetic set.
        kept: Positions, in the training split, of the images that the method is given; None for all.
        strategy: The operations that the method augments with (`condense.augment.dsa`).
        expert_strategy: The operations that experts are trained with.
    """

    def __init__(self, settings: RunSettings[ImageSpec], space: PixelSpace) -> None:
        super().__init__(settings)
        spec = settings.spec
        self.space, self.strategy, self.expert_strategy = space, spec.dsa, spec.dsa
        self.view: View = IdentityView()
        self.kept: Int[Tensor, " n"] | None = None
        self._normalized = affine("normalized", spec.mean, spec.std).to(self.device)
        self._teacher: Teacher | None = None
        self._shards = settings.folder / "replay"

    def with_view(
        self, view: View, *, strategy: str | None = None, expert_strategy: str | None = None
    ) -> "ImageRun":
        """Returns the same run with another view, for the method inside a wrapper.

        Args:
            view: What the wrapper does to the set, ahead of the present view, before the method sees it.
            strategy: The operations to augment with; None for the present ones.
            expert_strategy: The operations to train experts with; None for the present ones.
        """
        inner = copy.copy(self)
        inner.view = ChainedView(view, self.view)
        inner.strategy = strategy or self.strategy
        inner.expert_strategy = expert_strategy or self.expert_strategy
        return inner

    def normalize(self, images: Float[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
        """Normalises raw pixels by the dataset's mean and standard deviation, as students see them."""
        return self._normalized.encode(images)

    def network(self, name: str | None = None) -> Network:
        """Draws a fresh network from the run's generator, in training mode; default: the method's network."""
        name = name or self._settings.network
        assert name is not None
        return build_network(name, self.spec.shape, self.spec.num_classes, self.rng, self.device)

    def pretrained(self, training: TrainingRecipe[Images, ImageSpec, N], train: Images) -> N:
        """Returns a network trained on real images; its cost is charged to the run, even if it is cached."""
        return self._trained(training, train, self.space.name).network

    def teacher(self, which: str, training: Training | None, train: Images) -> Teacher:
        """Returns a teacher. The first teacher that a run asks for is named in the set that the run makes.

        Args:
            which: ``fixed``, ``trained``, or the hash of a teacher whose file was given or is in the cache.
            training: How a teacher is trained, for ``trained``.
            train: The training images, in the run's pixel space, whose classes the teacher must know.

        Raises:
            Refused: if there is no such teacher, or its classes are others.
            Stopped: if the time limit is reached while one is trained.
        """
        settings = self._settings
        if which == TRAINED:
            assert training is not None, "a teacher that is trained needs its training"
            found = self._trained(training, self.normalized(train), "normalized")
            teacher = as_teacher(found, training, self.spec, settings.train_hash)
        else:
            if which == FIXED:
                teacher = fixed(self.spec.name, settings.train_hash, self.device)
            elif (file := settings.teachers.get(which)) is not None:
                assert settings.network is not None
                teacher = read_teacher(file, self.device, network=settings.network, spec=self.spec)
                if teacher.hash != which:
                    raise Refused(f"{file} has changed: it holds another teacher now")
            else:
                teacher = find_teacher(which, self.device, cache=self.cache)
            images = self.normalized(train).images
            check_classes(teacher, images, train.labels, self.spec, settings.train_hash)
        keep_teacher(teacher, self.cache)
        self._teacher = self._teacher or teacher
        return teacher

    def experts(
        self, training: ExpertTraining, count: int, epochs: int, train: Images, space: str | None = None
    ) -> Experts:
        """Returns networks trained on real images, with a snapshot of each epoch: see `Experts`.

        The images are in the run's pixel space, or in the one that is named.
        """
        make = partial(
            experts, training, count, epochs, train, replace(self.spec, dsa=self.expert_strategy),
            space or self.space.name,
            cache=self.cache, budget=self._budget, say=partial(print, file=sys.stderr, flush=True),
        )  # fmt: skip
        return self._charged(make)

    def checkpoint(self, found: Experts, training: ExpertTraining, epoch: int, held_out: Images) -> Teacher:
        """Returns the parameters of an expert after an epoch as a teacher.

        Args:
            found: One expert, trained on normalised images.
            training: How it was trained.
            epoch: Number of epochs.
            held_out: Normalised training images that it has not seen, for its accuracy.
        """
        spec = self.spec
        network = build_network(
            training.network, spec.shape, spec.num_classes, torch.Generator(), self.device
        )
        network.load_state_dict({**network.state_dict(), **as_parameters(network, found.at(0, epoch))})
        right = accuracy(network, held_out.images, held_out.labels)
        taken: Pretrained[Network] = Pretrained(network, found.hash, found.seconds, right)
        about = {"checkpoint": epoch, "trained_on": held_out.hash}
        return as_teacher(taken, training, spec, self._settings.train_hash, about)

    def tried(self, trial: LabelTrial, train: Images) -> float:
        """Returns the percent of held-out images that the student of a trial of labels classifies correctly.

        Args:
            trial: The trial.
            train: The training images, normalised.
        """
        found = self._trained(trial, train, "normalized").accuracy
        assert found is not None
        return found

    def _trained(
        self, training: TrainingRecipe[Images, ImageSpec, N], train: Images, space: str
    ) -> Pretrained[N]:
        make = partial(pretrained, training, train, self.spec, space, cache=self.cache, budget=self._budget)
        return self._charged(make)

    def normalized(self, train: Images) -> Images:
        """Returns the training images as they were loaded, normalised, whatever the run's pixel space is."""
        if self.space.name == "normalized":
            return train
        raw = (self.space.decode(train.images) * 255).round().clamp(0, 255).to(torch.uint8)
        return replace(train, images=raw).in_space(self._normalized)

    def untrained(self, training: Training) -> Network:
        """Returns the network from which a training starts, in evaluation mode and frozen."""
        network, _ = training.start(self.spec, self.device)
        return network.eval().requires_grad_(False)

    def distilled(
        self,
        images: Float[Tensor, "n c h w"],
        labels: Int[Tensor, " n"] | None,
        *,
        soft: Float[Tensor, "n k"] | None = None,
        features: Float[Tensor, "n d"] | None = None,
        scale: float = 0.5,
        lr: float | None = None,
        augment: str = "dsa",
        decode: Sequence[DecodeStep] = (),
        rollbacks: int | None = None,
        labelled_by: Teacher | Encoder | None = None,
        as_bytes: bool = False,
        encode: str = NO_ENCODING,
        compensators: Int8[Tensor, "g m c h w"] | None = None,
        projection: Projection | None = None,
    ) -> ImageSet:
        """Makes the finished set of images in the method's pixel space.

        Args:
            images: The images to store.
            labels: Class ids; None for images without classes, which all have the class `UNLABELLED`.
            soft: Learned label probabilities.
            features: Vectors that a student's outputs are to equal, in place of probabilities.
            scale: Factor of the loss with `features`: see `condense.store.targets.Features`.
            lr: A learned learning rate for students, stored as a hint.
            augment: Name of the augmentation that the set was learned for, stored as a hint.
            decode: Steps that turn a stored image into the images that students train on.
            rollbacks: Number of optimisation steps that were rolled back, if the method counts them.
            labelled_by: The teacher or encoder that gave `soft` or `features`, if one did.
            as_bytes: Whether the images are stored as raw pixels of 8 bits, rounded and clamped.
            encode: Compression of these bytes: ``none``, ``png``, ``jpeg`` (quality 75), or with a quality
                such as ``jpeg:90``. The set then holds the images as they are read from the files.
            compensators: Images that the decode step `Compensated` adds to the stored ones.
            projection: Adapters with which the run's teacher, its encoder, regenerates labels.
        """
        spec, space, how = self.spec, self.space, encoding_named(encode)
        self._require_in_range(images)
        for what, learned in (("soft labels", soft), ("features", features)):
            if learned is not None:
                self._refuse_diverged(~learned.detach().isfinite(), f"the {what}")
        if as_bytes or how is not None:
            raw = (space.to(images.device).decode(images) * 255).round().clamp(0, 255).to(torch.uint8)
            images, space = raw, affine("raw", spec.mean, spec.std)
        ids = torch.zeros(len(images), dtype=torch.long) if labels is None else labels
        content = self._content(ids, [UNLABELLED] if labels is None else None)
        content["dataset"] |= {"shape": list(spec.shape), "dsa": spec.dsa}
        content["counts"]["effective"] = len(images) * math.prod(step.copies for step in decode)
        content["pixels"] = space.describe()
        content["decode"] = [step.describe() for step in decode]
        content["hints"] = {"lr": lr, "augment": augment}
        if rollbacks is not None:
            content["hints"]["rollbacks"] = rollbacks
        if soft is not None:
            content["label"]["kind"] = "soft"
        if features is not None:
            content["label"] |= {"kind": "features", "dim": features.shape[1], "scale": scale}
        if labelled_by is not None:
            content["label"]["teacher"] = labelled_by.hash
        # No run is asked for the encoder that gave features.
        if (teacher := self._teacher or (None if features is None else labelled_by)) is not None:
            content["teacher"] = {
                "hash": teacher.hash, "network": teacher.name, "bytes": teacher.nbytes,
                "accuracy": teacher.accuracy,
            }  # fmt: skip
        if projection is not None:
            assert self._teacher is not None, "labels are projected by the run's teacher"
            self._refuse_diverged(~projection.numbers.isfinite(), "the adapters")
            content["label"] = projection.label(self._teacher.hash)
        encoded = None
        if how is not None:
            content["encoding"] = how
            encoded = encode_images(images, how)
            images = encoded.images(spec.shape)
        return ImageSet(
            images=images.detach().cpu(),
            labels=ids.cpu(),
            soft=None if soft is None else soft.detach().cpu(),
            features=None if features is None else features.detach().float().cpu(),
            compensators=None if compensators is None else compensators.cpu(),
            projector=None if projection is None else projection.numbers.detach().cpu(),
            encoded=encoded,
            space=space,
            content=cast(ImageContent, content),
            provenance=self._provenance(),
        )

    def _require_in_range(self, images: Float[Tensor, "n c h w"]) -> None:
        """Refuses images with pixels that are not finite or far outside of the data's range: see `FAR`."""
        space, device = self.space.to(images.device), images.device
        mean, std = (torch.tensor(of, device=device).view(-1, 1, 1) for of in (self.spec.mean, self.spec.std))
        farthest = torch.maximum(mean, 1 - mean) / std + FAR
        for some in torch.split(images.detach(), 1024):
            distance = ((space.decode(some) - mean) / std).abs()
            self._refuse_diverged(~(distance <= farthest), "the images")

    def selected(self, train: Images, indices: Int[Tensor, " n"]) -> ImageSet:
        """Makes the finished set of the training images at some positions, class-major, as loaded.

        A method that works on whitened pixels stores them whitened, so that students see them as they see the
        other sets of the method's table.
        """
        as_bytes = self.space.name not in WHITENED
        return self.distilled(train.images[indices], train.labels[indices], as_bytes=as_bytes)

    def labelled(self, made: ImageSet, soft: Float[Tensor, "n k"], by: Teacher) -> ImageSet:
        """Returns a set with one soft label for each stored image in place of its own; class ids stay.

        Args:
            made: The set.
            soft: Class probabilities of the stored images.
            by: The network that gave them; its file stays in the cache.
        """
        keep_teacher(by, self.cache)
        content = {**made.content, "label": {"kind": "soft", "temperature": 1.0, "teacher": by.hash}}
        content.pop("replay", None)
        return replace(
            made, soft=soft.cpu(), features=None, projector=None, replay=None,
            content=cast(ImageContent, content), provenance=self._provenance(),
        )  # fmt: skip

    def shown(self, made: ImageSet) -> ImageSet:
        """Returns a set as a teacher sees it: normalised, on the run's device."""
        return made.in_space(self._normalized).to(self.device)

    def writer(
        self, made: ImageSet, *, batch: int, top_k: int | None, shards: int, form: str = "logits",
        fill: str = "mean",
    ) -> LabelWriter:  # fmt: skip
        """Returns a writer that streams the labels of a set's views to the run's folder, one file per epoch.

        Args:
            made: The set, as it will be stored.
            batch: Views per batch.
            top_k: Number of logits or probabilities to store for each view; None for all.
            shards: Number of epochs that will be labelled.
            form: What is stored of a label: see `condense.store.images.shards`.
            fill: What stands for logits that are not stored.

        Raises:
            Refused: if the disk has no room for the labels.
        """
        layout = ShardLayout(len(made), self.spec.num_classes, batch, top_k, form, fill)
        return LabelWriter(self._shards, layout, hash_images(made.tensors(), made.content), shards)

    def replayed(
        self,
        made: ImageSet,
        writer: LabelWriter,
        teacher: Teacher,
        *,
        temperature: float,
        epochs: int,
        crop: str,
        cutmix: float,
        mixup: float | None,
        protocol: str | None = None,
    ) -> ImageSet:
        """Returns a set with stored labels in place of its own; its class ids stay.

        Args:
            made: The set that was labelled.
            writer: The writer that took its labels.
            teacher: The teacher that gave them.
            temperature: Temperature of the loss that students are trained with.
            epochs: Number of epochs that students are trained for.
            crop: How the views were cropped: see `condense.augment.views.draw_views`.
            cutmix: Probability that a batch was mixed by boxes.
            mixup: Parameter a of the Beta(a, a) that batches were averaged by; None if they were not.
            protocol: The protocol whose batches and epochs these are; None if they were chosen freely.
        """
        label: ReplayedLabelPart = {
            "kind": "replayed", "temperature": temperature, "teacher": teacher.hash, "images": writer.images,
            "epochs": epochs, "shards": len(writer.shards), "batch": writer.layout.batch, "crop": crop,
            "cutmix": cutmix, "mixup": mixup, "top_k": writer.layout.top_k, "dtype": "float16",
        }  # fmt: skip
        if protocol is not None:
            label["protocol"] = protocol
        if (form := writer.layout.form) != "logits":
            label["form"] = form
        if (fill := writer.layout.fill) != "mean":
            label["fill"] = fill
        content = cast(ImageContent, {**made.content, "label": label, "replay": writer.shards})
        replay = Replay.of(writer.folder, content)
        return replace(
            made, soft=None, features=None, projector=None, replay=replay, content=content,
            provenance=self._provenance(),
        )  # fmt: skip

    def done(self) -> None:
        """Removes the streamed labels and the checkpoints; to be called once the set is on disk."""
        shutil.rmtree(self._shards, ignore_errors=True)
        super().done()
