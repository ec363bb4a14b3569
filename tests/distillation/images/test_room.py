"""As many images as fit a number of bytes, and the search for the compression that is worth most."""

from pathlib import Path
from typing import Any

import pytest
import torch

from condense.data import ImageDataset, Images, load_images
from condense.distillation import ImageRun, distill
from condense.distillation.images.room import CANDIDATES, best_encoding, largest
from condense.distillation.registry import build, methods
from condense.errors import Refused
from condense.store import ImageSet

QUICK: dict[str, Any] = {"encode": "best", "search_network": "mlp", "search_steps": "5"}


def make(data: ImageDataset, cache: Path, seed: int = 0, **params: Any) -> tuple[ImageSet, ImageRun]:
    given = {name: str(value) for name, value in params.items()}
    method, _ = build("random_subset", data.spec.name, 1, given)
    return distill(method, data, ipc=1, seed=seed, cache=cache)


def size(made: ImageSet) -> int:
    return sum(made.nbytes().values())


@pytest.mark.parametrize("encode", ["none", "png", "jpeg:25"])
def test_a_set_fills_its_room_with_equally_many_images(
    digits: ImageDataset, tmp_path: Path, encode: str
) -> None:
    sets = [make(digits, tmp_path, room=room, encode=encode)[0] for room in (5000, 9000, 20_000)]
    for made, room in zip(sets, (5000, 9000, 20_000), strict=True):
        counts = made.content["counts"]["per_class"]
        assert size(made) <= room and len(set(counts)) == 1 and counts[0] >= 1
        assert made.find_inconsistency() is None
        # One more of each class would not fit: an image takes at most this here.
        most = max(made.encoded.offsets.diff().tolist()) + 20 if made.encoded else 65
        assert size(made) + 10 * most > room
    few, more = sets[0], sets[-1]
    for label in range(10):
        mine, others = few.images[few.labels == label], more.images[more.labels == label]
        assert torch.equal(mine, others[: len(mine)]), "more room adds images and changes none"


def test_the_count_is_the_largest_that_fits() -> None:
    for bound in range(1, 40):
        for limit in range(bound):
            assert largest(lambda count, limit=limit: count <= limit, 0, bound) == limit  # type: ignore[misc]


def test_with_endless_room_the_smallest_class_is_used_up(toy: ImageDataset, tmp_path: Path) -> None:
    made, _ = make(toy, tmp_path, room=10**7, encode="png")
    assert made.content["counts"]["per_class"] == [20, 20, 20]


def test_the_best_compression_is_noted_and_the_same_for_every_draw(tmp_path: Path) -> None:
    large = load_images("digits", size=32)
    found = [make(large, tmp_path, seed=seed, room=15_000, **QUICK)[0] for seed in (0, 1)]
    notes: list[Any] = [made.provenance["encodings"] for made in found]
    assert notes[0] == notes[1] and 2 <= len(notes[0]) <= len(CANDIDATES)
    best = max(notes[0], key=lambda name: notes[0][name]["accuracy"])
    encoding: Any = {**found[0].content}["encoding"]
    assert best == (encoding["format"] if encoding["quality"] is None else f"jpeg:{encoding['quality']}")
    assert len(found[0]) == len(found[1]) and not torch.equal(found[0].images, found[1].images)


def test_a_candidate_with_fewer_images_of_less_quality_is_left_out(
    digits: ImageDataset, tmp_path: Path
) -> None:
    # The head of a JPEG is larger than all pixels of an 8 x 8 image: raw pixels win without any training.
    made, _ = make(digits, tmp_path, room=4000, **QUICK)
    assert "encodings" not in made.provenance and made.encoded is None
    assert made.content["counts"]["per_class"] == [6] * 10  # 65 bytes each


def test_the_search_trains_on_no_held_out_image_and_judges_by_them(
    digits: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Images] = []
    judged: list[torch.Tensor] = []
    _, run = make(digits, tmp_path, room=3000)
    original = run.pretrained

    def pretrained(training: Any, train: Images) -> Any:
        trained.append(train)
        return original(training, train)

    def accuracy(_: object, images: torch.Tensor, labels: torch.Tensor) -> float:
        judged.append(images)
        return float(len(judged))  # the last candidate wins

    monkeypatch.setattr(run, "pretrained", pretrained)
    monkeypatch.setattr("condense.distillation.images.room.accuracy", accuracy)
    monkeypatch.setattr("condense.distillation.images.room.CANDIDATES", ("png", "jpeg:10"))
    monkeypatch.setattr(
        "condense.distillation.images.room.filled",
        lambda train, orders, room, encode, run: run.selected(
            train, torch.cat([order[: 1 + (encode != "png")] for order in orders])
        ),
    )
    train = digits.train.in_space(run.space)
    assert best_encoding(train, 3000, "mlp", 2, run)[0] == "jpeg:10"
    assert [len(images) for images in trained] == [10, 20]
    held_out = {image.numpy().tobytes() for image in judged[0]}
    assert len(judged[0]) == sum(max(1, round(0.1 * count)) for count in digits.train.counts())
    assert not any(image.numpy().tobytes() in held_out for images in trained for image in images.images)


def test_without_a_room_the_images_may_be_compressed(toy: ImageDataset, tmp_path: Path) -> None:
    plain, _ = make(toy, tmp_path)
    encoded, _ = make(toy, tmp_path, encode="png")
    assert torch.equal(plain.images, encoded.images) and encoded.encoded is not None


def test_the_new_fields_change_no_key_at_their_defaults() -> None:
    method = methods()["random_subset"]()
    assert method.chain()[0]["config"] == {"network": "convnet", "pixel_space": "normalized"}
    assert methods()["random_subset"](room=5).chain()[0]["config"] == {  # type: ignore[call-arg]
        "network": "convnet", "pixel_space": "normalized", "room": 5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"encode": "best"}, "encode='best': which compression is best depends on room"),
        ({"encode": "gif"}, "encode='gif': unknown image encoding"),
        ({"room": -1}, "room of random_subset must be at least 0"),
        ({"room": 50, "encode": "png"}, "room=50: there is no room for an image of each class of toy"),
        ({"room": 50, **QUICK}, "room=50: there is no room for an image of each class of toy"),
    ],
)
def test_what_cannot_work_is_refused(
    toy: ImageDataset, tmp_path: Path, given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Refused) as refused:
        make(toy, tmp_path, **given)
    assert sentence in str(refused.value)
