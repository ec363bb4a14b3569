"""Stored labels: views of a set's images with a teacher's logits for them, one file for each epoch.

Shen and Xing: A Fast Knowledge Distillation Framework for Visual Recognition, ECCV 2022,
https://arxiv.org/abs/2112.01528, as the set's own labels since SRe2L (Yin, Xing and Shen, NeurIPS 2023,
https://arxiv.org/abs/2306.13092). A student sees the images in the same order and batches as the teacher did,
cropped, mirrored and mixed in the same way; its labels are the teacher's logits in half precision.

The shard of an epoch, ``replay-00000.safetensors``, holds for its n views of k classes, in the order of
training:

- ``order`` int32 (n): the shown image; ``boxes`` int16 (n, 4) and ``flips`` uint8 (n): the view of it;
  ``partners`` int32 (n): the image of the same batch that it is mixed with (`condense.augment.views`);
- ``shares`` float32 and ``pastes`` int16 (., 4), one for each batch: how it is mixed;
- ``logits`` float16 (n, k); or, if only the t largest logits are stored, ``values`` float16 and ``ids`` uint8
  (uint16 above 256 classes) (n, t), and ``rest`` float16 (n), the mean of the others, which stands for each.
  `condense.store.images.shards` has the other forms of labels.

The one metadata entry of a shard, ``replay``, names the labelled images and the epoch. Only the batch that is
needed is read into memory.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Int64
from safetensors import SafetensorError, safe_open
from torch import Tensor

from condense.augment.views import Views
from condense.errors import Refused, Remedy
from condense.files import canonical, first_line, hash_tensors
from condense.protocol import Protocol
from condense.reading import open_file
from condense.store.images.manifest import PART_OF, ImageContent, ReplayedLabelPart, ShardPart
from condense.store.images.shards import ShardLayout

METADATA = "replay"


@dataclass(frozen=True, eq=False)
class LabelledViews:
    """A batch of views with their stored labels, on the CPU.

    Attributes:
        order: The number of the image that each view shows, (n,).
        views: How these images are cropped, flipped and mixed.
        labels: The tensors that hold the labels of the views: see `ShardLayout.target`.
    """

    order: Int64[Tensor, " n"]
    views: Views
    labels: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Replay:
    """The stored labels of a set. A batch is read when it is needed.

    Attributes:
        folder: The folder of the shards.
        images: The hash of the images that were labelled.
        epochs: Number of epochs that a student is trained for.
        layout: The sizes of each shard.
        size: Height and width of the images.
        shards: The manifest's entry of each shard.
        protocol: The protocol whose batches and epochs the views have; None if they were chosen freely.
    """

    folder: Path
    images: str
    epochs: int
    layout: ShardLayout
    size: tuple[int, int]
    shards: tuple[ShardPart, ...]
    protocol: str | None = None
    _known: set[int] = field(default_factory=set, repr=False)

    @classmethod
    def of(cls, folder: Path, content: ImageContent) -> "Replay | None":
        """Returns the stored labels that a manifest lists, or None if it lists none."""
        if content["label"]["kind"] != "replayed":
            return None
        label, (_, h, w) = cast(ReplayedLabelPart, content["label"]), content["dataset"]["shape"]
        shards = tuple(content["replay"])
        layout, protocol = ShardLayout.of(content), label.get("protocol")
        return cls(folder, label["images"], label["epochs"], layout, (h, w), shards, protocol)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors of all shards."""
        return len(self.shards) * self.layout.nbytes

    @property
    def files(self) -> list[Path]:
        """The files of the shards."""
        return [self.file(shard) for shard in range(len(self.shards))]

    def file(self, shard: int) -> Path:
        """Returns the file of a shard; the list of all would take long where there are thousands."""
        return self.folder / self.shards[shard]["file"]

    def metadata(self) -> dict[str, str]:
        """Returns the metadata entry of each shard, by the name of its file."""
        return {shard["file"]: shard_metadata(self.images, epoch) for epoch, shard in enumerate(self.shards)}

    def require(self, protocol: Protocol) -> None:
        """Refuses a protocol under which students would be trained on other batches, or longer or shorter.

        A protocol without stages takes the views of any set whose batches and epochs were chosen freely, and
        those that were made for itself.
        """
        n, batch = self.layout.views, self.layout.batch
        if not protocol.stages:
            if self.protocol not in (None, protocol.name):
                raise Refused(
                    f"{protocol.name} trains on views in batches and epochs that were chosen for the set; "
                    f"those of this one are the batches and epochs of {self.protocol}",
                    remedies=[Remedy(settings={"protocol": self.protocol}, effect="judges it")],
                )
            return
        epochs, wanted = protocol.epochs_for(n), batch if protocol.batches is None else protocol.batch_for(n)
        if (epochs, wanted) != (self.epochs, min(batch, n) if protocol.batches else batch):
            raise Refused(
                f"{protocol.name} trains on {n} images for {epochs} epochs in batches of {wanted}, but the "
                f"set stores labels for {self.epochs} epochs in batches of {batch}"
            )

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[LabelledViews]:
        """Yields the batches of an epoch.

        If there are fewer shards than epochs (pruned labels: Xiao and He, Are Large-scale Soft Labels
        Necessary for Large-scale Dataset Distillation?, NeurIPS 2024, https://arxiv.org/abs/2410.15919), each
        batch is drawn from all stored batches, uniformly and with replacement.

        Args:
            epoch: Number of the epoch, from 0.
            generator: A CPU generator; it is not used if every epoch has its shard.

        Raises:
            Refused: if a shard is missing, damaged or altered, or there are no labels for the epoch.
        """
        if not 0 <= epoch < self.epochs:
            raise Refused(f"{self.folder} stores labels for {self.epochs} epochs, and none for epoch {epoch}")
        per_epoch = self.layout.batches
        if len(self.shards) == self.epochs:
            records = list(range(epoch * per_epoch, (epoch + 1) * per_epoch))
        else:
            pool = len(self.shards) * per_epoch
            records = torch.randint(pool, (per_epoch,), generator=generator).tolist()
        for record in records:
            yield self.batch(record // per_epoch, record % per_epoch)

    def batch(self, shard: int, number: int) -> LabelledViews:
        """Reads one batch of a shard; refuses a shard that is missing, damaged or altered.

        The hash of the shard is checked before its first batch is read.
        """
        if shard not in self._known:
            self.verify_shard(shard)
        start = number * self.layout.batch
        rows = slice(start, min(start + self.layout.batch, self.layout.views))
        with self._open(shard) as file:
            stored = {
                name: file.get_slice(name)[number if name in ("shares", "pastes") else rows]
                for name in self.layout.tensors()
            }
            top, left, height, width = stored["pastes"].tolist()
            views = Views(
                boxes=stored["boxes"].clone(),
                flips=stored["flips"].clone(),
                partners=stored["partners"].clone(),
                share=float(stored["shares"]),
                paste=(top, left, height, width),
            )
            read = LabelledViews(stored["order"].long(), views, stored)
        wrong = views.misfit(self.size)
        if not 0 <= int(read.order.min()) <= int(read.order.max()) < self.layout.views:
            wrong = "an image that the set does not have"
        if wrong := self.layout.misfit(stored) or wrong:
            raise Refused(f"{self.file(shard)}: batch {number} holds {wrong}")
        return read

    def check_headers(self) -> None:
        """Refuses a shard that is missing or not whole, belongs to other images or has another layout."""
        for shard in range(len(self.shards)):
            with self._open(shard):
                pass

    def verify(self) -> None:
        """Recomputes the hash of each shard, one after the other; refuses any but the recorded one."""
        for shard in range(len(self.shards)):
            self.verify_shard(shard)

    def verify_shard(self, shard: int) -> None:
        """Recomputes the hash of a shard; refuses any but the recorded one."""
        with self._open(shard) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            found = hash_tensors(tensors, prefix=file.metadata()[METADATA])
        if found != (recorded := self.shards[shard]["hash"]):
            raise Refused(
                f"{self.file(shard)} was altered: its hash is {found[:16]}..., "
                f"the recorded one {recorded[:16]}..."
            )
        self._known.add(shard)

    @contextmanager
    def _open(self, shard: int) -> Iterator[Any]:
        """Opens the file of a shard and checks its header."""
        path = self.file(shard)
        if not os.path.lexists(path):
            raise Refused(f"{path} is missing: the set has {len(self.shards)} files of labels")
        open_file(path).close()  # refuses what is no plain file
        try:
            with safe_open(path, framework="pt") as file:
                self._check_header(file, shard, path)
                yield file
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise Refused(f"{path} is truncated or damaged: {first_line(error)}") from error

    def _check_header(self, file: Any, shard: int, path: Path) -> None:
        if (named := (file.metadata() or {}).get(METADATA)) != (wanted := shard_metadata(self.images, shard)):
            raise Refused(f"{path} holds labels of another set or epoch: of {named}, not of {wanted}")
        found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        held = {name: (_DTYPES.get(one.get_dtype()), tuple(one.get_shape())) for name, one in found.items()}
        if held != (listed := self.layout.tensors()):
            name = min(name for name in held.keys() | listed if held.get(name) != listed.get(name))
            raise Refused(f"{path} holds {name!r} as {held.get(name)}, where {listed.get(name)} belongs")


_DTYPES = {
    "F16": torch.float16, "F32": torch.float32, "I16": torch.int16, "I32": torch.int32,
    "U8": torch.uint8, "U16": torch.uint16,
}  # fmt: skip
"""The types of a shard's tensors, as a safetensors header names them."""


def shard_metadata(images: str, epoch: int) -> str:
    """Returns the metadata entry of a shard."""
    return canonical({"images": images, "epoch": epoch})


def hash_images(tensors: Mapping[str, Tensor], content: ImageContent) -> str:
    """Returns SHA-256 over everything that decides what a student sees: tensors, decoding, pixel space."""
    images = {name: tensor for name, tensor in tensors.items() if PART_OF[name] != "labels"}
    return hash_tensors(images, prefix=canonical({"decode": content["decode"], "pixels": content["pixels"]}))
