"""Shared views of batches, against cropping, resizing, flipping and rolling image by image."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from condense.augment.resample import mapped
from condense.augment.shared import SharedViews


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_views(size: tuple[int, int], steps: int, seed: int = 0) -> SharedViews:
    return SharedViews.random(size, [0.08] * steps, seeded(seed), flip=True, roll=range(-3, 6))


def naive(x: Tensor, views: SharedViews, batch: int, step: int) -> Tensor:
    """Applies torchvision and ``torch.roll`` to images (b, c, h, w)."""
    top, left, height, width = views.boxes[batch, step].tolist()
    cut = x[..., top : top + height, left : left + width]
    seen = interpolate(cut, size=x.shape[-2:], mode="bilinear", align_corners=False)
    if views.mirrored[batch, step]:
        seen = seen.flip(-1)
    return seen.roll(tuple(views.rolls[batch, step].tolist()), (2, 3))


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (32, 28)])
def test_a_view_is_a_resized_crop_then_a_flip_then_a_roll(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, 2, *size, generator=seeded(1), dtype=torch.float64)
    views = SharedViews.stack([random_views(size, 40, seed) for seed in range(2)])
    assert 0 < views.mirrored.sum() < 80 and (views.boxes[..., 0] > 0).any() and (views.rolls < 0).any()
    for step in range(40):
        expected = torch.stack([naive(x[batch], views, batch, step) for batch in range(2)])
        torch.testing.assert_close(views(x, step), expected, rtol=1e-12, atol=1e-12)


def test_without_a_crop_pixels_move_and_keep_their_exact_values() -> None:
    x = torch.randn(1, 3, 1, 9, 9, generator=seeded())
    views = SharedViews.random((9, 9), [1.0] * 30, seeded(), flip=True, roll=range(5))
    assert (views.boxes == torch.tensor([0, 0, 9, 9])).all()
    assert views.rolls.min() == 0 and views.rolls.max() == 4
    for step in range(30):
        assert torch.equal(views(x, step)[0], naive(x[0], views, 0, step))


def test_views_without_any_variation_are_the_identity() -> None:
    x = torch.randn(1, 2, 3, 5, 6, generator=seeded())
    views = SharedViews.random((5, 6), [1.0] * 4, seeded(), flip=False, roll=range(1))
    assert all(torch.equal(views(x, step), x) for step in range(4))


def test_the_draws_of_one_setting_do_not_depend_on_the_others() -> None:
    full = random_views((16, 16), 20)
    plain = SharedViews.random((16, 16), [1.0] * 20, seeded(), flip=False, roll=range(-3, 6))
    assert torch.equal(full.rolls, plain.rolls) and not plain.mirrored.any()
    assert torch.equal(
        full.mirrored, SharedViews.random((16, 16), [0.5] * 20, seeded(), flip=True, roll=range(1)).mirrored
    )


def test_crops_fit_with_shares_and_ratios_within_bounds() -> None:
    views = SharedViews.random((64, 64), [0.08] * 4000, seeded(), flip=False, roll=range(1))
    top, left, height, width = views.boxes[0].double().unbind(1)
    assert (
        (top >= 0).all() and (left >= 0).all() and (top + height <= 64).all() and (left + width <= 64).all()
    )
    share, ratio = height * width / 64**2, (width / height).log()
    assert share.min() > 0.07 and share.max() > 0.98 and abs(float(share.mean()) - 0.5) < 0.03
    # rounding to whole pixels: a side of 18 may be half a pixel off, and so may the other
    assert ratio.abs().max() <= math.log(4 / 3) + 2 * 0.5 / 15
    assert abs(float(ratio.mean())) < 0.01
    # Where a crop lies is uniform over the places that it fits.
    free = height < 64
    assert abs(float((top / (64 - height).clamp_min(1))[free].mean()) - 0.5) < 0.02


def test_the_smallest_share_may_change_with_the_step() -> None:
    shares = [1.0] * 500 + [0.5] * 500 + [0.08] * 500
    views = SharedViews.random((32, 32), shares, seeded(), flip=False, roll=range(1))
    areas = (views.boxes[0, :, 2] * views.boxes[0, :, 3]).view(3, 500) / 32**2
    assert (areas[0] == 1).all()
    assert areas[1].min() > 0.48 and areas[2].min() < 0.15


def test_a_share_of_1_never_crops_even_a_very_tall_image() -> None:
    views = SharedViews.random((20, 2), [1.0] * 50, seeded(), flip=False, roll=range(1))
    assert (views.boxes[0] == torch.tensor([0, 0, 20, 2])).all()


def test_every_pixel_of_a_view_is_a_mean_of_pixels_of_its_crop() -> None:
    views = SharedViews(torch.tensor([[[0, 2, 9, 5]]]), torch.tensor([[True]]), torch.tensor([[[0, 3]]]))
    (weights,) = views.maps(0, (9, 9), torch.float64)[1]
    torch.testing.assert_close(weights.sum(1), torch.ones(9, dtype=torch.float64))
    assert (weights >= 0).all() and weights[:, :2].sum() == weights[:, 7:].sum() == 0


def test_the_gradient_flows_back_through_the_same_map() -> None:
    x = torch.randn(2, 2, 1, 4, 5, generator=seeded(), dtype=torch.float64, requires_grad=True)
    views = SharedViews.stack([random_views((4, 5), 1, seed) for seed in range(2)])
    assert torch.autograd.gradcheck(
        lambda images: mapped(images, *views.maps(0, (4, 5), torch.float64)), (x,)
    )
