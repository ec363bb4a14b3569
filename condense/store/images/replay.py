"""Stored labels: views of a set's images and what a teacher says of them, batch by batch, a file an epoch.

Shen and Xing: A Fast Knowledge Distillation Framework for Visual Recognition, ECCV 2022,
https://arxiv.org/abs/2112.01528, as the set's own labels since SRe2L (Yin, Xing and Shen, NeurIPS 2023,
https://arxiv.org/abs/2306.13092). A student sees the same images, cropped, mirrored and mixed alike, in the
same order and batches as the teacher did; its labels are the teacher's logits for them in half precision.

The shard of an epoch, ``replay-00000.safetensors``, holds for its n views of k classes, in the order of
training:

- ``order`` int32 (n): which image is seen; ``boxes`` int16 (n, 4) and ``flips`` uint8 (n): which view of it;
  ``partners`` int32 (n): which image of the same batch it is mixed with (`condense.augment.views`);
- ``shares`` float32 and ``pastes`` int16 (., 4), one for each batch: how it is mixed;
- ``logits`` float16 (n, k); or, of the t largest logits, ``values`` float16 and ``ids`` uint8 (uint16 above
  256 classes) (n, t), and ``rest`` float16 (n), the mean of the others, which all of them are read as.

Its one metadata entry, ``replay``, names the labelled images and the epoch. Nothing is read into memory but
the batch that is wanted.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float, Int64
from safetensors import SafetensorError, safe_open
from torch import Tensor

from condense.augment.views import Views
from condense.errors import Refused
from condense.files import canonical, hash_tensors
from condense.store.manifest import PART_OF, ImageContent, Replayed, Shard

METADATA = "replay"


@dataclass(frozen=True)
class Layout:
    """What a shard holds, in numbers.

    Attributes:
        views: n, images that a student sees in an epoch.
        classes: k.
        batch: Views of a batch; the last one may have fewer.
        top_k: Logits that are stored of each view; None for all.
    """

    views: int
    classes: int
    batch: int
    top_k: int | None = None

    @classmethod
    def of(cls, content: ImageContent) -> "Layout":
        """The layout of the shards of a set with stored labels."""
        label = cast(Replayed, content["label"])
        classes = len(content["dataset"]["classes"])
        return cls(content["counts"]["effective"], classes, label["batch"], label["top_k"])

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return -(-self.views // self.batch)

    @property
    def nbytes(self) -> int:
        """Bytes of a shard's tensors: ``n (17 + 2 k) + 12 batches``.

        Of the t largest logits alone: ``n (19 + 3 t) + 12 batches``, with 4 t in place of 3 t above 256
        classes.
        """
        if self.top_k is None:
            label = 2 * self.classes
        else:
            label = self.top_k * (3 if self.classes <= 256 else 4) + 2
        return self.views * (17 + label) + 12 * self.batches

    def tensors(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Type and shape of each tensor of a shard."""
        n, k, b, t = self.views, self.classes, self.batches, self.top_k
        ids = torch.uint8 if k <= 256 else torch.uint16
        labels: dict[str, tuple[torch.dtype, tuple[int, ...]]] = (
            {"logits": (torch.float16, (n, k))}
            if t is None
            else {"values": (torch.float16, (n, t)), "ids": (ids, (n, t)), "rest": (torch.float16, (n,))}
        )
        return labels | {
            "order": (torch.int32, (n,)),
            "boxes": (torch.int16, (n, 4)),
            "flips": (torch.uint8, (n,)),
            "partners": (torch.int32, (n,)),
            "shares": (torch.float32, (b,)),
            "pastes": (torch.int16, (b, 4)),
        }

    def labels(self, logits: Float[Tensor, "n k"]) -> dict[str, Tensor]:
        """Logits as they are stored."""
        if self.top_k is None:
            return {"logits": logits.half()}
        values, ids = logits.topk(self.top_k, dim=1)
        rest = (logits.sum(1) - values.sum(1)) / (self.classes - self.top_k)
        return {"values": values.half(), "ids": ids.to(self.tensors()["ids"][0]), "rest": rest.half()}

    def logits(self, stored: Mapping[str, Tensor]) -> Float[Tensor, "n k"]:
        """Logits as they are read, in single precision: what `labels` left out is the rest's mean."""
        if self.top_k is None:
            return stored["logits"].float()
        whole = stored["rest"].float()[:, None].repeat(1, self.classes)
        return whole.scatter_(1, stored["ids"].long(), stored["values"].float())


@dataclass(frozen=True, eq=False)
class Batch:
    """A labelled batch, on the CPU.

    Attributes:
        order: Which images it shows, (n,).
        views: How.
        logits: What the teacher said of them, (n, k).
    """

    order: Int64[Tensor, " n"]
    views: Views
    logits: Float[Tensor, "n k"]


