"""The augmentation of DC: the range of each operation, and its peculiarities."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from condense.augment import legacy
from condense.errors import Refused


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=seeded(), dtype=torch.float64)


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_the_offset_of_a_crop_is_0_to_7_and_never_8(axis: str) -> None:
    ramp = torch.arange(28.0).expand(28, 28)
    ramp = (ramp.mT if axis == "rows" else ramp).expand(2000, 1, 28, 28)
    middle = legacy.augment_legacy(ramp, "crop", seeded())[:, 0, 14, 14]
    counts = torch.stack([(middle == 14 + shift).sum() for shift in range(-4, 4)])
    assert counts.sum() == 2000
    assert ((counts - 250) ** 2 / 250).sum() < 24.3  # chi-square, 7 degrees of freedom, p = 0.001


def test_a_crop_fills_with_the_mean_of_each_channel_over_the_batch() -> None:
    x = images(40, 2, 12, 12)
    y = legacy.augment_legacy(x, "crop", seeded())
    for image, cropped in zip(x, y, strict=True):
        for channel in range(2):
            new = cropped[channel][~torch.isin(cropped[channel], image[channel])]
            assert new.numel() in {144 - a * b for a in range(8, 13) for b in range(8, 13)}
            torch.testing.assert_close(new, x[:, channel].mean().expand_as(new))


def test_scaling_keeps_values_and_fills_with_zero_around_the_centre() -> None:
    x = images(60, 1, 20, 20) + 10
    y = legacy.augment_legacy(x, "scale", seeded())
    sides = set()
    for image, scaled in zip(x, y, strict=True):
        inside = scaled[0] != 0
        assert torch.isin(scaled[inside[None]], image).all()
        height, width = int(inside.any(1).sum()), int(inside.any(0).sum())
        assert inside.sum() == height * width
        # Where the canvas had to grow, its middle may lie half a pixel off.
        assert abs(int(inside.any(1).nonzero()[0, 0]) - (20 - height) / 2) <= 0.5
        sides.add((height, width))
    assert {min(side) for side in sides} <= set(range(16, 21))
    assert len({h for h, w in sides if h < w}) > 1, "height and width have factors of their own"
    assert any((a[0] != b[0]).any() and (b != 0).all() for a, b in zip(x, y, strict=True)), (
        "none was enlarged"
    )


def test_a_rotation_turns_a_ramp_by_whole_degrees_about_the_centre() -> None:
    side = 41
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    x = torch.from_numpy(columns.copy()).expand(300, 1, side, side).contiguous()
    y = legacy.augment_legacy(x, "rotate", seeded())[:, 0]
    centre = side // 2
    # A turned ramp has the gradient (cos, sin) of its angle.
    across = (y[:, centre, centre + 5] - y[:, centre, centre - 5]) / 10
    down = (y[:, centre + 5, centre] - y[:, centre - 5, centre]) / 10
    degrees = torch.rad2deg(torch.atan2(-down, across))
    torch.testing.assert_close(degrees, degrees.round(), atol=0.02, rtol=0)
    assert degrees.abs().max() < 45.02
    assert len(set(degrees.round().tolist())) > 70
    # The middle stays, or moves by half a pixel where the enlarged side has another parity.
    assert y[:, centre, centre].abs().max() < 0.5 * (math.sqrt(2) + 0.01)


def test_a_rotation_fills_with_the_mean_of_the_batch() -> None:
    x = torch.full((20, 2, 16, 16), 3.0)
    torch.testing.assert_close(legacy.augment_legacy(x, "rotate", seeded()), x, atol=1e-5, rtol=0)


def test_noise_has_a_standard_deviation_of_a_thousandth() -> None:
    x = images(20, 3, 16, 16)
    noise = legacy.augment_legacy(x, "noise", seeded()) - x
    assert abs(noise.std() / 0.001 - 1) < 5 / math.sqrt(2 * noise.numel())


def test_each_image_gets_its_own_operation() -> None:
    x = images(300, 1, 16, 16)
    y = legacy.augment_legacy(x, "noise_crop", seeded())
    noisy = int(((y - x).abs().amax((1, 2, 3)) < 0.01).sum())
    # Half get noise; of the others 1 in 64 is cropped without a shift.
    assert abs(noisy - 300 * (0.5 + 0.5 / 64)) < 5 * math.sqrt(75)


@pytest.mark.parametrize("operations", ["crop_scale_rotate_noise", "crop_noise"])
@pytest.mark.parametrize("shape", [(8, 3, 12, 12), (8, 1, 12, 20), (8, 1, 30, 9)])
def test_the_result_depends_on_images_and_generator_alone(operations: str, shape: tuple[int, ...]) -> None:
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    x = images(*shape).float()
    kept = x.clone()
    first, again = (legacy.augment_legacy(x, operations, seeded()) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(x, kept)
    assert (first.shape, first.dtype) == (x.shape, x.dtype)
    assert torch.equal(before, torch.random.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()  # type: ignore[index]


def test_no_operation_is_the_identity() -> None:
    x = images(2, 1, 8, 8)
    assert legacy.augment_legacy(x, "none", seeded()) is x


def test_an_unknown_operation_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(Refused, match="unknown augmentation of dc 'rotates'; nearest: rotate"):
        legacy.augment_legacy(images(1, 1, 8, 8), "crop_rotates", seeded())
