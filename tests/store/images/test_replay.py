"""Stored labels: what they cost, what comes back, and what is refused when a file is not what it was."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load_file, save_file

from condense.data.images.pixels import Zca, affine
from condense.files import hash_tensors
from condense.protocol import Stage
from condense.protocols import HARD_V1, REPLAY_V1, REPLAY_V2
from condense.store import Hard, ImageContent, ImageSet, MultiFormation, verify
from condense.store.images.replay import Replay, hash_images
from condense.store.images.shards import ShardLayout
from condense.store.targets import TeacherLogits
from tests.labelled_sets import Seen, epoch, labelled, refusal, stream

Make = Callable[..., ImageSet]
Label = Callable[..., ImageSet]


@pytest.fixture
def stored(make: Make, tmp_path: Path) -> Path:
    """A set with labels for three epochs of three batches, on disk."""
    labelled(make(), tmp_path / "cache").save(tmp_path / "set")
    return tmp_path / "set"


# What it costs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "top_k"), [(3, None), (3, 2), (300, None), (300, 7)])
@pytest.mark.parametrize("batch", [4, 5, 100])
def test_the_formula_for_the_bytes_is_the_sum_over_a_files_tensors(
    make: Make, tmp_path: Path, classes: int, top_k: int | None, batch: int
) -> None:
    made = labelled(make(per_class=(1,) * classes), tmp_path, epochs=1, batch=batch, top_k=top_k)
    held = load_file(tmp_path / "replay-00000.safetensors")
    total = sum(tensor.numel() * tensor.element_size() for tensor in held.values())
    assert made.replay is not None
    assert made.replay.layout.nbytes == total == made.nbytes()["replay"] == made.content["replay"][0]["bytes"]
    views, batches = classes, -(-classes // batch)
    ids = 1 if classes <= 256 else 2
    each = 2 * classes if top_k is None else top_k * (2 + ids) + 2
    assert total == views * (4 + 8 + 1 + 4 + each) + batches * (4 + 8)


def test_at_a_thousand_classes_the_bytes_are_those_that_the_papers_state() -> None:
    """E N (2 k + 25) and some for each file: 5.66 GiB for 300 epochs of ImageNet at ten images a class."""
    layout = ShardLayout(views=10_000, classes=1000, batch=1024)
    assert 300 * layout.nbytes == pytest.approx(300 * 10_000 * (2 * 1000 + 25), rel=0.02)
    assert 300 * layout.nbytes / 2**30 == pytest.approx(5.66, rel=0.02)


def test_the_labels_take_no_second_copy_of_themselves_on_the_disk(make: Make, tmp_path: Path) -> None:
    made = labelled(make(), tmp_path / "cache")
    made.save(tmp_path / "set")
    names = [f"replay-0000{number}.safetensors" for number in range(3)]
    assert sorted(path.name for path in (tmp_path / "set").glob("replay-*")) == names
    for name in names:
        assert (tmp_path / "set" / name).samefile(tmp_path / "cache" / name)


def test_on_a_disk_without_links_the_labels_are_copied(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object) -> None:
        raise OSError("not supported")

    monkeypatch.setattr("os.link", no_link)
    made = labelled(make(), tmp_path / "cache")
    made.save(tmp_path / "set")
    name = "replay-00002.safetensors"
    assert not (tmp_path / "set" / name).samefile(tmp_path / "cache" / name)
    assert verify(tmp_path / "set") == made.hash


# What comes back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [4, 9, 50])
def test_a_student_gets_the_images_logits_and_classes_that_were_labelled(
    make: Make, tmp_path: Path, batch: int
) -> None:
    seen: list[Seen] = []
    made = labelled(make(), tmp_path / "cache", batch=batch, seen=seen)
    made.save(tmp_path / "set")
    read = ImageSet.load(tmp_path / "set")
    assert read.hash == made.hash == verify(tmp_path / "set") and read.epochs == 3
    got = [pair for number in range(3) for pair in epoch(read, number)]
    assert len(got) == len(seen) == 3 * -(-9 // batch)
    for (images, target), expected in zip(got, seen, strict=True):
        assert torch.equal(images, expected.images)
        assert torch.equal(target.logits, expected.logits) and torch.equal(target.ids, expected.ids)
        assert target.temperature == 5.0 and not target.squared


def test_the_protocols_temperature_stands_before_the_sets(make: Make, tmp_path: Path) -> None:
    made = labelled(make(), tmp_path)
    protocol = replace(REPLAY_V1, temperature=2.0, squared=True)
    _, target = next(made.batches(0, protocol, stream()))
    assert isinstance(target, TeacherLogits) and target.temperature == 2.0 and target.squared


def test_decoded_images_are_what_is_labelled_where_there_are_decode_steps(make: Make, tmp_path: Path) -> None:
    counts = {"stored": 9, "effective": 36, "per_class": [3, 2, 4]}
    seen: list[Seen] = []
    made = labelled(
        make(content={"decode": [MultiFormation(2).describe()], "counts": counts}), tmp_path, seen=seen
    )
    got = epoch(made, 0)
    assert len(got) == 9 and len(seen) == 27
    for (images, target), expected in zip(got, seen, strict=False):
        assert torch.equal(images, expected.images) and torch.equal(target.ids, expected.ids)


def test_the_logits_that_are_left_out_are_read_as_their_mean() -> None:
    layout = ShardLayout(views=2, classes=5, batch=2, top_k=2)
    logits = torch.tensor([[4.0, -1.0, 2.0, 3.0, -2.0], [0.0, 8.0, 0.5, 0.25, 16.0]])
    expected = [[4.0, -1 / 3, -1 / 3, 3.0, -1 / 3], [0.25, 8.0, 0.25, 0.25, 16.0]]
    torch.testing.assert_close(
        layout.logits(layout.labels(logits)), torch.tensor(expected), atol=3e-4, rtol=0
    )


def test_with_all_but_one_logit_stored_nothing_is_lost() -> None:
    logits = torch.randn(50, 300, generator=stream())
    whole, most = (ShardLayout(50, 300, 8, top_k) for top_k in (None, 299))
    read = most.logits(most.labels(logits))
    # The last one is a difference of sums of 300 numbers.
    torch.testing.assert_close(read, whole.logits(whole.labels(logits)), atol=1e-2, rtol=0)


def test_hard_v1_ignores_stored_labels_and_draws_the_same_numbers(make: Make, tmp_path: Path) -> None:
    plain = make()
    made = labelled(plain, tmp_path)
    small = replace(HARD_V1, batch=4)
    for (x, target), (y, other) in zip(
        made.batches(0, small, stream()), plain.batches(0, small, stream()), strict=True
    ):
        assert torch.equal(x, y) and isinstance(target, Hard) and torch.equal(target.ids, other.ids)


# Pruned labels -------------------------------------------------------------------------------------------


def test_pruned_labels_are_a_pool_of_batches_that_each_step_draws_from(make: Make, tmp_path: Path) -> None:
    seen: list[Seen] = []
    made = labelled(make(), tmp_path, epochs=150, shards=2, seen=seen)
    assert made.epochs == 150 and made.nbytes()["replay"] == 2 * made.content["replay"][0]["bytes"]
    rng, drawn = stream(1), [0] * len(seen)
    for number in range(150):
        batches = list(made.batches(number, REPLAY_V1, rng))
        assert len(batches) == 3
        for _, target in batches:
            logits = cast(TeacherLogits, target).logits
            (found,) = [i for i, one in enumerate(seen) if torch.equal(one.logits, logits)]
            drawn[found] += 1
    # 450 draws of 6: 75 expected, with a standard deviation of 8
    assert sum(drawn) == 450 and all(40 < count < 110 for count in drawn)


def test_the_evaluation_seed_matters_for_pruned_labels_only(make: Make, tmp_path: Path) -> None:
    pool = labelled(make(), tmp_path / "pool", epochs=30, shards=2)
    one, same, other = (
        torch.cat([target.logits for number in range(5) for _, target in epoch(pool, number, seed)])
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same) and not (one.shape == other.shape and torch.equal(one, other))
    whole, rng = labelled(make(), tmp_path / "whole"), stream()
    before = rng.get_state()
    list(whole.batches(1, REPLAY_V1, rng))
    assert torch.equal(rng.get_state(), before)


# What is refused -----------------------------------------------------------------------------------------


def test_missing_short_and_foreign_files_are_refused_on_loading(stored: Path) -> None:
    shard, other = stored / "replay-00001.safetensors", stored / "replay-00002.safetensors"
    whole = shard.read_bytes()
    shard.unlink()
    assert refusal(lambda: ImageSet.load(stored)) == f"{shard} is missing: the set has 3 files of labels"
    shard.write_bytes(whole[:-1])
    assert refusal(lambda: ImageSet.load(stored)).startswith(f"{shard} is truncated or damaged")
    shard.write_bytes(b"")
    assert refusal(lambda: ImageSet.load(stored)).startswith(f"{shard} is truncated or damaged")
    shard.write_bytes(other.read_bytes())
    assert "another set or epoch" in refusal(lambda: ImageSet.load(stored))
    shard.write_bytes(whole)
    tensors = load_file(shard) | {"logits": torch.zeros(9, 4, dtype=torch.float16)}
    save_file(tensors, shard, metadata={"replay": json.dumps(["not", "this"])})
    assert "another set or epoch" in refusal(lambda: ImageSet.load(stored))


def test_a_file_in_another_layout_is_refused_when_the_set_is_opened(stored: Path) -> None:
    shard = stored / "replay-00001.safetensors"
    entry = '{"epoch":1,"images":"' + ImageSet.load(stored).content["label"]["images"] + '"}'  # type: ignore[typeddict-item]
    tensors = load_file(shard)
    save_file(tensors | {"logits": torch.zeros(9, 4, dtype=torch.float16)}, shard, metadata={"replay": entry})
    assert f"{shard} holds 'logits' as" in refusal(lambda: ImageSet.load(stored))
    save_file(tensors | {"more": torch.zeros(1)}, shard, metadata={"replay": entry})
    assert f"{shard} holds 'more' as" in refusal(lambda: ImageSet.load(stored))


def test_an_altered_file_is_refused_by_verify_and_on_first_use(stored: Path) -> None:
    shard = stored / "replay-00001.safetensors"
    altered = bytearray(shard.read_bytes())
    altered[-1] ^= 1
    shard.unlink()  # not the linked file in the cache
    shard.write_bytes(altered)
    assert refusal(lambda: verify(stored)).startswith(f"{shard} was altered")
    read = ImageSet.load(stored)
    assert len(epoch(read, 0)) == 3
    assert refusal(lambda: epoch(read, 1)).startswith(f"{shard} was altered")
    assert len(epoch(read, 2)) == 3


def test_labels_of_other_images_are_refused_when_a_set_is_stored(make: Make, tmp_path: Path) -> None:
    one, other = labelled(make(), tmp_path / "cache"), make(seed=5)
    mixed = replace(one, images=other.images)
    assert "stored labels are of other images" in refusal(lambda: mixed.save(tmp_path / "set"))
    assert "stored labels are of other images" in refusal(
        lambda: one.in_space(affine("raw", [0.5, 0.4, 0.3], [0.2, 0.25, 0.3])).save(tmp_path / "set")
    )


def test_another_number_of_epochs_is_refused(make: Make, tmp_path: Path) -> None:
    made = labelled(make(), tmp_path)
    longer = replace(REPLAY_V1, name="published", stages=(Stage(epochs=4),))
    assert (
        "published trains on 9 images for 4 epochs in batches of 4, but the set stores labels for 3 epochs"
        in refusal(lambda: next(made.batches(0, longer, stream())))
    )
    assert "stores labels for 3 epochs, and none for epoch 3" in refusal(lambda: epoch(made, 3))
    assert "this set stores none" in refusal(lambda: epoch(make(), 0))


SHORT = replace(REPLAY_V2, stages=(Stage(epochs=2),), batches=3, least_batch=2, least_steps=9)
"""replay-v2 with numbers for nine images: three batches of three an epoch, and three epochs."""


def test_a_protocol_with_numbers_of_its_own_takes_the_views_that_have_them(
    make: Make, tmp_path: Path
) -> None:
    # Made for it or not: the numbers decide.
    for number, name in enumerate(("replay-v2", None)):
        made = labelled(make(), tmp_path / str(number), batch=3, protocol=name)
        assert [len(images) for images, _ in made.batches(2, SHORT, stream())] == [3, 3, 3]
    other = labelled(make(), tmp_path / "other", batch=4)
    assert refusal(lambda: next(other.batches(0, SHORT, stream()))) == (
        "replay-v2 trains on 9 images for 3 epochs in batches of 3, but the set stores labels for 3 epochs "
        "in batches of 4"
    )
    longer = labelled(make(), tmp_path / "longer", batch=3, epochs=4)
    assert "but the set stores labels for 4 epochs" in refusal(
        lambda: next(longer.batches(0, SHORT, stream()))
    )


def test_a_set_that_is_smaller_than_its_batch_is_one_batch_of_its_size(make: Make, tmp_path: Path) -> None:
    whole = replace(SHORT, batches=1)
    made = labelled(make(), tmp_path, batch=128, epochs=9)
    assert [len(images) for images, _ in made.batches(0, whole, stream())] == [9]


def test_views_of_the_second_version_are_not_judged_by_the_first(make: Make, tmp_path: Path) -> None:
    made = labelled(make(), tmp_path, protocol="replay-v2")
    assert refusal(lambda: epoch(made, 0)) == (
        "replay-v1 trains on views in batches and epochs that were chosen for the set; those of this one are "
        "the batches and epochs of replay-v2; protocol='replay-v2' judges it"
    )
    made.save(tmp_path / "set")
    stored = ImageSet.load(tmp_path / "set")
    assert stored.replay is not None and stored.replay.protocol == "replay-v2" and stored.hash == made.hash


def test_whitened_images_are_refused_until_they_are_normalised(make: Make, tmp_path: Path) -> None:
    real = torch.randint(0, 256, (60, 3, 4, 4), generator=stream(9), dtype=torch.uint8)
    white = Zca.fit(real, "f" * 64)
    made = make(space=white)
    content = cast(ImageContent, {**made.content, "label": {**made.content["label"]}})
    made = labelled(replace(made, content=content), tmp_path)
    assert "bring this whitened set into that space" in refusal(lambda: epoch(made, 0))
    normalized = made.with_space(white).in_space(affine("normalized", [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]))
    assert len(epoch(normalized, 0)) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shards": 2}, "content.label.shards is 2, but content.replay lists 3"),
        ({"epochs": 2}, "3 shards in batches of 4 are no labels of 2 epochs"),
        ({"top_k": 3}, "content.label.top_k is 3, but there are 3 classes"),
        ({"dtype": "float8"}, "stored labels of float8 are unknown"),
        ({"kind": "hard"}, "there are stored labels, but the label kind is hard"),
        ({"images": None}, "content.label.images is null, not a text"),
    ],
)
def test_a_manifest_that_contradicts_itself_about_labels_is_refused(
    make: Make, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    made = labelled(make(), tmp_path)
    content = cast(ImageContent, {**made.content, "label": {**made.content["label"], **change}})
    assert words in refusal(lambda: replace(made, content=content))


def test_a_file_of_labels_cannot_lie_outside_the_set(make: Make, tmp_path: Path) -> None:
    made = labelled(make(), tmp_path)
    shards = [{**shard, "file": f"../{shard['file']}"} for shard in made.content["replay"]]
    content = cast(ImageContent, {**made.content, "replay": shards})
    assert "file is '../replay-00000.safetensors'" in refusal(lambda: replace(made, content=content))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("order", 9, "an image that the set does not have"),
        ("boxes", 5, "a box that is not of the image"),
        ("partners", 4, "a partner that is not of the batch"),
        ("logits", float("nan"), "logits that are not finite"),
    ],
)
def test_a_careful_forgers_numbers_are_refused_where_they_would_be_used(
    make: Make, tmp_path: Path, name: str, value: float, words: str
) -> None:
    made = labelled(make(), tmp_path, epochs=1)
    shard = tmp_path / "replay-00000.safetensors"
    tensors, text = load_file(shard), json.dumps({"epoch": 0, "images": "x"})
    text = text if made.replay is None else f'{{"epoch":0,"images":"{made.replay.images}"}}'
    tensors[name][1] = value
    save_file(tensors, shard, metadata={"replay": text})
    forged = [{**made.content["replay"][0], "hash": hash_tensors(tensors, prefix=text)}]
    content = cast(ImageContent, {**made.content, "replay": forged})
    made = replace(made, content=content, replay=Replay.of(tmp_path, content))
    assert refusal(lambda: epoch(made, 0)) == f"{shard}: batch 0 holds {words}"


def test_the_hash_of_labelled_images_ignores_their_labels(make: Make) -> None:
    made, other = make(), make(seed=3)
    name = hash_images(made.tensors(), made.content)
    assert hash_images(make(soft=torch.float16).tensors(), made.content) == name
    assert hash_images(other.tensors(), made.content) != name
    decoded = cast(ImageContent, {**made.content, "decode": [MultiFormation(2).describe()]})
    assert hash_images(made.tensors(), decoded) != name


def test_going_through_many_files_takes_no_more_memory_than_one(make: Make, tmp_path: Path) -> None:
    """48 MB of labels in 24 files: opened, streamed and verified in less than a third of it."""
    made = make(per_class=(1,) * 1000, shape=(1, 2, 2))
    made = labelled(made, tmp_path / "cache", epochs=24, batch=100)
    assert made.nbytes()["replay"] > 48e6
    before = resident()
    made.save(tmp_path / "set")
    read = ImageSet.load(tmp_path / "set")
    peak = resident()
    for number in range(24):
        for _ in read.batches(number, REPLAY_V1, stream()):
            peak = max(peak, resident())
    verify(tmp_path / "set")
    assert max(peak, resident()) - before < 16e6


def resident() -> int:
    """Bytes of memory that the process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
