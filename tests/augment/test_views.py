"""Views as numbers: they repeat augmentation and mixing exactly, and invalid numbers are found."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from condense.augment import crop, resized
from condense.augment.mixup import draw_mixup, mix
from condense.augment.views import Views, draw_views, next_of_same
from condense.errors import Refused
from condense.store.targets import Hard
from condense.training.step import cutmix


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int = 6, h: int = 16, w: int = 24) -> Tensor:
    return torch.randn(n, 3, h, w, generator=stream(9))


def plain(boxes: list[list[int]], flips: list[int] | None = None) -> Views:
    """Returns views without mixing."""
    n = len(boxes)
    return Views(
        boxes=torch.tensor(boxes, dtype=torch.int16),
        flips=torch.tensor(flips or [0] * n, dtype=torch.uint8),
        partners=torch.arange(n, dtype=torch.int32),
        share=1.0,
        paste=(0, 0, 0, 0),
    )


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("crops", "augment"), [("crop-flip", crop.random_crop), ("resized", resized.random_resized_crop)]
)
def test_drawn_views_equal_the_augmentation_of_the_same_stream(
    crops: str, augment: object, flip: bool
) -> None:
    x, ours, theirs = pictures(), stream(3), stream(3)
    views = draw_views(len(x), (16, 24), ours, crops=crops, flip=flip)
    assert torch.equal(views(x), augment(x, theirs, flip=flip))  # type: ignore[operator]
    assert torch.equal(ours.get_state(), theirs.get_state())
    assert bool(views.flips.any()) == flip


def test_a_largest_share_bounds_the_boxes_and_the_default_changes_nothing() -> None:
    ours, theirs = stream(2), stream(2)
    usual = draw_views(400, (100, 100), ours, crops="resized", flip=False)
    assert torch.equal(usual.boxes.long(), resized.boxes(400, (100, 100), theirs))
    narrow = draw_views(400, (100, 100), stream(2), crops="resized", flip=False, scale=(0.2, 0.5))
    area = narrow.boxes[:, 2].double() * narrow.boxes[:, 3] / 1e4
    # Sides are rounded to pixels.
    assert 0.19 < float(area.min()) < 0.22 and 0.48 < float(area.max()) < 0.51


def test_views_of_an_image_are_mixed_with_each_other_and_a_single_one_with_itself() -> None:
    shown = torch.tensor([4, 4, 4, 7, 2, 7])
    assert next_of_same(shown).tolist() == [1, 2, 0, 5, 4, 3]
    ours, theirs = stream(1), stream(1)
    given = {"crops": "resized", "flip": True, "cutmix_probability": 1.0}
    views, other = (
        draw_views(6, (16, 24), rng, shown=one, **given)  # type: ignore[arg-type]
        for rng, one in ((ours, shown), (theirs, None))
    )
    assert torch.equal(ours.get_state(), theirs.get_state())
    assert torch.equal(views.boxes, other.boxes) and views.paste == other.paste != (0, 0, 0, 0)
    images = pictures(8)[shown]
    mixed, single = views(images), replace(views, paste=(0, 0, 0, 0), share=1.0)(images)
    top, left, height, width = views.paste
    inside = torch.zeros(16, 24, dtype=torch.bool)
    inside[top : top + height, left : left + width] = True
    assert torch.equal(mixed, torch.where(inside, single[[1, 2, 0, 5, 4, 3]], single))
    assert torch.equal(mixed[4], single[4]) and not torch.equal(mixed[0], single[0])
    assert torch.equal(views(images), mixed)


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_views_with_pasted_boxes_equal_those_of_training(probability: float) -> None:
    x, ours, theirs = pictures(), stream(5), stream(5)
    pasted = []
    for _ in range(8):
        views = draw_views(
            len(x), (16, 24), ours, crops="crop-flip", flip=True, cutmix_probability=probability
        )
        expected, _ = cutmix(
            crop.random_crop(x, theirs, flip=True), Hard(torch.arange(6)), theirs, probability
        )
        assert torch.equal(views(x), expected)
        pasted.append(views.paste[2] * views.paste[3] > 0)
    assert any(pasted) == (probability > 0) and (all(pasted) or probability < 1)


def test_averaged_views_keep_the_weight_that_mixup_draws() -> None:
    x, ours, theirs = pictures(), stream(7), stream(7)
    views = draw_views(len(x), (16, 24), ours, crops="crop-flip", flip=False, mixup_beta=0.8)
    shifted = crop.random_crop(x, theirs, flip=False)
    order, share = draw_mixup(len(x), 0.8, theirs)
    torch.testing.assert_close(views(x), mix(shifted, order, share))
    assert 0 < views.share < 1 and views.share == pytest.approx(share, abs=1e-7)
    assert not torch.equal(views(x), shifted)


def test_shifts_fill_with_zeros_and_other_boxes_are_enlarged() -> None:
    """Compares each image with its definition in float64."""
    x = pictures(4, 8, 10).double()
    views = plain([[2, -3, 8, 10], [1, 2, 4, 5], [0, 0, 8, 10], [-7, 9, 8, 10]], [0, 1, 1, 0])
    shown = views(x)
    moved = torch.zeros(3, 8, 10, dtype=torch.float64)
    moved[:, :6, 3:] = x[0, :, 2:, :7]
    assert torch.equal(shown[0], moved)
    box = interpolate(x[1:2, :, 1:5, 2:7], (8, 10), mode="bilinear", align_corners=False)[0].flip(-1)
    torch.testing.assert_close(shown[1], box)
    assert torch.equal(shown[2], x[2].flip(-1))
    corner = torch.zeros(3, 8, 10, dtype=torch.float64)
    corner[:, 7:, :1] = x[3, :, :1, 9:]
    assert torch.equal(shown[3], corner)


def test_shifts_and_enlarged_boxes_may_be_mixed_in_a_batch() -> None:
    x = pictures(2, 8, 10)
    shift, box = [1, 1, 8, 10], [2, 3, 4, 4]
    both = plain([shift, box])(x)
    assert torch.equal(both[0], plain([shift, shift])(x)[0])
    assert torch.equal(both[1], plain([box, box])(x)[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"boxes": torch.tensor([[0, 0, 4, 0], [0, 0, 8, 10]])}, "a box"),
        ({"boxes": torch.tensor([[5, 0, 4, 4], [0, 0, 8, 10]])}, "a box"),
        ({"boxes": torch.tensor([[-1, 0, 4, 4], [0, 0, 8, 10]])}, "a box"),
        ({"boxes": torch.tensor([[0, 0, 8, 10], [8, 0, 8, 10]])}, "a box"),
        ({"boxes": torch.tensor([[0, 0, 8, 10], [0, 0, 9, 10]])}, "a box"),
        ({"flips": torch.tensor([0, 2])}, "a flip"),
        ({"partners": torch.tensor([0, 2])}, "a partner"),
        ({"partners": torch.tensor([-1, 0])}, "a partner"),
        ({"share": 1.5}, "a mixture"),
        ({"share": float("nan")}, "a mixture"),
        ({"paste": (0, 8, 4, 4)}, "a mixture"),
        ({"paste": (4, 4, -2, 4)}, "a mixture"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_invalid_numbers_are_found(change: dict[str, object], words: str) -> None:
    fine = plain([[0, 0, 8, 10], [1, -2, 8, 10]])
    assert fine.misfit((8, 10)) is None
    wrong = replace(fine, **change).misfit((8, 10))  # type: ignore[arg-type]
    assert wrong is not None and wrong.startswith(words)


def test_an_unknown_kind_of_crop_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Refused, match="unknown crop 'centre'; known: crop-flip, resized"):
        draw_views(2, (8, 8), stream(), crops="centre", flip=False)
