"""Sets whose labels an encoder regenerates, for tests."""

from collections.abc import Sequence
from typing import cast

import torch

from condense.store import ImageContent, ImageSet
from condense.store.images.projection import Adapted, Projection
from tests.store.conftest import make_set

ADAPTED = (Adapted("body.0", 4, 27, 2), Adapted("classifier", 3, 6, None))


def projected(
    *,
    adapted: Sequence[Adapted] = ADAPTED,
    dtype: torch.dtype = torch.float32,
    beta: float = 0.25,
    encoder: str = "e" * 64,
    named: str | None = None,
    seed: int = 0,
) -> ImageSet:
    """A small set with random adapters of the weights `ADAPTED`, whatever the manifest lists."""
    count = sum(one.numbers for one in ADAPTED) if adapted else 0
    numbers = torch.randn(count, generator=torch.Generator().manual_seed(seed)).to(dtype)
    teacher = {"hash": named or encoder, "network": "convnet", "bytes": 4321, "accuracy": None}
    label = Projection(tuple(adapted), numbers, beta).label(encoder)
    plain = make_set()
    content = cast(ImageContent, {**plain.content, "label": label, "teacher": teacher})
    return ImageSet(images=plain.images, labels=plain.labels, projector=numbers, content=content)
