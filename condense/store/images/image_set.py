"""The distilled set: images, labels and manifest; what methods make, disks keep and students train on."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float, Int8, Int64, Shaped, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from condense.data.images.pixels import PixelSpace, extremes, from_description, unit
from condense.errors import Refused
from condense.files import canonical, hash_tensors
from condense.protocol import Protocol
from condense.store import folder
from condense.store.images.card import card
from condense.store.images.check import find_inconsistency, ill_formed, misencoded
from condense.store.images.decode import (
    GREY,
    AnyStep,
    Compensated,
    Compensator,
    Decoder,
    Fill,
    decoded,
    some_decoded,
)
from condense.store.images.decode import from_description as step_of
from condense.store.images.encode import Encoded
from condense.store.images.gallery import gallery
from condense.store.images.replay import Replay
from condense.store.manifest import PART_OF, PARTS, ImageContent, described, identity, unreadable
from condense.store.targets import Distilled, Hard, Soft, Target

StoredImages = Float[Tensor, "n c h w"] | UInt8[Tensor, "n c h w"]
"""Images as stored: uint8 for the raw space, float16 or float32 else."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSet(Dataset[tuple[Tensor, int | Tensor]]):
    """A distilled set of images, in memory; labels that are stored with views are read as needed.

    As a `torch.utils.data.Dataset` it gives ``(image, label)`` pairs: float32 images in its evaluation space,
    and a class id, or where its labels are soft a vector of k probabilities. With decode steps, these are the
    m = ``copies * n`` decoded images, copies-major: image e is copy ``e // n`` of stored image ``e % n``, and
    has its label.

    Attributes:
        images: The images as stored, (n, c, h, w): uint8 in the raw space, or float16, float32.
        labels: The class of each stored image, (n,).
        soft: Class probabilities, (n, k) float16 or float32, exactly if the label kind is ``soft``.
        encoded: The same images compressed, exactly if they are stored so; then they are uint8.
        replay: Labels that are stored with views of the images, exactly if the label kind is ``replayed``.
        compensators: (g, m, c, h, w), exactly if the decode step `Compensated` stands first.
        content: The manifest's content; the tensors' list and the bytes by part are filled in here.
        provenance: Where the set came from; never part of its hash.
    """

    images: StoredImages
    labels: Int64[Tensor, " n"]
    soft: Float[Tensor, "n k"] | None = None
    compensators: Int8[Tensor, "g m c h w"] | None = None
    encoded: Encoded | None = None
    replay: Replay | None = None
    content: ImageContent
    provenance: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Makes the content plain JSON, fills in what follows from the tensors, and checks what must agree.

        Raises:
            Refused: if tensors and manifest do not go together.
        """
        _set = object.__setattr__
        _set(self, "images", self.images.detach())
        _set(self, "labels", self.labels.detach())
        _set(self, "soft", None if self.soft is None else self.soft.detach())
        try:
            _set(self, "content", json.loads(canonical(self.content)))
        except ValueError as error:
            raise Refused(f"the manifest of a set holds a value that JSON cannot: {error}") from error
        if wrong := unreadable({**self.content, "bytes": {}, "tensors": []}) or ill_formed(self):
            raise Refused(f"this is no set of images: {wrong}")
        self.content["bytes"] = self.nbytes()
        self.content["tensors"] = described(self.tensors())

    @property
    def num_classes(self) -> int:
        """Number of classes k of the data that the set stands for."""
        return len(self.content["dataset"]["classes"])

    @property
    def evaluation_space(self) -> str:
        """The pixel space that students see: ``zca`` for a whitened set, ``normalized`` for all others."""
        return "zca" if self.content["pixels"]["space"] == "zca" else "normalized"

    @property
    def epochs(self) -> int | None:
        """How many epochs there are stored labels for; None if there are none."""
        return None if self.replay is None else self.replay.epochs

    @property
    def learned_lr(self) -> float | None:
        """The learning rate for students that was learned with the set, if one was."""
        return self.content["hints"]["lr"]

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.images.device

    @property
    def hash(self) -> str:
        """The content hash: over the manifest's content and the tensors, nothing else."""
        return hash_tensors(self.tensors(), prefix=canonical(self.content))

    @cached_property
    def steps(self) -> tuple[AnyStep, ...]:
        """What decodes the stored images into those that a student trains on, first step first."""
        return tuple(step_of({**step}) for step in self.content["decode"])

    @property
    def copies(self) -> int:
        """Images that a student trains on for each one that is stored."""
        return math.prod(step.copies for step in self.steps)

    @property
    def target(self) -> Target:
        """The labels of all m images, as a student is trained towards them."""
        labels = self.labels.repeat(self.copies)
        return Hard(labels) if self.soft is None else Soft(self.soft.float().repeat(self.copies, 1), labels)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name, as they are stored: class ids as uint8 where they fit, else int32."""
        ids = torch.uint8 if self.num_classes <= 256 else torch.int32
        tensors = {"labels": self.labels.to(ids)}
        if self.encoded is None:
            tensors["images"] = self.images
        else:
            tensors |= {"encoded": self.encoded.data, "offsets": self.encoded.offsets}
        more = {"soft": self.soft, "compensators": self.compensators}
        return tensors | {name: tensor for name, tensor in more.items() if tensor is not None}

    def nbytes(self) -> dict[str, int]:
        """The stored bytes by part: images, labels (class ids and soft ones), replay, decoder, ..."""
        parts = dict.fromkeys(PARTS, 0)
        for name, tensor in self.tensors().items():
            parts[PART_OF[name]] += tensor.numel() * tensor.element_size()
        return parts if self.replay is None else parts | {"replay": self.replay.nbytes}

    def __len__(self) -> int:
        """How many images a student trains on: m."""
        return len(self.images) * self.copies

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "c h w"], int | Tensor]:
        """One image in the evaluation space, and its class id or probabilities."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of a set of {len(self)}")
        image = self.seen(torch.tensor([index % len(self)], device=self.device))[0]
        place = index % len(self.images)
        return image, int(self.labels[place]) if self.soft is None else self.soft[place].float()

    def seen(self, index: Int64[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
        """Some of the m images in the evaluation space; only their stored ones are read and decoded.

        Args:
            index: Which, on the set's device.
        """
        n = len(self.images)
        stored = index % n
        return some_decoded(self._decoders(stored), self._read(self.images[stored]), index // n, self._grey)

    def batches(
        self, epoch: int, protocol: Protocol, generator: torch.Generator
    ) -> Iterator[tuple[Float[Tensor, "b c h w"], Target]]:
        """The batches of one epoch: every image once, in an order of the generator's, decoded as they come.

        Each epoch draws one permutation from the generator, whatever the batch size; a set that is one batch
        comes in its own order, since the order within a batch changes nothing. The last batch may be smaller.
        Under a protocol for stored labels they are the views that were labelled, in their order and batches.

        Args:
            epoch: The epoch's number; only sets that replay stored views depend on it.
            protocol: Gives the batch size, and whether stored labels are asked for.
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
        order = torch.randperm(len(self), generator=generator)
        if len(self) <= protocol.batch:
            every = torch.arange(len(self.images), device=self.device)
            yield decoded(self._decoders(every), self._read(self.images), self._grey), self.target
            return
        target = self.target
        for index in torch.split(order.to(self.device), protocol.batch):
            yield self.seen(index), target[index]

    def _replayed(
        self, epoch: int, protocol: Protocol, generator: torch.Generator
    ) -> Iterator[tuple[Float[Tensor, "b c h w"], Target]]:
        if self.replay is None:
            raise Refused(f"{protocol.name} trains on the labels that a set stores, and this set stores none")
        if protocol.stages and protocol.epochs != self.epochs:
            raise Refused(
                f"{protocol.name} lasts {protocol.epochs} epochs, but the set stores labels for {self.epochs}"
            )
        if self.evaluation_space != "normalized":
            raise Refused("stored labels are of normalised images: bring this whitened set into that space")
        temperature, squared = protocol.temperature or self.content["label"]["temperature"], protocol.squared
        for batch in self.replay.batches(epoch, generator):
            index, logits = batch.order.to(self.device), batch.logits.to(self.device)
            ids = self.labels[index % len(self.images)]
            yield batch.views(self.seen(index)), Distilled(logits, ids, temperature, squared=bool(squared))

    def to(self, device: torch.device | str) -> "ImageSet":
        """The same set on a device."""
        soft = None if self.soft is None else self.soft.to(device)
        u = None if self.compensators is None else self.compensators.to(device)
        images, labels = self.images.to(device), self.labels.to(device)
        return replace(self, images=images, labels=labels, soft=soft, compensators=u)

    def in_space(self, space: PixelSpace, source: PixelSpace | None = None) -> "ImageSet":
        """The same set with its pixels in another space, as float32; itself if they are in that one.

        Args:
            space: The space wanted.
            source: The space that the pixels are in; only a whitened set cannot make its own.

        Raises:
            Refused: if the pixels' own space is unknown, or a set with decode steps is to be whitened.
        """
        described = space.describe()
        if identity(described) == identity(self.content["pixels"]):
            return self
        images = space.to(self.device).encode(self.pixels(source))
        content = {**self.content, "pixels": described}
        content.pop("encoding", None)
        return replace(self, images=images, encoded=None, content=cast(ImageContent, content))

    def pixels(self, source: PixelSpace | None = None) -> Float[Tensor, "n c h w"]:
        """The stored images as float32 with 0 for black and 1 for white, not clamped.

        Args:
            source: The space that the stored pixels are in; only a whitened set cannot make its own.

        Raises:
            Refused: if that space is unknown, or another one than the set was stored in.
        """
        if not self.images.is_floating_point():
            return unit(self.images)
        if source is None:
            source = from_description({**self.content["pixels"]})
        elif (given := identity(source.describe())) != (own := identity(self.content["pixels"])):
            raise Refused(f"the set is stored in the pixel space {own}, which is not {given}")
        return source.to(self.device).decode(self.images)

    def save(self, path: Path | str, space: PixelSpace | None = None) -> str:
        """Stores the set as a folder, which appears whole or not at all; an older set there is replaced.

        Files of labels are linked to where they lie, or copied where the disk cannot do that.

        Args:
            path: The folder.
            space: The space of the stored pixels, for the gallery; only a whitened set needs it.

        Returns:
            The content hash.

        Raises:
            Refused: if the set contradicts itself, holds numbers that are not finite, or cannot be written.
        """
        if wrong := self.find_inconsistency() or misencoded(self):
            raise Refused(f"this set cannot be stored: {wrong}")
        if self.replay is not None:
            self.replay.check()
        stored = {name: tensor.cpu().contiguous() for name, tensor in self.tensors().items()}
        content_hash = hash_tensors(stored, prefix=canonical(self.content))
        provenance = {**self.provenance, "hash": content_hash}
        in_colour = space is not None or self.evaluation_space != "zca"
        pictures = self.pixels(space).cpu() if in_colour else None
        folder.write(
            Path(path),
            stored,
            canonical({"content": self.content, "provenance": provenance}, indent=2) + "\n",
            {
                "README.md": card(self.content, provenance, true_colours=in_colour).encode(),
                "gallery.png": gallery(
                    self.images.float().cpu() if pictures is None else pictures,
                    self.labels.cpu(),
                    self.content["dataset"]["classes"],
                    true_colours=in_colour,
                ),
            },
            () if self.replay is None else self.replay.files,
        )
        return content_hash

    @classmethod
    def load(cls, path: Path | str) -> "ImageSet":
        """Reads a stored set and checks all of it: form, hash, counts, labels, finite numbers.

        Of stored labels it checks the files' headers; their hashes follow when each is first read.

        Args:
            path: The set's folder.

        Returns:
            The set, on the CPU.

        Raises:
            Refused: naming the file and what is wrong with it.
        """
        path = Path(path)
        found, provenance, stored = folder.read(path, "images")
        content = cast(ImageContent, found)
        encoded = "encoding" in content
        if {"labels", *(("encoded", "offsets") if encoded else ("images",))} - set(stored):
            raise Refused(f"{path / folder.DATA} holds no images or no labels")
        try:
            files = Encoded(stored["encoded"], stored["offsets"]) if encoded else None
            loaded = cls(
                images=files.images(tuple(content["dataset"]["shape"])) if files else stored["images"],
                encoded=files,
                replay=Replay.of(path, content),
                labels=stored["labels"].long(),
                soft=stored.get("soft"),
                compensators=stored.get("compensators"),
                content=content,
                provenance=provenance,
            )
        except Refused as error:
            raise Refused(f"{path}: {error}") from error
        for key in ("tensors", "bytes"):
            if loaded.content[key] != content[key]:
                raise Refused(f"{path / folder.MANIFEST}: content.{key} does not agree with the tensors")
        if wrong := loaded.find_inconsistency():
            raise Refused(f"{path / folder.MANIFEST}: {wrong}")
        if loaded.replay is not None:
            loaded.replay.check()
        return loaded

    def find_inconsistency(self) -> str | None:
        """Says what in the set is not true of its tensors, or None: see `condense.store.images.check`."""
        return find_inconsistency(self)

    @cached_property
    def _grey(self) -> Fill:
        """What decode steps pad with, in the evaluation space."""
        if not self.steps:
            return GREY
        channels = self.images.shape[1]
        return self._reader.encode(torch.full((1, channels, 1, 1), GREY, device=self.device))[0]

    @cached_property
    def _extremes(self) -> tuple[Float[Tensor, "c 1 1"], Float[Tensor, "c 1 1"]]:
        """A black and a white pixel, in the evaluation space."""
        pixels = self.content["pixels"]
        return extremes(pixels["mean"], pixels["std"], self.device)

    @cached_property
    def _reader(self) -> PixelSpace:
        space = from_description({**self.content["pixels"], "space": "normalized"})
        return space.to(self.device)

    def _decoders(self, stored: Int64[Tensor, " b"]) -> list[Decoder]:
        """The steps with all that they need to decode these of the stored images."""
        return [
            Compensator(cast(Tensor, self.compensators), stored, *self._extremes)
            if isinstance(step, Compensated)
            else step
            for step in self.steps
        ]

    def _read(self, images: Shaped[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if self.content["pixels"]["space"] != "raw":
            return images.float()
        return self._reader.encode(images)
