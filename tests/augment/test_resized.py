"""Enlarged boxes: they equal interpolated crops, and the draws are torchvision's."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from condense.augment import resized
from condense.errors import Refused


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int, h: int, w: int) -> Tensor:
    return torch.randn(n, 2, h, w, generator=seeded(1), dtype=torch.float64)


@pytest.mark.parametrize("size", [(8, 8), (9, 14), (1, 5)])
def test_an_enlarged_box_equals_the_interpolated_crop(size: tuple[int, int]) -> None:
    h, w = size
    every = [
        (top, left, height, width)
        for height in {1, 2, 3, h} for width in {1, 3, 4, w}
        for top in {0, h - height} for left in {0, w - width}
        if 0 <= top and 0 <= left and top + height <= h and left + width <= w
    ]  # fmt: skip
    x, boxes = images(len(every), h, w), torch.tensor(every)
    shown = resized.enlarged(x, boxes)
    for image, box, found in zip(x, every, shown, strict=True):
        top, left, height, width = box
        cut = image[None, :, top : top + height, left : left + width]
        expected = interpolate(cut, (h, w), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    whole = torch.tensor([[0, 0, h, w]]).repeat(len(x), 1)
    assert torch.equal(resized.enlarged(x, whole), x)


def test_boxes_have_areas_and_aspects_within_bounds_at_all_places() -> None:
    top, left, height, width = resized.boxes(4000, (32, 48), seeded(), smallest=0.25).T
    assert bool((top >= 0).all()) and bool((top + height <= 32).all()) and int((top + height).max()) == 32
    assert bool((left >= 0).all()) and bool((left + width <= 48).all()) and int((left + width).max()) == 48
    area, aspect = (height * width) / (32 * 48), width / height
    # Sides are rounded to whole pixels: a box of 16 may be 1/32 too small on either side.
    assert 0.25 * 0.94 < float(area.min()) < 0.27 and float(area.max()) > 0.8
    assert 0.7 < float(aspect.min()) < 0.8 and 1.28 < float(aspect.max()) < 1.4


def test_the_share_of_the_area_is_uniform_if_every_box_fits() -> None:
    # The image is so large, and the share so small, that no box is too long for it.
    h, w = 1000, 1000
    found = resized.boxes(4000, (h, w), seeded(), smallest=0.04)
    area = (found[:, 2] * found[:, 3]) / (h * w)
    small = area[area < 0.54]  # boxes of up to 9/16 of a square always fit
    quantiles = torch.quantile(small.double(), torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    expected = torch.tensor([0.165, 0.29, 0.415], dtype=torch.float64)
    torch.testing.assert_close(quantiles, expected, atol=0.02, rtol=0)
    logs = (found[:, 3] / found[:, 2]).double().log()[area < 0.54]
    assert float(logs.mean()) == pytest.approx(0, abs=0.01)
    assert float(logs.std()) == pytest.approx(2 * math.log(4 / 3) / math.sqrt(12), rel=0.03)


@pytest.mark.parametrize("size", [(32, 32), (12, 10), (8, 17)])
def test_boxes_of_the_images_aspect_have_a_uniform_share(
    size: tuple[int, int],
) -> None:
    n, rng = 4000, seeded()
    boxes = resized.boxes(n, size, rng, smallest=0.08, aspects=None)
    u = torch.rand(3, n, generator=(naive := seeded()), dtype=torch.float64)
    shrink = (0.08 + 0.92 * u[0]).sqrt()
    height, width = ((side * shrink).round().long() for side in size)
    places = [(u[1] * (size[0] - height + 1)).long(), (u[2] * (size[1] - width + 1)).long()]
    assert torch.equal(boxes, torch.stack([*places, height, width], 1))
    assert torch.equal(torch.rand(3, generator=rng), torch.rand(3, generator=naive))
    top, left, height, width = boxes.T
    assert int(top.min()) == 0 == int(left.min())
    assert int((top + height).max()) == size[0] and int((left + width).max()) == size[1]
    share = (height * width).double() / (size[0] * size[1])
    assert abs(float(share.mean()) - 0.54) < 0.02 and 0.04 < float(share.min()) < 0.12


def test_a_box_of_the_images_aspect_has_from_one_to_all_pixels() -> None:
    whole = resized.boxes(3, (8, 16), seeded(), smallest=1.0, aspects=None)
    assert whole.tolist() == [[0, 0, 8, 16]] * 3
    thin = resized.boxes(500, (2, 40), seeded(), smallest=1e-3, aspects=None)
    assert int(thin[:, 2].min()) == 1 and (thin[:, 3] < 10).any()


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, float("nan")])
def test_a_smallest_share_outside_0_to_1_is_refused(share: float) -> None:
    resized.require_share("params.crop_min", 1.0)
    with pytest.raises(Refused, match=f"crop_min={share}: a share of an image is above 0 and at most 1"):
        resized.require_share("params.crop_min", share)


def test_the_largest_central_box_is_taken_if_no_box_fits() -> None:
    cases = {(32, 32): (0, 0, 32, 32), (8, 60): (0, 24, 8, 11), (60, 8): (24, 0, 11, 8)}
    for size, expected in cases.items():
        found = resized.boxes(64, size, seeded(), smallest=1.0)
        fallen = (found == torch.tensor(expected)).all(1)
        assert bool(fallen.any())
        if size != (32, 32):
            assert bool(fallen.all())


def test_images_are_flipped_after_they_are_enlarged() -> None:
    x = images(40, 8, 8)
    plain, flipped = (resized.random_resized_crop(x, seeded(3), flip=flip) for flip in (False, True))
    coins = [torch.equal(a.flip(-1), b) for a, b in zip(plain, flipped, strict=True)]
    assert all(coin or torch.equal(a, b) for coin, a, b in zip(coins, plain, flipped, strict=True))
    assert 8 < sum(coins) < 32


def test_draws_depend_on_the_generator_and_differ_between_images() -> None:
    x, state = images(1, 8, 8).expand(6, 2, 8, 8), torch.random.get_rng_state()
    one, two, other = (resized.random_resized_crop(x, seeded(seed), flip=False) for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert len({image.sum().item() for image in one}) > 3
    assert torch.equal(torch.random.get_rng_state(), state)
