"""DSA in stages: operations that are drawn and applied one after the other."""

import pytest
import torch
from torch import Tensor

from condense.augment import dsa
from condense.errors import Refused


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def test_stages_are_drawn_and_applied_one_after_the_other() -> None:
    x = torch.rand(2, 3, 3, 8, 8, generator=seeded(1))
    whole = dsa.draw_ops("color+crop_flip+cutout", (8, 8), seeded(5), groups=2, per_group=3)
    rng = seeded(5)
    parts = [
        dsa.draw_ops(stage, (8, 8), rng, groups=2, per_group=3) for stage in ("color", "crop_flip", "cutout")
    ]
    expected = x
    for part in parts:
        assert part.then is None
        expected = part(expected)
    assert torch.equal(whole(x), expected) and not torch.equal(expected, x)
    moved = whole.to("meta")
    assert moved.then is not None and moved.then.values.device.type == "meta"


def test_siamese_stages_treat_all_images_of_a_group_alike() -> None:
    drawn = dsa.siamese("flip+color+crop", (8, 8), 2, seeded(2))
    image = torch.rand(2, 1, 3, 8, 8, generator=seeded(3))
    out = drawn(image.expand(2, 4, 3, 8, 8))
    assert torch.equal(out, out[:, :1].expand_as(out))


@pytest.mark.parametrize(
    ("strategy", "edited"),
    [
        ("color_crop_cutout_flip_scale_rotate", "flip+color_crop_cutout_scale_rotate"),
        ("color_crop", "color_crop"),
        ("flip", "flip"),
        ("flip+color", "flip+color"),
        ("color+crop_flip", "flip+color+crop"),
        ("none", "none"),
        ("", ""),
    ],
)
def test_the_flip_becomes_a_stage_of_its_own_at_the_start(strategy: str, edited: str) -> None:
    assert dsa.with_flip_first(strategy) == edited


def test_an_empty_stage_is_refused() -> None:
    with pytest.raises(Refused, match="unknown augmentation ''"):
        dsa.draw_ops("color+", (8, 8), seeded())
