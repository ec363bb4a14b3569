"""Writing the stored labels that `condense.store.images.replay` reads, one file for each epoch."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float, Int64
from safetensors.torch import save
from torch import Tensor

from condense.augment.views import Views
from condense.errors import Damaged, Refused
from condense.files import hash_tensors, write_atomic
from condense.store.images.manifest import ShardPart, shard_name
from condense.store.images.replay import METADATA, Replay, shard_metadata
from condense.store.images.shards import ShardLayout


class LabelWriter:
    """Writes labels shard by shard, with one epoch in memory at a time.

    It can be part of a loop's state, which is the hashes of the finished shards: a loop that is continued
    writes the other shards anew, or all of them if a finished one is damaged.

    Attributes:
        shards: The finished shards, as a manifest lists them.
    """

    def __init__(self, folder: Path, layout: ShardLayout, images: str, shards: int) -> None:
        """Prints how much room the labels will take, and checks that there is as much.

        Args:
            folder: The folder of the shards.
            layout: The sizes of each shard.
            images: The hash of the images that are labelled.
            shards: The number of shards that will be written.

        Raises:
            Refused: if the disk cannot hold them, or the classes are too many for 16 bits.
        """
        if "ids" in layout.tensors() and layout.classes > 2**16:
            raise Refused(f"the ids of {layout.classes} classes do not fit 16 bits: store all logits")
        self.folder, self.layout, self.images = folder, layout, images
        self.shards: list[ShardPart] = []
        self._batches: list[dict[str, Tensor]] = []
        require_room(folder, shards, layout.nbytes)

    def add(self, order: Int64[Tensor, " n"], views: Views, given: Float[Tensor, "n k"]) -> None:
        """Adds a batch to the current epoch.

        Args:
            order: The number of the image that each view shows.
            views: How these images are cropped, flipped and mixed.
            given: Their labels as `ShardLayout.labels` takes them, on any device.
        """
        labels = self.layout.labels(given.detach().float())
        view = {"order": order.cpu().int(), "boxes": views.boxes, "flips": views.flips}
        mixture = {
            "partners": views.partners,
            "shares": torch.tensor([views.share], dtype=torch.float32),
            "pastes": torch.tensor([views.paste], dtype=torch.int16),
        }
        self._batches.append(labels | view | mixture)

    def close(self) -> None:
        """Writes the current epoch.

        Raises:
            Refused: if its logits do not fit half precision, or the file cannot be written.
        """
        epoch, text = len(self.shards), shard_metadata(self.images, len(self.shards))
        names = self.layout.tensors()
        tensors = {name: torch.cat([one[name] for one in self._batches]).cpu() for name in names}
        self._batches = []
        for name, (dtype, shape) in names.items():
            assert (tensors[name].dtype, tensors[name].shape) == (dtype, shape), name
            if dtype == torch.float16 and not bool(tensors[name].isfinite().all()):
                raise Refused(f"the teacher's logits of epoch {epoch} do not fit half precision")
        write_atomic(self.folder / shard_name(epoch), save(tensors, metadata={METADATA: text}))
        self.shards.append(self._entry(epoch, hash_tensors(tensors, prefix=text)))

    def state_dict(self) -> dict[str, object]:
        return {"hashes": [shard["hash"] for shard in self.shards]}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continues after the shards that a state names."""
        self._batches = []
        self.shards = self._entries(state)

    def verify_files(self, state: Mapping[str, object]) -> None:
        """Raises `Damaged` if the file of a shard that a state names does not hold what was written."""
        shards = tuple(self._entries(state))
        try:
            Replay(self.folder, self.images, len(shards), self.layout, (1, 1), shards).verify()
        except Refused as error:
            raise Damaged(error.reason) from error

    def _entries(self, state: Mapping[str, object]) -> list[ShardPart]:
        return [self._entry(epoch, hash_) for epoch, hash_ in enumerate(cast(list[str], state["hashes"]))]

    def _entry(self, epoch: int, hash_: str) -> ShardPart:
        return {"file": shard_name(epoch), "hash": hash_, "bytes": self.layout.nbytes}


def require_room(folder: Path, shards: int, nbytes: int) -> None:
    """Prints how much room some shards take, and refuses a disk that has less."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    done = sum(path.stat().st_size for path in folder.glob(shard_name(0).replace("00000", "*")))
    free, need = shutil.disk_usage(there).free + done, shards * nbytes
    sizes = f"{shards} files of {_size(nbytes)}, {_size(need)} in all"
    print(f"labels: {sizes}, in {folder}", file=sys.stderr, flush=True)
    if need > free:
        raise Refused(f"the labels would take {sizes}, and {there} has {_size(free)} left")


def _size(nbytes: float) -> str:
    for unit in ("kB", "MB"):
        nbytes /= 1000
        if nbytes < 1000:
            return f"{nbytes:.1f} {unit}"
    return f"{nbytes / 1000:.1f} GB"
