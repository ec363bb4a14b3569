"""Sets with stored labels of random views, for tests."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor

from condense.augment.views import draw_views
from condense.errors import Refused
from condense.protocols import REPLAY_V1
from condense.store import ImageContent, ImageSet
from condense.store.images.manifest import ReplayedLabelPart
from condense.store.images.replay import Replay, hash_images
from condense.store.images.shards import ShardLayout
from condense.store.images.writer import LabelWriter
from condense.store.targets import TeacherLogits


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Seen:
    """A batch as the one who labels has it."""

    images: Tensor
    logits: Tensor
    ids: Tensor


def labelled(
    made: ImageSet,
    folder: Path,
    *,
    epochs: int = 3,
    shards: int | None = None,
    batch: int = 4,
    top_k: int | None = None,
    seed: int = 0,
    seen: list[Seen] | None = None,
    protocol: str | None = None,
    form: str = "logits",
    fill: str = "mean",
) -> ImageSet:
    """A set whose labels are random logits of random views; what was labelled goes to `seen`."""
    rng, layout = stream(seed), ShardLayout(len(made), made.num_classes, batch, top_k, form, fill)
    shards = shards or epochs
    writer = LabelWriter(folder, layout, hash_images(made.tensors(), made.content), shards)
    for _ in range(shards):
        for order in torch.split(torch.randperm(len(made), generator=rng), batch):
            size = (made.images.shape[-2], made.images.shape[-1])
            views = draw_views(len(order), size, rng, crops="resized", flip=True, cutmix_probability=0.7)
            logits = torch.randn(len(order), made.num_classes, generator=rng)
            given = logits if form == "logits" else logits.softmax(1)
            writer.add(order, views, given)
            if seen is not None:
                read = layout.logits(layout.labels(logits))
                seen.append(Seen(views(made.images_at(order)), read, made.labels[order % len(made.images)]))
        writer.close()
    label: ReplayedLabelPart = {
        "kind": "replayed", "temperature": 5.0, "teacher": "e" * 64, "images": writer.images,
        "epochs": epochs, "shards": shards, "batch": batch, "crop": "resized", "cutmix": 0.7, "mixup": None,
        "top_k": top_k, "dtype": "float16",
    }  # fmt: skip
    if protocol:
        label["protocol"] = protocol
    if form != "logits":
        label["form"] = form
    if fill != "mean":
        label["fill"] = fill
    content = cast(ImageContent, {**made.content, "label": label, "replay": writer.shards})
    return replace(made, replay=Replay.of(folder, content), content=content)


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def epoch(made: ImageSet, number: int, seed: int = 0) -> list[tuple[Tensor, TeacherLogits]]:
    found = made.batches(number, REPLAY_V1, stream(seed))
    return [(images, cast(TeacherLogits, target)) for images, target in found]
