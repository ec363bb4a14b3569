"""Labelled images: draws, classes, hashes and pixel spaces."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.data import ImageDataset, Images, ImageSpec
from condense.errors import Refused


def numbered(counts: tuple[int, ...], seed: int = 0) -> Images:
    """Returns images in shuffled order; the pixels of each hold its position."""
    order = torch.randperm(sum(counts), generator=torch.Generator().manual_seed(seed))
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))[order]
    images = torch.arange(sum(counts), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    return Images.of(images, labels, len(counts))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=4), per_class=st.integers(1, 20))
def test_a_draw_takes_each_classs_images_equally_often(counts: list[int], per_class: int) -> None:
    split = numbered(tuple(counts))
    batch = split.draw(per_class, generator())
    assert batch.shape == (len(counts), per_class, 1, 4, 4)
    for label, count in enumerate(counts):
        drawn = batch[label, :, 0, 0, 0].long()
        assert (split.labels[drawn] == label).all()
        times = torch.bincount(drawn, minlength=len(split))[split.of_class(label)]
        assert times.sum() == per_class and times.max() - times.min() <= 1
        assert torch.equal(drawn[count:], drawn[: max(per_class - count, 0)])  # the same order again


def test_a_draw_from_a_large_enough_class_repeats_no_image() -> None:
    drawn = numbered((50, 60)).draw(50, generator())[:, :, 0, 0, 0]
    assert all(len(set(row.tolist())) == 50 for row in drawn)


def test_a_draw_depends_on_the_generator_alone() -> None:
    split = numbered((30, 30))
    state = torch.random.get_rng_state()
    assert torch.equal(split.draw(5, generator(1)), split.draw(5, generator(1)))
    assert not torch.equal(split.draw(5, generator(1)), split.draw(5, generator(2)))
    assert torch.equal(state, torch.random.get_rng_state())


def test_every_image_of_a_class_is_drawn_equally_often() -> None:
    split, stream = numbered((4, 4)), generator()
    times = torch.bincount(
        torch.cat([split.draw(1, stream).flatten(1)[:, 0].long() for _ in range(2000)]), minlength=8
    )
    assert (times - 500).abs().max() < 5 * (2000 * 0.25 * 0.75) ** 0.5  # five standard deviations


def test_a_draw_of_some_classes_keeps_their_order() -> None:
    split = numbered((5, 6, 7))
    batch = split.draw(3, generator(), classes=(2, 0))
    assert split.labels[batch[:, :, 0, 0, 0].long()].tolist() == [[2] * 3, [0] * 3]


def test_drawing_from_a_class_without_images_is_an_error() -> None:
    split = replace(numbered((3, 3)), num_classes=3)
    with pytest.raises(ValueError, match="class 2 has no images"):
        split.draw(1, generator())


def test_the_classes_partition_the_images() -> None:
    split = numbered((3, 1, 5))
    assert split.counts() == (3, 1, 5) and len(split) == 9
    assert sorted(torch.cat([split.of_class(label) for label in range(3)]).tolist()) == list(range(9))
    assert all((split.labels[split.of_class(label)] == label).all() for label in range(3))


def test_the_hash_covers_pixels_and_labels_but_not_the_memory_layout() -> None:
    split = numbered((3, 3))
    images, labels = split.images.clone(), split.labels.clone()
    last = images.contiguous(memory_format=torch.channels_last)
    assert Images.of(last, labels, 2).hash == split.hash
    images[0, 0, 0, 0] += 1
    labels[0] = 1 - labels[0]
    assert (
        len({split.hash, Images.of(images, split.labels, 2).hash, Images.of(split.images, labels, 2).hash})
        == 3
    )


def test_images_enter_a_pixel_space_once_and_keep_their_hash() -> None:
    images = torch.randint(256, (700, 3, 4, 4), dtype=torch.uint8, generator=generator())
    split = Images.of(images, torch.arange(700) % 2, 2)
    spec = ImageSpec(
        name="made",
        classes=("a", "b"),
        shape=(3, 4, 4),
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.4),
        dsa="crop",
    )
    space = ImageDataset(spec, split, split).space("normalized")
    seen = split.in_space(space)
    assert seen.images.dtype == torch.float32 and seen.hash == split.hash
    torch.testing.assert_close(seen.images, space.encode(images))
    with pytest.raises(ValueError, match="already"):
        seen.in_space(space)


def test_an_unknown_space_is_refused_with_the_nearest_names() -> None:
    spec = ImageSpec(
        name="made", classes=("a", "b"), shape=(1, 4, 4), mean=(0.5,), std=(0.5,), dsa="crop_flip"
    )
    split = numbered((2, 2))
    with pytest.raises(Refused, match="unknown pixel space 'normalised'; nearest: normalized"):
        ImageDataset(spec, split, split).space("normalised")
    assert spec.flips and not replace(spec, dsa="crop").flips
    assert replace(spec, dsa="flip+color_crop").flips and not replace(spec, dsa="none").flips
    assert (spec.channels, spec.height, spec.width, spec.num_classes) == (1, 4, 4, 2)
