"""CutMix: the place of the box, the pixels that it replaces, and the weight of the labels."""

import math

import pytest
import torch

from condense.augment.cutmix import Mix, draw_cutmix

SIZES = [(8, 8), (5, 9), (32, 32), (1, 1)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", SIZES)
def test_the_share_is_the_number_of_pixels_kept(size: tuple[int, int]) -> None:
    constant = torch.arange(6.0)[:, None, None, None].expand(6, 2, *size)
    shares = set()
    for seed in range(60):
        mix = draw_cutmix(6, size, seeded(seed))
        mixed = mix(constant)
        for image in range(6):
            giver = int(mix.order[image])
            stayed = int((mixed[image] == image).sum())
            assert int((mixed[image] == giver).sum()) + stayed * (giver != image) == mixed[image].numel()
            if giver != image:
                assert mix.share == stayed / mixed[image].numel()
        shares.add(mix.share)
    assert all(0 <= share <= 1 for share in shares) and (size == (1, 1) or len(shares) > 5)


def test_a_pixel_in_the_box_comes_from_the_same_place_of_the_other_image() -> None:
    x = torch.randn(5, 3, 8, 6, generator=seeded())
    for seed in range(20):
        mix = draw_cutmix(5, (8, 6), seeded(seed))
        top, bottom, left, right = mix.box
        mixed = mix(x)
        for image in range(5):
            for row in range(8):
                for column in range(6):
                    inside = top <= row < bottom and left <= column < right
                    source = int(mix.order[image]) if inside else image
                    assert torch.equal(mixed[image, :, row, column], x[source, :, row, column])


@pytest.mark.parametrize("size", SIZES)
def test_the_box_follows_a_uniform_area_and_a_uniform_centre(
    size: tuple[int, int],
) -> None:
    for seed in range(40):
        rng = seeded(seed)
        area, *places = torch.rand(3, generator=rng, dtype=torch.float64).tolist()
        order = torch.randperm(4, generator=rng)
        box = []
        for side, place in zip(size, places, strict=True):
            centre = math.floor(side * place)
            inside = [p for p in range(side) if -(int(side * area**0.5) // 2) <= p - centre]
            inside = [p for p in inside if p - centre < int(side * area**0.5) // 2]
            box.append(inside)
        mix = draw_cutmix(4, size, seeded(seed))
        assert torch.equal(mix.order, order)
        top, bottom, left, right = mix.box
        assert list(range(top, bottom)) == box[0] and list(range(left, right)) == box[1]


def test_the_area_of_the_box_is_uniform_before_it_is_clipped() -> None:
    sides = []
    for seed in range(2000):
        top, bottom, left, right = draw_cutmix(1, (1000, 1000), seeded(seed)).box
        # An unclipped side is known whole; of one clipped on one side the other half is.
        rows = (bottom - top, top > 0 and bottom < 1000)
        columns = (right - left, left > 0 and right < 1000)
        if rows[1] or columns[1]:
            sides.append(rows[0] if rows[1] else columns[0])
    # Of boxes of at most half a side, those of up to a quarter are (1/4)^2 / (1/2)^2 of all, weighted by how
    # likely they are to be unclipped in one of two directions: 1 - s^2 for a side s.
    small = [side for side in sides if side <= 500]
    expected = sum(2 * s * (1 - s**2) for s in torch.linspace(0, 0.25, 1001).tolist()[:-1])
    whole = sum(2 * s * (1 - s**2) for s in torch.linspace(0, 0.5, 2001).tolist()[:-1])
    found = sum(side <= 250 for side in small) / len(small)
    assert found == pytest.approx(expected / whole, abs=0.06)


def test_the_input_is_not_changed_and_an_empty_box_copies_it() -> None:
    x = torch.randn(3, 1, 4, 4, generator=seeded())
    before = x.clone()
    nothing = Mix(torch.tensor([1, 2, 0]), (2, 2, 1, 3), 1.0)
    everything = Mix(torch.tensor([1, 2, 0]), (0, 4, 0, 4), 0.0)
    assert torch.equal(nothing(x), x) and nothing(x) is not x
    assert torch.equal(everything(x), x[[1, 2, 0]])
    assert torch.equal(x, before)


def test_the_gradient_of_a_pixel_counts_its_uses() -> None:
    x = torch.randn(3, 1, 4, 4, generator=seeded(), dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 1, 4, 4, generator=seeded(1), dtype=torch.float64)
    mix = Mix(torch.tensor([1, 2, 0]), (1, 3, 0, 2), 0.75)
    (found,) = torch.autograd.grad((mix(x) * weight).sum(), x)
    expected = weight.clone()
    expected[[1, 2, 0], :, 1:3, 0:2] = weight[:, :, 1:3, 0:2]
    assert torch.equal(found, expected)


def test_a_draw_depends_on_its_generator_alone() -> None:
    state = torch.random.get_rng_state()
    one, two = draw_cutmix(9, (8, 8), seeded(3)), draw_cutmix(9, (8, 8), seeded(3)).to("cpu")
    assert torch.equal(one.order, two.order) and one.box == two.box and one.share == two.share
    assert torch.equal(torch.random.get_rng_state(), state)
