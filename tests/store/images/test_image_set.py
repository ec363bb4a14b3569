"""A set in memory: what it gives to students, in which space and order, and what its hash covers."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from condense.data.images.pixels import PixelSpace, Zca, affine
from condense.errors import Refused
from condense.protocols import HARD_V1
from condense.store import Hard, ImageContent, ImageSet, Soft
from condense.store.manifest import VERSION

Make = Callable[..., ImageSet]
SMALL = replace(HARD_V1, batch=4)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def whitening() -> Zca:
    real = torch.randint(0, 256, (60, 3, 4, 4), generator=stream(9), dtype=torch.uint8)
    return Zca.fit(real, "f" * 64)


def test_raw_bytes_are_read_normalised_with_the_train_statistics(make: Make, raw: PixelSpace) -> None:
    stored = make(space=raw, dtype=torch.uint8)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])
    image, label = stored[5]
    expected = (stored.images[5].float() / 255 - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(image, expected)
    assert label == 2 and stored.evaluation_space == "normalized"


def test_raw_floats_and_raw_bytes_of_the_same_pixels_are_read_alike(make: Make, raw: PixelSpace) -> None:
    as_bytes, as_floats = make(space=raw, dtype=torch.uint8), make(space=raw)
    assert len(as_bytes) == len(as_floats)
    for index in range(len(as_bytes)):
        torch.testing.assert_close(as_bytes[index][0], as_floats[index][0])


def test_normalised_and_whitened_images_are_read_as_they_are_stored(make: Make) -> None:
    for space, name in ((None, "normalized"), (whitening(), "zca")):
        stored = make(space=space)
        assert torch.equal(stored[3][0], stored.images[3])
        assert stored.evaluation_space == name


def test_half_precision_images_are_read_as_float32(make: Make) -> None:
    stored = make(dtype=torch.float16)
    assert stored[0][0].dtype == torch.float32
    assert torch.equal(stored[0][0].half(), stored.images[0])


@pytest.mark.parametrize("soft", [None, torch.float16])
def test_a_plain_loader_with_two_workers_reads_every_item(
    make: Make, raw: PixelSpace, soft: torch.dtype | None
) -> None:
    stored = make(space=raw, dtype=torch.uint8, soft=soft)
    loader = DataLoader(stored, batch_size=4, num_workers=2)
    images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    (whole, target), *_ = stored.batches(0, HARD_V1, stream())
    assert torch.equal(images, whole) and images.dtype == torch.float32
    assert torch.equal(labels, target.ids if soft is None else cast(Soft, target).probabilities)


def test_a_set_survives_pickling_between_processes(make: Make) -> None:
    stored = make(soft=torch.float32)
    assert pickle.loads(pickle.dumps(stored)).hash == stored.hash


@pytest.mark.parametrize("batch", [1, 4, 8, 9, 256])
def test_an_epoch_gives_each_image_once_with_its_own_label(make: Make, raw: PixelSpace, batch: int) -> None:
    stored = make(space=raw, dtype=torch.uint8, soft=torch.float32)
    assert stored.soft is not None
    pairs = list(stored.batches(0, replace(HARD_V1, batch=batch), stream()))
    assert [len(x) for x, _ in pairs] == [min(batch, 9 - start) for start in range(0, 9, batch)]
    seen = []
    for x, target in pairs:
        assert isinstance(target, Soft)
        for image, p, label in zip(x, target.probabilities, target.ids, strict=True):
            (index,) = [i for i in range(9) if torch.equal(stored[i][0], image)]
            assert torch.equal(stored.soft[index], p) and stored.labels[index] == label
            seen.append(index)
    assert sorted(seen) == list(range(9))


def test_equal_generators_give_equal_batches_and_epochs_differ(make: Make) -> None:
    stored, one, two = make(), stream(5), stream(5)
    first = [target.ids.tolist() for _, target in stored.batches(0, SMALL, one)]
    again = [target.ids.tolist() for _, target in stored.batches(0, SMALL, two)]
    later = [target.ids.tolist() for _, target in stored.batches(1, SMALL, one)]
    assert first == again != later


def test_an_epoch_takes_as_many_draws_whatever_the_batch_size(make: Make) -> None:
    stored, one, two = make(), stream(5), stream(5)
    list(stored.batches(0, SMALL, one))
    list(stored.batches(0, HARD_V1, two))
    assert torch.equal(one.get_state(), two.get_state())


def test_the_label_kind_decides_the_target(make: Make) -> None:
    kinds = [next(make(soft=soft).batches(0, HARD_V1, stream()))[1] for soft in (None, torch.float32)]
    assert isinstance(kinds[0], Hard) and isinstance(kinds[1], Soft)


def test_a_set_in_its_own_space_is_itself(make: Make) -> None:
    stored = make()
    assert stored.in_space(affine("normalized", [0.5, 0.4, 0.3], [0.2, 0.25, 0.3])) is stored


def test_pixels_survive_a_change_of_space(make: Make, raw: PixelSpace) -> None:
    zca = whitening()
    stored = make(space=raw, dtype=torch.uint8)
    whitened = stored.in_space(zca)
    assert whitened.evaluation_space == "zca" and whitened.images.dtype == torch.float32
    torch.testing.assert_close(whitened.images, zca.encode(stored.images))
    back = whitened.with_space(zca).in_space(raw)
    torch.testing.assert_close(back.images * 255, stored.images.float(), atol=0.05, rtol=0)
    assert back.content == make(space=raw).content


def test_a_space_is_identified_by_its_numbers_not_by_its_wording(make: Make) -> None:
    class Reworded(Zca):
        def describe(self) -> dict[str, object]:
            return {**super().describe(), "recompute": "in other words"}

    zca = whitening()
    whitened = make(space=zca)
    reworded = Reworded(zca.mean, zca.matrix, zca.inverse, zca.fitted_on)
    assert whitened.in_space(reworded) is whitened
    assert torch.equal(whitened.with_space(reworded).pixels(), zca.decode(whitened.images))
    elsewhere = Zca(zca.mean, zca.matrix, zca.inverse, "g" * 64)
    with pytest.raises(Refused, match="which is not"):
        whitened.with_space(elsewhere)


def test_whitened_pixels_are_not_decoded_without_their_own_space(make: Make, raw: PixelSpace) -> None:
    whitened = make(space=whitening())
    with pytest.raises(Refused, match="zca"):
        whitened.in_space(raw)
    with pytest.raises(Refused, match="which is not"):
        whitened.with_space(raw)


def test_the_bytes_of_each_part_are_those_of_its_tensors(make: Make, raw: PixelSpace) -> None:
    assert make(space=raw, dtype=torch.uint8).nbytes()["images"] == 9 * 48
    sizes = make(dtype=torch.float16, soft=torch.float16).nbytes()
    assert sizes["images"] == 2 * 9 * 48 and sizes["labels"] == 9 + 2 * 9 * 3
    assert sum(sizes.values()) == sizes["images"] + sizes["labels"]
    assert make(per_class=(1,) * 300).nbytes()["labels"] == 4 * 300


def test_the_hash_does_not_cover_the_provenance(make: Make) -> None:
    assert make(provenance={}).hash == make(provenance={"device": "a toaster"}).hash


def test_the_hash_covers_type_shape_and_every_kind_of_tensor(make: Make, raw: PixelSpace) -> None:
    sets = [
        make(),
        make(dtype=torch.float16),
        make(space=raw),
        make(shape=(3, 2, 8)),
        make(soft=torch.float32),
        make(soft=torch.float16),
        make(seed=1),
        make(per_class=(2, 3, 4)),
    ]
    assert len({stored.hash for stored in sets}) == len(sets)


@settings(max_examples=25, deadline=None)
@given(index=st.integers(0, 9 * 48 * 4 - 1), bit=st.integers(0, 7))
def test_the_hash_covers_every_bit_of_the_images(index: int, bit: int) -> None:
    images = torch.randn(9, 3, 4, 4, generator=stream())
    changed = images.clone()
    changed.view(-1).view(torch.uint8)[index] ^= 1 << bit
    template = _template()
    assert replace(template, images=images).hash != replace(template, images=changed).hash


def test_the_hash_covers_every_value_of_the_manifest(make: Make) -> None:
    stored = make(soft=torch.float32)
    hashes, places = {stored.hash}, 0
    for path in _leaves(stored.content):
        changed = pickle.loads(pickle.dumps(stored))
        *parents, last = path
        inner = changed.content
        for key in parents:
            inner = inner[key]
        inner[last] = 31 if inner[last] != 31 else 32
        hashes.add(changed.hash)
        places += 1
    assert places > 40 and len(hashes) == places + 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"decode": [{"name": "hologram", "version": 2}]}, "unknown decode step 'hologram' of version 2"),
        (
            {"label": {"kind": "spoken", "temperature": 1.0, "teacher": None}},
            "unknown label kind 'spoken'",
        ),
        ({"label": {"kind": "soft", "temperature": 1.0, "teacher": None}}, "there are no soft labels"),
        ({"kind": "graphs"}, "content.kind is graphs, not images"),
        ({"pixels": {"space": "cmyk", "mean": [0.0], "std": [1.0]}}, "unknown pixel space 'cmyk'"),
        ({"pixels": {"space": "raw", "mean": [0.0], "std": [1.0]}}, "one number a channel"),
        ({"hints": {"augment": ""}}, "content.hints.lr is missing"),
        ({"seed": "seven"}, 'content.seed is "seven", not a whole number'),
        ({"ipc": True}, "content.ipc is true, not a whole number"),
        ({"key": float("nan")}, "JSON"),
        ({"protocol": {"name": "published"}}, "content.protocol.stages is missing"),
        ({"protocol": {"name": "published", "stages": [{"epochs": "9"}]}}, r"stages\[0\].epochs is \"9\""),
        ({"key": "x" * 3000}, "content.key is .*, not a text of length 255 or less"),
        ({"ipc": -3}, "content.ipc is -3, not a whole number of at least 0"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_with_the_place(
    make: Make, change: dict[str, object], sentence: str
) -> None:
    with pytest.raises(Refused, match=sentence):
        make(content=change)


@pytest.mark.usefixtures("unchecked_shapes")
def test_tensors_that_do_not_fit_the_manifest_are_refused(make: Make) -> None:
    good = make(soft=torch.float32)
    assert good.soft is not None
    for images in (good.images.double(), good.images.byte(), good.images[:0], good.images[:, :1]):
        with pytest.raises(Refused, match="images of"):
            replace(good, images=images)
    for labels in (good.labels.int(), good.labels[:-1]):
        with pytest.raises(Refused, match="no class ids of 9 images"):
            replace(good, labels=labels)
    for soft in (good.soft.double(), good.soft[:, :2]):
        with pytest.raises(Refused, match="soft labels of"):
            replace(good, soft=soft)


def test_images_that_are_still_being_learned_are_held_without_their_graph(make: Make) -> None:
    good = make()
    assert not replace(good, images=good.images.clone().requires_grad_() * 2).images.requires_grad


def _template() -> ImageSet:
    """A set without the fixture, which hypothesis would not reset."""
    draw = torch.zeros(9, 3, 4, 4)
    content = {
        "format": "condense-set",
        "version": VERSION,
        "kind": "images",
        "key": "",
        "dataset": {"name": "", "classes": ["a"], "shape": [3, 4, 4], "train_hash": "", "dsa": ""},
        "ipc": 9,
        "counts": {"stored": 9, "effective": 9, "per_class": [9]},
        "pixels": {"space": "normalized", "mean": [0.0] * 3, "std": [1.0] * 3},
        "decode": [],
        "label": {"kind": "hard", "temperature": 1.0, "teacher": None},
        "hints": {"lr": None, "augment": ""},
        "protocol": None,
        "method": {"name": "", "chain": [], "source": None},
        "seed": 0,
    }
    labels = torch.zeros(9, dtype=torch.int64)
    return ImageSet(images=draw, labels=labels, content=cast(ImageContent, content))


def _leaves(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict) and value:
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, (*path, key))]
    if isinstance(value, list) and value:
        return [leaf for i, inner in enumerate(value) for leaf in _leaves(inner, (*path, i))]
    return [path]
