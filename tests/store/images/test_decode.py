"""Decoding: tiles cut and enlarged by hand in float64, and sets whose students see more than is stored."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader

from condense.data import Images, ImageSpec
from condense.data.images.pixels import PixelSpace, Zca, affine
from condense.errors import Refused
from condense.evaluation import ImageStudent
from condense.protocol import Stage
from condense.protocols import HARD_V1
from condense.store import Hard, ImageSet, MultiFormation, Soft
from condense.store.images.decode import STEPS, decode_all, decode_some, step_from

Make = Callable[..., ImageSet]
SMALL = replace(HARD_V1, batch=7)
SIDES = st.integers(1, 11)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(*shape: int) -> Tensor:
    return torch.rand(shape, generator=stream(sum(shape)), dtype=torch.float64)


def hand_cut(images: Tensor, factor: int, fill: float) -> Tensor:
    """The tiles by slicing, tile after tile, out of a canvas of the fill that holds the images."""
    n, c, h, w = images.shape
    high, wide = -(-h // factor), -(-w // factor)
    canvas = torch.full((n, c, factor * high, factor * wide), fill, dtype=images.dtype)
    canvas[:, :, :h, :w] = images
    rows = [canvas[:, :, y : y + high] for y in range(0, factor * high, high)]
    return torch.cat([row[..., x : x + wide] for row in rows for x in range(0, factor * wide, wide)])


def weights(size: int, source: int) -> Tensor:
    """Bilinear weights (size, source): output y looks at ``(y + 1/2) * source / size - 1/2``, held within."""
    found = torch.zeros(size, source, dtype=torch.float64)
    for y in range(size):
        place = max((y + 0.5) * source / size - 0.5, 0.0)
        low = min(int(place), source - 1)
        found[y, low] += 1 - (place - low)
        found[y, min(low + 1, source - 1)] += place - low
    return found


def fits(factor: int, *sides: int) -> bool:
    """Whether every tile along every side begins within it."""
    return all(tile * -(-side // factor) < side for side in sides for tile in range(factor))


@settings(max_examples=60, deadline=None)
@given(factor=st.integers(1, 5), h=SIDES, w=SIDES, n=st.integers(1, 3), c=st.integers(1, 3))
def test_decoding_is_cutting_tiles_and_enlarging_each_bilinearly(
    factor: int, h: int, w: int, n: int, c: int
) -> None:
    assume(fits(factor, h, w))
    images, step = pixels(n, c, h, w), MultiFormation(factor)
    found, tiles = step(images, 0.3), hand_cut(images, factor, 0.3)
    assert found.shape == (step.copies * n, c, h, w)
    by_torch = interpolate(tiles, size=(h, w), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, by_torch, rtol=0, atol=0)
    by_hand = weights(h, tiles.shape[2]) @ tiles @ weights(w, tiles.shape[3]).T
    torch.testing.assert_close(found, by_hand, rtol=1e-12, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(factor=st.integers(1, 5), h=SIDES, w=SIDES, seed=st.integers(0, 99))
def test_some_tiles_are_those_of_all(factor: int, h: int, w: int, seed: int) -> None:
    assume(fits(factor, h, w))
    step, images = MultiFormation(factor), pixels(3, 2, h, w)
    chosen = torch.randint(0, 3 * step.copies, (8,), generator=stream(seed))
    found = step.some(images[chosen % 3], chosen // 3, 0.3)
    torch.testing.assert_close(found, step(images, 0.3)[chosen], rtol=0, atol=1e-15)


@given(factor=st.integers(1, 12), h=SIDES, w=SIDES)
def test_a_factor_is_refused_exactly_where_a_tile_would_hold_no_pixel(factor: int, h: int, w: int) -> None:
    step = MultiFormation(factor)
    assert (step.find_size_error((h, w)) is None) == fits(factor, h, w)
    assert step.find_size_error((h, w)) or factor <= min(h, w)
    if step.find_size_error((h, w)):
        for decode in (step, lambda images: step.some(images, torch.zeros(1, dtype=torch.int64))):
            with pytest.raises(Refused, match=f"factor {factor} cuts a side"):
                decode(torch.zeros(1, 1, h, w))


def test_factor_one_leaves_every_image_as_it_is() -> None:
    images = torch.randn(3, 2, 5, 7, generator=stream())
    assert torch.equal(MultiFormation(1)(images), images)


@pytest.mark.parametrize("size", [(6, 4), (5, 7)])
def test_decoding_and_normalising_can_change_places(
    size: tuple[int, int],
) -> None:
    space, images = affine("normalized", [0.5, 0.3], [0.2, 0.4]), pixels(3, 2, *size)
    grey = space.encode(torch.full((1, 2, 1, 1), 0.5, dtype=torch.float64))[0]
    step = MultiFormation(2)
    assert grey.flatten().tolist() == pytest.approx([0.0, 0.5])
    torch.testing.assert_close(step(space.encode(images), grey), space.encode(step(images)))
    torch.testing.assert_close(step(grey.expand(1, 2, *size), grey), grey.expand(4, 2, *size))


@pytest.mark.parametrize("size", [(4, 4), (5, 3)])
def test_gradients_of_tiles_equal_finite_differences(size: tuple[int, int]) -> None:
    step, images = MultiFormation(2), pixels(2, 1, *size).requires_grad_()
    grey, tile = torch.tensor([0.5], dtype=torch.float64).view(1, 1, 1), torch.tensor([3, 1])
    assert torch.autograd.gradcheck(lambda x: step(x, grey), (images,))
    assert torch.autograd.gradcheck(lambda x: step.some(x, tile, grey), (images,))


def test_a_chain_of_steps_keeps_the_order_of_copies() -> None:
    steps, images = (MultiFormation(2), MultiFormation(3)), pixels(2, 1, 12, 9)
    every = decode_all(steps, images)
    order = [(tile, first, i) for tile in range(9) for first in range(4) for i in range(2)]
    assert len(every) == len(order)
    for place, (tile, first, i) in enumerate(order):
        by_hand = steps[1](steps[0](images[i : i + 1])[first : first + 1])[tile]
        torch.testing.assert_close(every[place], by_hand)
    chosen = torch.tensor([0, 1, 2, 9, 16, 17, 40, 71])
    torch.testing.assert_close(decode_some(steps, images[chosen % 2], chosen // 2), every[chosen])
    assert decode_all((), images) is images and decode_some((), images, chosen[:2]) is images


@pytest.mark.parametrize("factor", [0, -1, 2.0, True, "2", None])
@pytest.mark.usefixtures("unchecked_shapes")
def test_a_factor_must_be_a_whole_number_of_at_least_one(factor: object) -> None:
    with pytest.raises(Refused, match=r"whole number of at least 1, not .+"):
        MultiFormation(factor)  # type: ignore[arg-type]


def test_a_step_comes_back_from_its_description() -> None:
    for (name, version), kind in STEPS.items():
        step = kind(3)
        assert step_from({**step.describe()}) == step
        assert (step.describe()["name"], step.describe()["version"]) == (name, version)
    assert MultiFormation(3).describe() == {"name": "multi_formation", "version": 1, "factor": 3}


GOOD = {"name": "multi_formation", "version": 1, "factor": 2}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"name": "hologram"},
            r"unknown decode step 'hologram' of version 1; .*takes multi_formation of vers",
        ),
        ({"version": 2}, "unknown decode step 'multi_formation' of version 2"),
        ({"factor": 0}, "multi_formation: factor must be a whole number of at least 1, not 0"),
        ({"factor": 5}, "factor 5 cuts a side of 4"),
        ({"factor": 10**30}, "cuts a side of 4"),
        ({"factor": 2.0}, r"content.decode\[0\].factor is 2.0, not a whole number"),
        ({"factor": None}, r"content.decode\[0\].factor is null, not a whole number"),
        ({"mode": "nearest"}, "one setting, factor; this step has factor, mode"),
    ],
)
def test_a_set_with_a_step_that_makes_no_sense_is_refused(
    make: Make, change: dict[str, object], sentence: str
) -> None:
    with pytest.raises(Refused, match=sentence):
        make(content={"decode": [GOOD | change]})


def test_a_step_without_its_factor_is_refused(make: Make) -> None:
    with pytest.raises(Refused, match="one setting, factor; this step has nothing"):
        make(content={"decode": [{"name": "multi_formation", "version": 1}]})


def test_steps_that_make_more_images_of_one_than_it_has_pixels_are_refused(make: Make) -> None:
    assert make_decoded(make, 2, 2, shape=(3, 4, 4)).copies == 16
    with pytest.raises(Refused, match="makes 64 images of each that is stored: more than it has pixels"):
        make(content={"decode": [GOOD] * 3})


def make_decoded(
    make: Make, *factors: int, per_class: tuple[int, ...] = (3, 2, 4), **given: object
) -> ImageSet:
    """A set with a step for each factor, and the counts that follow."""
    copies = 1
    for factor in factors:
        copies *= factor**2
    counts = {"stored": sum(per_class), "effective": copies * sum(per_class), "per_class": list(per_class)}
    steps = [MultiFormation(factor).describe() for factor in factors]
    return make(per_class=per_class, content={"decode": steps, "counts": counts}, **given)


def seen(stored: ImageSet) -> Tensor:
    return torch.stack([stored[index][0] for index in range(len(stored))])


@pytest.mark.parametrize("factors", [(2,), (3,), (2, 2)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_students_see_decoded_images_padded_with_grey(
    make: Make, raw: PixelSpace, dtype: torch.dtype, factors: tuple[int, ...]
) -> None:
    space = raw if dtype == torch.uint8 else affine("normalized", [0.5, 0.4, 0.3], [0.2, 0.25, 0.3])
    stored = make_decoded(make, *factors, space=space, dtype=dtype, shape=(3, 5, 8), soft=torch.float16)
    copies = stored.copies
    assert len(stored) == 9 * copies == len(stored.target) and len(stored.images) == 9
    normalise = affine("normalized", [0.5, 0.4, 0.3], [0.2, 0.25, 0.3])
    expected = stored.pixels()
    for factor in factors:
        expected = interpolate(hand_cut(expected, factor, 0.5), size=(5, 8), mode="bilinear")
    torch.testing.assert_close(seen(stored), normalise.encode(expected))
    assert stored.soft is not None and isinstance(stored.target, Soft)
    assert torch.equal(stored.target.ids, torch.cat([stored.labels] * copies))
    assert torch.equal(stored.target.probabilities, torch.cat([stored.soft.float()] * copies))
    for index in (0, 8, 9, len(stored) - 1, -1, -len(stored)):
        probabilities = stored[index][1]
        assert torch.equal(torch.as_tensor(probabilities), stored.soft[index % 9].float())
    for index in (len(stored), -len(stored) - 1):
        with pytest.raises(IndexError):
            stored[index]


@pytest.mark.parametrize("batch", [1, 7, 35, 36, 256])
def test_an_epoch_gives_each_decoded_image_once_with_its_label(make: Make, batch: int) -> None:
    stored = make_decoded(make, 2)
    order = torch.randperm(36, generator=stream(4)) if batch < 36 else torch.arange(36)
    pairs = list(stored.batches(0, replace(HARD_V1, batch=batch), stream(4)))
    assert [len(x) for x, _ in pairs] == [min(batch, 36 - start) for start in range(0, 36, batch)]
    torch.testing.assert_close(torch.cat([x for x, _ in pairs]), seen(stored)[order])
    ids = torch.cat([target.ids for _, target in pairs])
    assert torch.equal(ids, stored.labels.repeat(4)[order]) and isinstance(pairs[0][1], Hard)


def test_a_set_without_steps_comes_in_the_order_that_was_drawn(make: Make) -> None:
    stored, order = make(), torch.randperm(9, generator=stream(4))
    assert stored.copies == 1
    pairs = list(stored.batches(0, SMALL, stream(4)))
    assert torch.equal(torch.cat([x for x, _ in pairs]), stored.images[order])
    assert torch.equal(torch.cat([target.ids for _, target in pairs]), stored.labels[order])


def test_a_batch_decodes_no_more_than_its_own_images(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, decode, sizes = make_decoded(make, 2), MultiFormation.some, []

    def counted(self: MultiFormation, images: Tensor, tile: Tensor, fill: float | Tensor) -> Tensor:
        sizes.append(len(images))
        return decode(self, images, tile, fill)

    monkeypatch.setattr(MultiFormation, "some", counted)
    list(stored.batches(0, SMALL, stream()))
    assert sizes == [7, 7, 7, 7, 7, 1]


def test_a_plain_loader_with_workers_reads_every_decoded_item(make: Make) -> None:
    stored = make_decoded(make, 2)
    loader = DataLoader(stored, batch_size=10, num_workers=2)
    images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    (whole, target), *_ = stored.batches(0, HARD_V1, stream())
    torch.testing.assert_close(images, whole)
    assert torch.equal(labels, target.ids)


def test_decode_steps_change_the_hash_and_take_no_bytes(make: Make) -> None:
    sets = [make(), make_decoded(make, 1), make_decoded(make, 2), make_decoded(make, 2, 1)]
    assert len({stored.hash for stored in sets}) == 4
    assert all(stored.nbytes() == sets[0].nbytes() for stored in sets)
    assert sets[2].content["bytes"]["images"] == 9 * 48 * 4


@pytest.mark.parametrize("effective", [9, 35, 72])
def test_an_effective_count_that_the_steps_do_not_make_is_refused(
    make: Make, tmp_path: Path, effective: int
) -> None:
    counts = {"stored": 9, "effective": effective, "per_class": [3, 2, 4]}
    wrong = make(content={"decode": [GOOD], "counts": counts})
    with pytest.raises(Refused, match=f"counts.effective is {effective}, but 9 images make 36"):
        wrong.save(tmp_path / "set")
    if effective != 9:
        with pytest.raises(Refused, match="but 9 images make 9"):
            make(content={"counts": counts}).save(tmp_path / "set")


def test_whitened_pixels_are_not_decoded(make: Make) -> None:
    real = torch.randint(0, 256, (60, 3, 4, 4), generator=stream(9), dtype=torch.uint8)
    zca = Zca.fit(real, "f" * 64)
    with pytest.raises(Refused, match="whitened pixels cannot be decoded by multi_formation"):
        make_decoded(make, 2, space=zca)
    with pytest.raises(Refused, match="whitened pixels cannot be decoded by multi_formation"):
        make_decoded(make, 2).in_space(zca)


def test_a_change_of_space_leaves_what_students_see(make: Make, raw: PixelSpace) -> None:
    stored = make_decoded(make, 2, shape=(3, 5, 5))
    moved = stored.in_space(raw)
    assert moved.content["pixels"]["space"] == "raw" and moved.content["decode"] == stored.content["decode"]
    torch.testing.assert_close(seen(moved), seen(stored))


def test_a_set_that_moves_takes_its_grey_with_it(make: Make) -> None:
    stored = make_decoded(make, 2, shape=(3, 5, 5), soft=torch.float32)
    assert len(seen(stored)) == 36
    moved = stored.to("meta")  # the device of tensors without numbers: nothing of the CPU's can be mixed in
    for protocol in (SMALL, HARD_V1):
        for x, target in moved.batches(0, protocol, stream()):
            assert x.device == target.ids.device == moved.device == torch.device("meta")
            assert x.shape[1:] == (3, 5, 5) and len(target) == len(x)


def test_a_decoded_set_trains_the_same_student_from_disk_and_memory(
    make: Make, raw: PixelSpace, tmp_path: Path
) -> None:
    given = make_decoded(make, 2, shape=(3, 8, 8), space=raw, dtype=torch.uint8)
    given.save(tmp_path / "set")
    spread = make(shape=(3, 8, 8), per_class=(12, 8, 16))
    (whole, target), *_ = given.batches(0, HARD_V1, stream())
    spread = replace(spread, images=whole, labels=target.ids)
    spec = ImageSpec(
        name="toy",
        classes=("a", "b", "c"),
        shape=(3, 8, 8),
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.25, 0.3),
        dsa="color_crop",
    )
    test = Images(torch.randn(50, 3, 8, 8, generator=stream(1)), torch.arange(50) % 3, "h", 3)
    short = replace(HARD_V1, batch=10, stages=(Stage(epochs=8),))
    scores = [
        ImageStudent(source=one, test=test, spec=spec, protocol=short, network="convnet-w32")
        .outcome(0)
        .accuracy
        for one in (given, ImageSet.load(tmp_path / "set"), spread, make(shape=(3, 8, 8)))
    ]
    assert scores[0] == scores[1] == pytest.approx(scores[2]) and scores[3] != scores[0]
