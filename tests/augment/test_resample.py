"""Resampling of boxes: against torch's, enlarged and reduced, and the matrices of taps."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from condense.augment.resample import mapped, resampled, taps


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def boxes_of(n: int, h: int, w: int) -> Tensor:
    """Draws boxes of all sizes at all places."""
    u = torch.rand(4, n, generator=stream(1), dtype=torch.float64)
    height, width = (1 + (u[at] * side).long() for at, side in ((0, h), (1, w)))
    top, left = (u[2] * (h - height + 1)).long(), (u[3] * (w - width + 1)).long()
    return torch.stack([top, left, height, width], 1)


@pytest.mark.parametrize("size", [(12, 10), (6, 5), (3, 3), (1, 17)])
def test_resampling_a_box_equals_torchs_with_antialiasing(
    size: tuple[int, int],
) -> None:
    images = torch.randn(60, 2, 12, 10, generator=stream(), dtype=torch.float64)
    boxes = boxes_of(60, 12, 10)
    found = resampled(images, boxes, size)
    for image, (top, left, height, width), shown in zip(images, boxes.tolist(), found, strict=True):
        part = image[None, :, top : top + height, left : left + width]
        expected = interpolate(part, size=size, mode="bilinear", antialias=True)[0]
        torch.testing.assert_close(shown, expected, rtol=1e-9, atol=1e-12)
    assert {int(box[2]) for box in boxes} == set(range(1, 13))


def test_the_weights_of_a_pixel_sum_to_1_within_the_interval() -> None:
    start, length = torch.tensor([0, 2, 5, 3]), torch.tensor([9, 5, 1, 6])
    for out in (2, 5, 9, 20):
        weights = taps(start, length, 9, out)
        assert weights.shape == (4, out, 9) and (weights >= 0).all()
        torch.testing.assert_close(weights.sum(2), torch.ones(4, out, dtype=torch.float64))
        for rows, first, extent in zip(weights, start.tolist(), length.tolist(), strict=True):
            assert rows[:, :first].sum() == rows[:, first + extent :].sum() == 0
            assert (rows[:, first : first + extent].sum(0) > 0).all()


def test_an_interval_at_its_own_size_is_copied_exactly() -> None:
    for dtype in (torch.float32, torch.float64):
        (weights,) = taps(torch.tensor([2]), torch.tensor([5]), 9, 5, dtype)
        assert weights.dtype == dtype and torch.equal(weights, torch.eye(9, dtype=dtype)[2:7])


def test_maps_are_matrix_products_for_every_channel() -> None:
    x = torch.randn(3, 2, 4, 5, 6, generator=stream(), dtype=torch.float64)
    rows, columns = (torch.randn(3, 7, side, generator=stream(2), dtype=torch.float64) for side in (5, 6))
    expected = torch.stack(
        [torch.stack([torch.stack([r @ z @ c.T for z in y]) for y in item])
         for item, r, c in zip(x, rows, columns, strict=True)]
    )  # fmt: skip
    torch.testing.assert_close(mapped(x, rows, columns), expected)
    torch.testing.assert_close(mapped(x[:, 0], rows, columns), expected[:, 0])
