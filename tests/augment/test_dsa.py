"""DSA: operations against loops over pixels, their ranges and gradients, shared draws, and strategies."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from condense.augment import dsa
from condense.augment.dsa import Drawn
from condense.errors import Refused

ALMOST_ONE = 1 - 2**-24
STRATEGY = "color_crop_cutout_flip_scale_rotate"
NOT_ALIGNED = {"align_corners": False}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def apply(op: str, x: Tensor, *uniforms: float) -> Tensor:
    """Applies one operation with given numbers to all images (n, c, h, w)."""
    values = torch.tensor([*uniforms, *[0.5] * (3 - len(uniforms))])[None, None]
    return Drawn((op,), values, (x.shape[-2], x.shape[-1]))(x[None])[0]


# The reference: one image (c, h, w) at a time, one pixel at a time, in the card's own terms.


def bilinear(image: Tensor, row: float, column: float) -> Tensor:
    c, h, w = image.shape
    total = torch.zeros(c, dtype=image.dtype)
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            if 0 <= i < h and 0 <= j < w:
                total += (1 - abs(row - i)) * (1 - abs(column - j)) * image[:, i, j]
    return total


def warp(image: Tensor, move: Callable[[float, float], tuple[float, float]]) -> Tensor:
    """``move`` takes (x, y) in pixels from the centre of the result to those of the source."""
    c, h, w = image.shape
    out = torch.zeros_like(image)
    for i in range(h):
        for j in range(w):
            x, y = move(j - (w - 1) / 2, i - (h - 1) / 2)
            out[:, i, j] = bilinear(image, y + (h - 1) / 2, x + (w - 1) / 2)
    return out


def naive_color(image: Tensor, u: list[float]) -> Tensor:
    image = image + (u[0] - 0.5)
    mean = image.mean(0)
    image = (image - mean) * (2 * u[1]) + mean
    return (image - image.mean()) * (u[2] + 0.5) + image.mean()


def naive_crop(image: Tensor, u: list[float]) -> Tensor:
    c, h, w = image.shape
    k, m = int(0.125 * h + 0.5), int(0.125 * w + 0.5)
    dy, dx = range(-k, k + 1)[int(u[0] * (2 * k + 1))], range(-m, m + 1)[int(u[1] * (2 * m + 1))]
    out = torch.zeros_like(image)
    for i in range(h):
        for j in range(w):
            if 0 <= i + dy < h and 0 <= j + dx < w:
                out[:, i, j] = image[:, i + dy, j + dx]
    return out


def naive_cutout(image: Tensor, u: list[float]) -> Tensor:
    sizes = [int(0.5 * side + 0.5) for side in image.shape[1:]]
    centres = [int(r * (side + 1 - s % 2)) for r, side, s in zip(u[:2], image.shape[1:], sizes, strict=True)]
    out = image.clone()
    for i in range(centres[0] - sizes[0] // 2, centres[0] - sizes[0] // 2 + sizes[0]):
        for j in range(centres[1] - sizes[1] // 2, centres[1] - sizes[1] // 2 + sizes[1]):
            if 0 <= i < image.shape[1] and 0 <= j < image.shape[2]:
                out[:, i, j] = 0
    return out


def naive_flip(image: Tensor, u: list[float]) -> Tensor:
    return image[:, :, list(reversed(range(image.shape[2])))] if u[0] < 0.5 else image


def naive_scale(image: Tensor, u: list[float]) -> Tensor:
    sx, sy = (1 / 1.2 + r * (1.2 - 1 / 1.2) for r in u[:2])
    return warp(image, lambda x, y: (sx * x, sy * y))


def naive_rotate(image: Tensor, u: list[float]) -> Tensor:
    a = (2 * u[0] - 1) * 15 * math.pi / 180
    return warp(image, lambda x, y: (math.cos(a) * x - math.sin(a) * y, math.sin(a) * x + math.cos(a) * y))


NAIVE: dict[str, Callable[[Tensor, list[float]], Tensor]] = {
    "color": naive_color,
    "crop": naive_crop,
    "cutout": naive_cutout,
    "flip": naive_flip,
    "scale": naive_scale,
    "rotate": naive_rotate,
}


def test_the_operations_are_the_six_of_the_paper() -> None:
    assert list(dsa.OPS) == STRATEGY.split("_") == list(NAIVE)


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (6, 11)])
@pytest.mark.parametrize("op", NAIVE)
@pytest.mark.parametrize("per_group", [1, 4])
def test_an_operation_equals_its_loop_over_pixels(op: str, size: tuple[int, int], per_group: int) -> None:
    x = images(2, 4, 3, *size)
    drawn = dsa.draw_ops(op, size, seeded(3), groups=2, per_group=per_group)
    result = drawn(x)
    for group in range(2):
        for number in range(4):
            u = drawn.values[group, number % per_group].tolist()
            torch.testing.assert_close(result[group, number], NAIVE[op](x[group, number], u))


@pytest.mark.parametrize("op", ["scale", "rotate"])
def test_on_square_images_the_alignment_of_corners_changes_nothing(
    op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = images(2, 4, 3, 9, 9)
    drawn = dsa.draw_ops(op, (9, 9), seeded(1), groups=2, per_group=4)
    aligned = drawn(x)
    for name in ("affine_grid", "grid_sample"):
        original = getattr(functional, name)
        monkeypatch.setattr(
            functional, name, lambda *args, original=original, **named: original(*args, **named | NOT_ALIGNED)
        )
    assert not torch.equal(aligned, x)
    torch.testing.assert_close(drawn(x), aligned, rtol=0, atol=1e-13)


def test_groups_with_the_same_operation_do_not_influence_each_other() -> None:
    x = images(20, 3, 3, 8, 8)
    drawn = dsa.draw_ops(STRATEGY, (8, 8), seeded(), groups=20, per_group=3)
    assert len(set(drawn.ops)) == 6
    alone = [Drawn((op,), drawn.values[i : i + 1], (8, 8))(x[i : i + 1])[0] for i, op in enumerate(drawn.ops)]
    assert torch.equal(drawn(x), torch.stack(alone))


@pytest.mark.parametrize("op", dsa.OPS)
def test_siamese_parameters_are_equal_for_batches_of_different_sizes(op: str) -> None:
    drawn = dsa.siamese(op, (8, 8), 2, seeded(1))
    real, syn = images(2, 5, 3, 8, 8), images(2, 1, 3, 8, 8, seed=1)
    real[:, 2] = syn[:, 0]
    torch.testing.assert_close(drawn(real)[:, 2], drawn(syn)[:, 0])


def test_one_draw_per_group_treats_all_its_images_alike() -> None:
    for seed in range(20):
        x = images(1, 1, 3, 8, 8).expand(3, 4, 3, 8, 8)
        y = dsa.siamese(STRATEGY, (8, 8), 3, seeded(seed))(x)
        torch.testing.assert_close(y, y[:, :1].expand_as(y))


def test_one_draw_per_image_treats_equal_images_differently() -> None:
    x = images(1, 3, 8, 8).expand(64, 3, 8, 8)
    for op in dsa.OPS:
        assert not torch.allclose(dsa.augment(x, op, seeded()), dsa.augment(x, op, seeded())[:1])


@pytest.mark.parametrize("op", dsa.OPS)
@pytest.mark.parametrize("per_group", [1, 2])
def test_the_gradient_of_the_pixels_equals_the_numerical_one(op: str, per_group: int) -> None:
    x = images(2, 2, 2, 5, 5).requires_grad_()
    drawn = dsa.draw_ops(op, (5, 5), seeded(2), groups=2, per_group=per_group)
    assert torch.autograd.gradcheck(drawn, (x,))


def test_the_gradient_flows_through_a_mix_of_operations() -> None:
    x = images(6, 1, 1, 4, 4).requires_grad_()
    drawn = dsa.siamese(STRATEGY, (4, 4), 6, seeded(2))
    assert len(set(drawn.ops)) > 3
    assert torch.autograd.gradcheck(drawn, (x,))


@pytest.mark.parametrize(("u", "shift"), [(0.0, -0.5), (0.5, 0.0), (1.0, 0.5)])
def test_brightness_shifts_by_at_most_a_half(u: float, shift: float) -> None:
    x = images(2, 3, 8, 8)
    torch.testing.assert_close(apply("color", x, u, 0.5, 0.5), x + shift)


@pytest.mark.parametrize(("u", "factor"), [(0.0, 0.0), (0.5, 1.0), (1.0, 2.0)])
def test_saturation_moves_between_grey_and_twice_the_colour(u: float, factor: float) -> None:
    x = images(2, 3, 8, 8)
    grey = x.mean(1, keepdim=True)
    torch.testing.assert_close(apply("color", x, 0.5, u, 0.5), grey + factor * (x - grey))


@pytest.mark.parametrize(("u", "factor"), [(0.0, 0.5), (0.5, 1.0), (1.0, 1.5)])
def test_contrast_scales_about_the_mean_of_each_image(u: float, factor: float) -> None:
    x = images(2, 3, 8, 8)
    level = x.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(apply("color", x, 0.5, 0.5, u), level + factor * (x - level))


@pytest.mark.parametrize(("side", "k"), [(28, 4), (32, 4), (64, 8), (128, 16), (8, 1)])
def test_a_crop_shifts_by_at_most_an_eighth_of_the_side(side: int, k: int) -> None:
    x = images(1, 1, side, side)
    for u, shift in ((0.0, -k), (0.5, 0), (ALMOST_ONE, k)):
        y = apply("crop", x, u, 0.5)
        assert torch.equal(
            y[..., max(-shift, 0) : side - max(shift, 0), :], x[..., max(shift, 0) : side - max(-shift, 0), :]
        )
        assert (y == 0).sum() == abs(shift) * side
        assert torch.equal(apply("crop", x.mT, 0.5, u), y.mT)


def test_the_shifts_of_crops_are_uniform() -> None:
    # One column of distinct pixels: the first one left says where it came from.
    x = torch.arange(1.0, 33.0)[:, None].expand(9000, 1, 32, 1)
    y = dsa.augment(x, "crop", seeded())
    shifts = y[:, 0, 16, 0] - 17
    counts = torch.stack([(shifts == s).sum() for s in range(-4, 5)])
    assert counts.sum() == 9000
    assert ((counts - 1000) ** 2 / 1000).sum() < 26.1  # chi-square, 8 degrees of freedom, p = 0.001


@pytest.mark.parametrize(("side", "size"), [(32, 16), (28, 14), (8, 4), (9, 5)])
def test_a_cutout_clears_a_square_of_half_the_side(side: int, size: int) -> None:
    x = torch.ones(1, 3, side, side)
    hole = apply("cutout", x, 0.5, 0.5)[0] == 0
    assert hole.sum() == 3 * size**2
    assert (size**2 == 256) == (side == 32)


def test_the_window_of_a_cutout_is_clipped_at_the_borders() -> None:
    x = torch.ones(1, 1, 32, 32)
    corner = apply("cutout", x, 0.0, 0.0)[0, 0] == 0
    assert corner[:8, :8].all()
    assert corner.sum() == 64
    # An even window may be centred on the far border too: 33 places a side.
    corner = apply("cutout", x, ALMOST_ONE, ALMOST_ONE)[0, 0] == 0
    assert corner[24:, 24:].all()
    assert corner.sum() == 64
    # An odd one on pixels only.
    assert (apply("cutout", torch.ones(1, 1, 9, 9), ALMOST_ONE, ALMOST_ONE) == 0).sum() == 9


def test_a_flip_is_the_exact_reversal_and_its_own_inverse() -> None:
    x = images(3, 3, 8, 9)
    assert torch.equal(apply("flip", x, 0.0), x.flip(-1))
    assert torch.equal(apply("flip", apply("flip", x, 0.49), 0.49), x)
    assert torch.equal(apply("flip", x, 0.5), x)


def test_half_of_the_images_are_flipped() -> None:
    x = torch.tensor([0.0, 1.0]).expand(4000, 1, 1, 2)
    flipped = int(dsa.augment(x, "flip", seeded())[:, 0, 0, 0].sum())
    assert abs(flipped - 2000) < 5 * math.sqrt(1000)


@pytest.mark.parametrize(("u", "factor"), [(0.0, 1 / 1.2), (1.0, 1.2)])
def test_the_scales_lie_between_1_2_and_its_inverse(u: float, factor: float) -> None:
    # On a ramp, linear sampling at scaled places is the scaled ramp, as long as it stays inside.
    ramp = torch.linspace(-1, 1, 41, dtype=torch.float64).expand(1, 1, 41, 41)
    neutral = (1 - 1 / 1.2) / (1.2 - 1 / 1.2)
    inside = slice(5, 36)
    torch.testing.assert_close(
        apply("scale", ramp, u, neutral)[..., inside], factor * ramp[..., inside], atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        apply("scale", ramp.mT, neutral, u)[..., inside, :],
        factor * ramp.mT[..., inside, :],
        atol=1e-6,
        rtol=0,
    )
    assert (apply("scale", torch.ones(1, 1, 41, 41), u, u) == 0).any() == (factor > 1)


@pytest.mark.parametrize(("u", "degrees"), [(0.0, -15), (0.5, 0), (1.0, 15)])
@pytest.mark.parametrize("size", [(41, 41), (31, 51)])
def test_the_angles_are_at_most_15_degrees_in_either_direction(
    u: float, degrees: float, size: tuple[int, int]
) -> None:
    y, x = torch.meshgrid(*(torch.arange(s, dtype=torch.float64) - (s - 1) / 2 for s in size), indexing="ij")
    angle = math.radians(degrees)
    turned = apply("rotate", x[None, None], u)[0, 0]
    middle = x**2 + y**2 < 14**2
    expected = math.cos(angle) * x - math.sin(angle) * y
    torch.testing.assert_close(turned[middle], expected[middle], atol=1e-5, rtol=0)


@pytest.mark.parametrize("strategy", ["", "none"])
def test_an_empty_strategy_is_the_identity_and_draws_nothing(strategy: str) -> None:
    generator = seeded()
    x = images(4, 3, 8, 8)
    assert torch.equal(dsa.augment(x, strategy, generator), x)
    assert torch.equal(dsa.siamese(strategy, (8, 8), 2, generator)(x[None].expand(2, 4, 3, 8, 8))[1], x)
    assert torch.equal(generator.get_state(), seeded().get_state())


@pytest.mark.parametrize("strategy", [STRATEGY, "color_crop_cutout_scale_rotate"])
def test_every_operation_is_drawn_equally_often(strategy: str) -> None:
    names = strategy.split("_")
    ops = dsa.siamese(strategy, (8, 8), 6000, seeded()).ops
    expected = 6000 / len(names)
    assert set(ops) == set(names)
    assert sum((ops.count(name) - expected) ** 2 / expected for name in names) < 20.5  # 5 degrees, p = 0.001


def test_all_images_of_a_training_batch_get_the_same_operation() -> None:
    ops = {dsa.draw_ops(STRATEGY, (8, 8), seeded(seed), per_group=16).ops for seed in range(60)}
    assert ops == {(op,) for op in dsa.OPS}


def test_all_draws_come_from_the_generator() -> None:
    before = torch.random.get_rng_state()
    x = images(6, 3, 8, 8)
    for seed in range(12):
        first, again = (dsa.augment(x, STRATEGY, seeded(seed)) for _ in range(2))
        assert torch.equal(first, again)
    assert torch.equal(before, torch.random.get_rng_state())
    used = seeded()
    dsa.augment(x, STRATEGY, used)
    assert not torch.equal(used.get_state(), seeded().get_state())


def test_the_input_is_not_changed() -> None:
    x = images(4, 3, 8, 8)
    for op in dsa.OPS:
        kept = x.clone()
        dsa.augment(x, op, seeded())
        assert torch.equal(x, kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_result_has_the_shape_and_data_type_of_the_images(dtype: torch.dtype) -> None:
    x = images(4, 1, 12, 10).to(dtype)
    for op in dsa.OPS:
        y = dsa.augment(x, op, seeded())
        assert (y.shape, y.dtype) == (x.shape, dtype)


@pytest.mark.gpu
def test_the_device_does_not_change_a_draw() -> None:
    x = images(12, 2, 3, 8, 8)
    drawn = dsa.siamese(STRATEGY, (8, 8), 12, seeded())
    expected = drawn(x)
    torch.testing.assert_close(drawn(x.cuda()).cpu(), expected)
    torch.testing.assert_close(drawn.to("cuda")(x.cuda()).cpu(), expected)


def test_an_unknown_operation_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(Refused, match="unknown augmentation 'colour'; nearest: color"):
        dsa.draw_ops("crop_colour", (8, 8), seeded())


def test_a_draw_for_another_number_or_size_of_images_is_refused() -> None:
    drawn = dsa.draw_ops("crop", (8, 8), seeded(), groups=2, per_group=3)
    for shape in ((2, 3, 1, 8, 9), (1, 3, 1, 8, 8), (2, 4, 1, 8, 8)):
        with pytest.raises(ValueError, match="drawn for"):
            drawn(images(*shape))
