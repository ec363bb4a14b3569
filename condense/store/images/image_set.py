"""The distilled set of images: methods make it, disks keep it, and students train on it."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float, Int8, Int64, Shaped, UInt8
from torch import Tensor

from condense.data.images.pixels import WHITENED, PixelSpace, extremes, from_description, unit
from condense.errors import Refused
from condense.protocol import Protocol
from condense.store.base import DistilledSet
from condense.store.card import import_notes
from condense.store.images.card import image_card
from condense.store.images.check import (
    find_compensator_error,
    find_encoding_error,
    find_image_error,
    find_label_kind_error,
    find_replay_error,
)
from condense.store.images.decode import (
    GREY,
    Compensated,
    Compensator,
    Decoder,
    Fill,
    MultiFormation,
    decode_all,
    decode_some,
    step_from,
)
from condense.store.images.encode import EncodedImages
from condense.store.images.gallery import COLUMNS, draw_images
from condense.store.images.manifest import PART_OF, PARTS, FeaturesLabelPart, ImageContent, space_identity
from condense.store.images.projection import Projection, find_projection_error
from condense.store.images.replay import Replay
from condense.store.manifest import UNLABELLED, SetContent
from condense.store.targets import Features, Hard, Soft, Target

LabelOf = Callable[[Float[Tensor, "b c h w"]], Float[Tensor, "b k"]]
"""Returns the labels of images in the evaluation space, as logits."""

StoredImages = Float[Tensor, "n c h w"] | UInt8[Tensor, "n c h w"]
"""Stored images: uint8 in the raw space, float16 or float32 in the others."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ImageSet(DistilledSet):
    """A distilled set of images in memory; labels that are stored with views are read when they are needed.

    As a `torch.utils.data.Dataset` it gives ``(image, label)`` pairs: float32 images in its evaluation space,
    and class ids, or vectors: k probabilities if its labels are soft, d numbers if they are features. If they
    are projected, it gives class ids, or the k logits of the image as it is once `projected_by` has named
    what projects. With decode steps these are the m = ``copies * n`` decoded images, copies-major: image e is
    copy ``e // n`` of stored image ``e % n``, and has its label.

    Attributes:
        images: The stored images, (n, c, h, w): uint8 in the raw space, or float16, float32.
        labels: The class of each stored image, (n,).
        soft: Class probabilities, (n, k) float16 or float32, exactly if the label kind is ``soft``.
        features: Vectors that a student's outputs are to equal, (n, d) float32, exactly if the label kind is
            ``features``.
        compensators: (g, m, c, h, w), exactly if the first decode step is `Compensated`.
        encoded: The same images compressed, exactly if they are stored so; then `images` are uint8.
        projector: The numbers of `projection`, exactly if the label kind is ``projected``.
        replay: Labels that are stored with views of the images, exactly if the label kind is ``replayed``.
        label_of: What projects its labels, if it is known; it is neither hashed nor stored.
        space: The pixel space of the stored images. Only a whitened set needs it, to show its images and to
            change their space; it is neither hashed nor stored.
        content: The manifest's content. The list of the tensors and the numbers of bytes are filled in here.
        provenance: Where and when the set was made; not part of its hash.
    """

    kind = "images"
    parts = PARTS
    part_of = PART_OF

    images: StoredImages
    labels: Int64[Tensor, " n"]
    soft: Float[Tensor, "n k"] | None = None
    features: Float[Tensor, "n d"] | None = None
    compensators: Int8[Tensor, "g m c h w"] | None = None
    encoded: EncodedImages | None = None
    projector: Float[Tensor, " p"] | None = None
    replay: Replay | None = None
    label_of: LabelOf | None = None
    space: PixelSpace | None = None
    content: ImageContent

    @property
    def evaluation_space(self) -> str:
        """The pixel space that students see: its own for a whitened set, ``normalized`` for all others."""
        space = self.content["pixels"]["space"]
        return space if space in WHITENED else "normalized"

    @property
    def epochs(self) -> int | None:
        return None if self.replay is None else self.replay.epochs

    @property
    def labelled(self) -> bool:
        """Whether its images have classes."""
        return self.content["dataset"]["classes"] != [UNLABELLED]

    @property
    def learned_lr(self) -> float | None:
        """The learning rate for students that was learned with the set, if one was."""
        return self.content["hints"]["lr"]

    @cached_property
    def steps(self) -> tuple[MultiFormation | Compensated, ...]:
        """The steps that decode the stored images into those that a student trains on, first step first."""
        return tuple(step_from({**step}) for step in self.content["decode"])

    @property
    def copies(self) -> int:
        """Number of images that a student trains on for each stored image."""
        return math.prod(step.copies for step in self.steps)

    @property
    def target(self) -> Target:
        """The labels of all m images, as a student is trained with them."""
        labels = self.labels.repeat(self.copies)
        if self.features is not None:
            scale = cast(FeaturesLabelPart, self.content["label"])["scale"]
            return Features(self.features.repeat(self.copies, 1), labels, float(scale))
        return Hard(labels) if self.soft is None else Soft(self.soft.float().repeat(self.copies, 1), labels)

    def with_class_ids(self) -> "ImageSet":
        """Returns the set with its class ids as the only labels, in place of vectors."""
        label = {"kind": "hard", "temperature": 1.0, "teacher": None}
        content = cast(ImageContent, {**self.content, "label": label})
        return replace(self, features=None, content=content)

    @property
    def projection(self) -> Projection | None:
        """The adapters with which the set's encoder regenerates labels; None if the labels are others."""
        return None if self.projector is None else Projection.of(self.content, self.projector)

    def tensors(self) -> dict[str, Tensor]:
        """Returns the tensors by name, as they are stored: class ids as uint8 if they fit, else as int32."""
        ids = torch.uint8 if self.num_classes <= 256 else torch.int32
        tensors = {"labels": self.labels.to(ids)}
        if self.encoded is None:
            tensors["images"] = self.images
        else:
            tensors |= {"encoded": self.encoded.data, "offsets": self.encoded.offsets}
        more = {
            "soft": self.soft, "features": self.features, "projector": self.projector,
            "compensators": self.compensators,
        }  # fmt: skip
        return tensors | {name: tensor for name, tensor in more.items() if tensor is not None}

    def nbytes(self) -> dict[str, int]:
        """Returns the bytes of each part: stored labels count under ``replay``, an encoder under ``teacher``.

        The encoder of projected labels is not in the set's folder, but the labels cannot be had without it.
        """
        sizes = super().nbytes() | ({} if self.replay is None else {"replay": self.replay.nbytes})
        return sizes | ({} if self.projector is None else {"teacher": self.content["teacher"]["bytes"]})

    @property
    def import_notes(self) -> list[str]:
        """What the importer chose and measured, if the set was made of a file of another code base."""
        return import_notes(self.provenance)

    def facts(self) -> dict[str, object]:
        return super().facts() | {"steps taken back": self.content["hints"].get("rollbacks")}

    def find_inconsistency(self) -> str | None:
        return super().find_inconsistency() or find_replay_error(self.content, self.tensors(), self.replay)

    def save(self, path: Path | str) -> str:
        """Stores the set as a folder: see `DistilledSet.save`.

        Files of labels are linked to the place where they lie, or copied if the disk has no links.
        """
        if self.encoded is not None:
            read_back = self.encoded.images(tuple(self.images.shape[1:]))
            if not torch.equal(read_back, self.images.cpu()):
                raise Refused("this set cannot be stored: its images are not those that are encoded")
        return super().save(path)

    def verify(self) -> str:
        if self.replay is not None:
            self.replay.verify()
        return super().verify()

    def label_metadata(self) -> dict[str, str]:
        return {} if self.replay is None else self.replay.metadata()

    def gallery(self) -> bytes:
        images = self.pixels() if self._has_colours else self.images.float()
        rows, names = self.labels.cpu(), self.content["dataset"]["classes"]
        if not self.labelled:
            rows = torch.arange(len(images)) // COLUMNS
            names = [f"from {COLUMNS * row}" for row in range(int(rows[-1]) + 1)]
        return draw_images(images.cpu(), rows, names, true_colours=self._has_colours)

    def __len__(self) -> int:
        """Returns the number m of images that a student trains on."""
        return len(self.images) * self.copies

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "c h w"], int | Tensor]:
        """Returns one image in the evaluation space, and its class id, probabilities, features or logits."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of a set of {len(self)}")
        image = self.images_at(torch.tensor([index % len(self)], device=self.device))[0]
        place = index % len(self.images)
        if self.label_of is not None:
            return image, self.label_of(image[None])[0]
        vectors = self.soft if self.features is None else self.features
        return image, int(self.labels[place]) if vectors is None else vectors[place].float()

    def images_at(self, index: Int64[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
        """Returns the images with these numbers, on the set's device, in the evaluation space.

        Only these of the m images are decoded.
        """
        n = len(self.images)
        stored = index % n
        images = self._normalized(self.images[stored])
        return decode_some(self._decoders(stored), images, index // n, self._grey)

    def batches_in_epoch(self, protocol: Protocol) -> int:
        """Returns the number of batches that `batches` yields."""
        if protocol.labels == "stored":
            return self._stored_labels(protocol).layout.batches
        return protocol.batches_in_epoch(len(self))

    def batches(
        self, epoch: int, protocol: Protocol, generator: torch.Generator
    ) -> Iterator[tuple[Float[Tensor, "b c h w"], Target]]:
        """Yields the batches of one epoch: every image once, in an order that the generator draws.

        Each epoch draws one permutation, whatever the batch size. A set that is one batch comes in its own
        order, since the order within a batch changes nothing. The last batch may be smaller. Under a protocol
        for stored labels the batches are the labelled views, in the order in which they were labelled.

        Args:
            epoch: The epoch's number, which only matters for stored labels.
            protocol: The protocol, for the batch size and the kind of labels.
            generator: A CPU generator.

        Yields:
            Images in the evaluation space and their labels, on the set's device.

        Raises:
            Refused: if stored labels are asked for and there are none, or they are of another number of
                epochs, damaged, or of images in another space.
        """
        if protocol.labels == "stored":
            yield from self._replayed(epoch, protocol, generator)
            return
        order, batch = torch.randperm(len(self), generator=generator), protocol.batch_for(len(self))
        if len(self) <= batch:
            every = torch.arange(len(self.images), device=self.device)
            yield decode_all(self._decoders(every), self._normalized(self.images), self._grey), self.target
            return
        target = self.target
        for index in torch.split(order.to(self.device), batch):
            yield self.images_at(index), target[index]

    def _stored_labels(self, protocol: Protocol) -> Replay:
        if self.replay is None:
            raise Refused(f"{protocol.name} trains on the labels that a set stores, and this set stores none")
        self.replay.require(protocol)
        if self.evaluation_space != "normalized":
            raise Refused("stored labels are of normalised images: bring this whitened set into that space")
        return self.replay

    def _replayed(
        self, epoch: int, protocol: Protocol, generator: torch.Generator
    ) -> Iterator[tuple[Float[Tensor, "b c h w"], Target]]:
        replay = self._stored_labels(protocol)
        temperature = protocol.temperature or self.content["label"]["temperature"]
        for batch in replay.batches(epoch, generator):
            index = batch.order.to(self.device)
            stored = {name: tensor.to(self.device) for name, tensor in batch.labels.items()}
            ids = self.labels[index % len(self.images)]
            labels = replay.layout.target(stored, ids, temperature, bool(protocol.squared))
            yield batch.views(self.images_at(index)), labels

    def projected_by(self, label_of: LabelOf) -> "ImageSet":
        """Returns the same set with what projects its labels, which `condense.teachers.projected` finds."""
        return replace(self, label_of=label_of)

    def with_space(self, space: PixelSpace) -> "ImageSet":
        """Returns the same set with the pixel space that its images are in; refuses any other space."""
        return replace(self, space=space)

    def in_space(self, space: PixelSpace) -> "ImageSet":
        """Returns the same set with its pixels in another space, as float32; itself if they are in that one.

        Raises:
            Refused: if the set is whitened and does not know its own space, or if it has decode steps and is
                to be whitened.
        """
        description = space.describe()
        if space_identity(description) == space_identity(self.content["pixels"]):
            return self
        images = space.to(self.device).encode(self.pixels())
        content = {**self.content, "pixels": description}
        content.pop("encoding", None)
        return replace(self, images=images, encoded=None, space=space, content=cast(ImageContent, content))

    def pixels(self) -> Float[Tensor, "n c h w"]:
        """Returns the stored images as float32 with 0 for black and 1 for white, not clamped.

        Raises:
            Refused: if the set is whitened and does not know its own space.
        """
        if not self.images.is_floating_point():
            return unit(self.images)
        space = self.space or from_description({**self.content["pixels"]})
        return space.to(self.device).decode(self.images)

    @classmethod
    def _fields_from(cls, path: Path, content: SetContent, stored: Mapping[str, Tensor]) -> dict[str, Any]:
        own = cast(ImageContent, content)
        encoded = "encoding" in own
        if {"labels", *(("encoded", "offsets") if encoded else ("images",))} - set(stored):
            raise Refused("it holds no images or no labels")
        files = EncodedImages(stored["encoded"], stored["offsets"]) if encoded else None
        return {
            "images": files.images(tuple(own["dataset"]["shape"])) if files else stored["images"],
            "encoded": files,
            "replay": Replay.of(path, own),
            "labels": stored["labels"].long(),
            "soft": stored.get("soft"),
            "features": stored.get("features"),
            "projector": stored.get("projector"),
            "compensators": stored.get("compensators"),
        }

    def _find_tensor_error(self) -> str | None:
        if self.space is not None:
            given, own = (space_identity(s) for s in (self.space.describe(), self.content["pixels"]))
            if given != own:
                return f"its images are in the pixel space {own}, which is not {given}"
        content, images, n = self.content, self.images, len(self.images)
        return (
            find_image_error(content, images, self.labels)
            or find_encoding_error(content, images, self.encoded)
            or find_label_kind_error(content, n, self.soft, self.features, self.replay)
            or find_projection_error(content, self.projector)
            or find_compensator_error(content, n, self.compensators, self.steps)
        )

    def _write_card(self, provenance: Mapping[str, object]) -> str:
        return image_card(self.content, provenance, true_colours=self._has_colours)

    def _label_files(self) -> list[Path]:
        if self.replay is None:
            return []
        self.replay.check_headers()
        return self.replay.files

    @property
    def _has_colours(self) -> bool:
        return self.space is not None or self.evaluation_space not in WHITENED

    @cached_property
    def _grey(self) -> Fill:
        if not self.steps:
            return GREY
        channels = self.images.shape[1]
        return self._normalized_space.encode(torch.full((1, channels, 1, 1), GREY, device=self.device))[0]

    @cached_property
    def _normalized_space(self) -> PixelSpace:
        return from_description({**self.content["pixels"], "space": "normalized"}).to(self.device)

    def _decoders(self, stored: Int64[Tensor, " b"]) -> list[Decoder]:
        """Returns the steps with everything that they need to decode some of the stored images."""
        if (u := self.compensators) is None:
            return [step for step in self.steps if not isinstance(step, Compensated)]
        black, white = extremes(self.content["pixels"]["mean"], self.content["pixels"]["std"], self.device)
        return [
            Compensator(u, stored, black, white) if isinstance(step, Compensated) else step
            for step in self.steps
        ]

    def _normalized(self, images: Shaped[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Returns stored images in the evaluation space, before decoding."""
        if self.content["pixels"]["space"] != "raw":
            return images.float()
        return self._normalized_space.encode(images)