@dataclass(frozen=True, eq=False)
class Replay:
    """The shards of a set, read as they are needed.

    Attributes:
        folder: Where they lie.
        images: The hash of the images that were labelled.
        epochs: Epochs that a student is trained for.
        layout: Of each shard.
        size: (h, w) of the images.
        shards: What the manifest says of each.
    """

    folder: Path
    images: str
    epochs: int
    layout: Layout
    size: tuple[int, int]
    shards: tuple[Shard, ...]
    _known: set[int] = field(default_factory=set, repr=False)

    @classmethod
    def of(cls, folder: Path, content: ImageContent) -> "Replay | None":
        """The stored labels that a manifest tells of; None if it has none."""
        if content["label"]["kind"] != "replayed":
            return None
        label, (_, h, w) = cast(Replayed, content["label"]), content["dataset"]["shape"]
        shards = tuple(content["replay"])
        return cls(folder, label["images"], label["epochs"], Layout.of(content), (h, w), shards)

    @property
    def nbytes(self) -> int:
        """Bytes of all shards' tensors."""
        return len(self.shards) * self.layout.nbytes

    @property
    def files(self) -> list[Path]:
        """The shards' files."""
        return [self.path(shard) for shard in range(len(self.shards))]

    def path(self, shard: int) -> Path:
        """A shard's file."""
        return self.folder / self.shards[shard]["file"]

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Batch]:
        """The batches of an epoch, as they are stored.

        Where there are fewer shards than epochs (pruned labels: Xiao and He, Are Large-scale Soft Labels
        Necessary for Large-scale Dataset Distillation?, NeurIPS 2024, https://arxiv.org/abs/2410.15919), each
        batch is one of all that are stored, drawn with replacement, every one as likely as the others.

        Args:
            epoch: From 0.
            generator: A CPU generator; nothing is drawn where every epoch has its shard.

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

    def batch(self, shard: int, number: int) -> Batch:
        """One batch of a shard, whose hash is checked the first time that anything is read of it.

        Raises:
            Refused: if the shard is missing, damaged or altered.
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
            read = Batch(stored["order"].long(), views, self.layout.logits(stored))
        wrong = views.misfit(self.size)
        if not 0 <= int(read.order.min()) <= int(read.order.max()) < self.layout.views:
            wrong = "an image that the set does not have"
        if not bool(read.logits.isfinite().all()):
            wrong = "logits that are not finite"
        if wrong:
            raise Refused(f"{self.path(shard)}: batch {number} holds {wrong}")
        return read

    def check(self) -> None:
        """Looks at the header of each shard: that it is there, whole, of these images, in this layout.

        Raises:
            Refused: naming the file and what is wrong with it.
        """
        for shard in range(len(self.shards)):
            with self._open(shard):
                pass

    def verify(self) -> None:
        """Recomputes the hash of each shard, one after the other.

        Raises:
            Refused: naming the file and what is wrong with it.
        """
        for shard in range(len(self.shards)):
            self.verify_shard(shard)

    def verify_shard(self, shard: int) -> None:
        """Recomputes the hash of a shard; what is mapped of the file is let go again.

        Raises:
            Refused: if it is not the recorded one.
        """
        with self._open(shard) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            found = hash_tensors(tensors, prefix=file.metadata()[METADATA])
        if found != (recorded := self.shards[shard]["hash"]):
            raise Refused(
                f"{self.path(shard)} was altered: its hash is {found[:16]}..., "
                f"the recorded one {recorded[:16]}..."
            )
        self._known.add(shard)

    @contextmanager
    def _open(self, shard: int) -> Iterator[Any]:
        """A shard's file, its header checked."""
        path = self.path(shard)
        if not path.exists():
            raise Refused(f"{path} is missing: the set has {len(self.shards)} files of labels")
        try:
            with safe_open(path, framework="pt") as file:
                self._agree(file, shard)
                yield file
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise Refused(f"{path} is truncated or damaged: {error}") from error

    def _agree(self, file: Any, shard: int) -> None:
        path = self.path(shard)
        if (named := (file.metadata() or {}).get(METADATA)) != (wanted := entry(self.images, shard)):
            raise Refused(f"{path} holds labels of another set or epoch: of {named}, not of {wanted}")
        found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        held = {name: (DTYPES.get(one.get_dtype()), tuple(one.get_shape())) for name, one in found.items()}
        if held != (listed := self.layout.tensors()):
            name = min(name for name in held.keys() | listed if held.get(name) != listed.get(name))
            raise Refused(f"{path} holds {name!r} as {held.get(name)}, where {listed.get(name)} belongs")


DTYPES = {
    "F16": torch.float16, "F32": torch.float32, "I16": torch.int16, "I32": torch.int32,
    "U8": torch.uint8, "U16": torch.uint16,
}  # fmt: skip
"""The types of tensors as a safetensors header names them."""


def entry(images: str, epoch: int) -> str:
    """What a shard's metadata says of it."""
    return canonical({"images": images, "epoch": epoch})


def hash_images(tensors: Mapping[str, Tensor], content: ImageContent) -> str:
    """SHA-256 over what the images that a student sees are made of: as stored, and how they are decoded."""
    seen = {name: tensor for name, tensor in tensors.items() if PART_OF[name] != "labels"}
    return hash_tensors(seen, prefix=canonical({"decode": content["decode"], "pixels": content["pixels"]}))
