"""A small set of every form, without any method."""

from collections.abc import Callable, Mapping
from typing import cast

import pytest
import torch

from condense.data.images.pixels import PixelSpace, affine
from condense.store import ImageContent, ImageSet


def make_set(
    *,
    space: PixelSpace | None = None,
    dtype: torch.dtype = torch.float32,
    soft: torch.dtype | None = None,
    per_class: tuple[int, ...] = (3, 2, 4),
    shape: tuple[int, int, int] = (3, 4, 4),
    names: tuple[str, ...] = (),
    seed: int = 0,
    content: Mapping[str, object] | None = None,
    provenance: Mapping[str, object] | None = None,
) -> ImageSet:
    """A set of random pixels; `content` overrides top-level keys of the manifest."""
    draw = torch.Generator().manual_seed(seed)
    n, k, c = sum(per_class), len(per_class), shape[0]
    space = space or affine("normalized", [0.5, 0.4, 0.3][:c], [0.2, 0.25, 0.3][:c])
    pixels = torch.randint(0, 256, (n, *shape), generator=draw, dtype=torch.uint8)
    images = pixels if dtype == torch.uint8 else space.encode(pixels).to(dtype)
    probabilities = torch.rand(n, k, generator=draw).softmax(1)
    values: dict[str, object] = {
        "format": "condense-set",
        "version": 1,
        "kind": "images",
        "key": "k" * 64,
        "dataset": {
            "name": "toy",
            "classes": list(names) or [f"class {i}" for i in range(k)],
            "shape": list(shape),
            "train_hash": "t" * 64,
            "dsa": "color_crop",
        },
        "ipc": max(per_class),
        "counts": {"stored": n, "effective": n, "per_class": list(per_class)},
        "pixels": space.describe(),
        "decode": [],
        "label": {"kind": "soft" if soft else "hard", "temperature": 1.0, "teacher": None},
        "hints": {"lr": None, "augment": "dsa"},
        "protocol": None,
        "method": {
            "name": "dm",
            "chain": [{"name": "dm", "version": 1, "config": {"iterations": 7, "lr_img": 0.1}}],
            "source": None,
        },
        "seed": seed,
    }
    return ImageSet(
        images=images,
        labels=torch.arange(k).repeat_interleave(torch.tensor(per_class)),
        soft=probabilities.to(soft) if soft else None,
        content=cast(ImageContent, values | dict(content or {})),
        provenance={"device": "cpu", "seconds": 1.5} if provenance is None else provenance,
    )


@pytest.fixture
def make() -> Callable[..., ImageSet]:
    """The maker of small sets."""
    return make_set


@pytest.fixture
def raw() -> PixelSpace:
    """Pixels in [0, 1], of three channels."""
    return affine("raw", [0.5, 0.4, 0.3], [0.2, 0.25, 0.3])
