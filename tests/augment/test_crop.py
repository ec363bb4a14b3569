"""Random crops: every image has its own shift and flip, and is otherwise unchanged."""

import pytest
import torch
from torch import Tensor

from condense.augment import crop


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moved(image: Tensor, down: int, right: int, mirrored: bool) -> Tensor:
    """Shifts an image so that pixel (r, c) is the old pixel (r + down, c + right) or 0, and mirrors it."""
    _, h, w = image.shape
    out = image.roll((-down, -right), (1, 2))
    rows, columns = torch.arange(h) + down, torch.arange(w) + right
    out[:, (rows < 0) | (rows >= h)] = 0
    out[:, :, (columns < 0) | (columns >= w)] = 0
    return out.flip(-1) if mirrored else out


def ways(before: Tensor, after: Tensor, reach: tuple[int, int]) -> list[tuple[int, int, bool]]:
    """Returns every shift and flip that turns one image into the other."""
    return [
        (down, right, mirrored)
        for down in range(-reach[0], reach[0] + 1)
        for right in range(-reach[1], reach[1] + 1)
        for mirrored in (False, True)
        if torch.equal(moved(before, down, right, mirrored), after)
    ]


@pytest.mark.parametrize("size", [(16, 16), (9, 24), (7, 7)])
@pytest.mark.parametrize("flip", [False, True])
def test_images_are_shifted_by_up_to_an_eighth_of_a_side_and_flipped(
    size: tuple[int, int], flip: bool
) -> None:
    h, w = size
    x = torch.randn(60, 2, h, w, generator=seeded())
    found = set()
    for before, after in zip(x, crop.random_crop(x, seeded(5), flip=flip), strict=True):
        (way,) = ways(before, after, (h // 8 + 1, w // 8 + 1))
        found.add(way)
    assert {down for down, _, _ in found} == set(range(-(h // 8), h // 8 + 1))
    assert {right for _, right, _ in found} == set(range(-(w // 8), w // 8 + 1))
    assert {mirrored for _, _, mirrored in found} == ({False, True} if flip else {False})


def test_shifts_and_flips_are_uniform() -> None:
    x = torch.zeros(20000, 1, 8, 8)
    x[:, 0, 3, 3] = 1
    place = crop.random_crop(x, seeded(), flip=True).flatten(1).argmax(1)
    rows = torch.bincount(place // 8, minlength=8) / len(x)
    columns = torch.bincount(place % 8, minlength=8) / len(x)
    # Down by -1, 0 or 1; to the column 2, 3 or 4, of which the mirror makes 5, 4 or 3.
    torch.testing.assert_close(rows[2:5], torch.full((3,), 1 / 3), atol=0.02, rtol=0)
    torch.testing.assert_close(columns[2:6], torch.tensor([1.0, 2, 2, 1]) / 6, atol=0.02, rtol=0)


def test_draws_depend_on_the_generator_and_the_input_is_not_changed() -> None:
    x = torch.randn(8, 3, 16, 16, generator=seeded())
    before, state = x.clone(), torch.random.get_rng_state()
    one, two, other = (crop.random_crop(x, seeded(seed), flip=True) for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert torch.equal(x, before) and torch.equal(torch.random.get_rng_state(), state)


def test_the_gradient_of_a_pixel_counts_its_copies() -> None:
    x = torch.randn(6, 1, 8, 8, generator=seeded(), requires_grad=True)
    (found,) = torch.autograd.grad(crop.random_crop(x, seeded(1), flip=True).sum(), x)
    marks = torch.arange(1.0, 6 * 64 + 1).view(6, 1, 8, 8)
    seen = torch.isin(marks, crop.random_crop(marks, seeded(1), flip=True))
    assert torch.equal(found, seen.float()) and not bool(seen.all())
