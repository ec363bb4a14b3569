"""The augmentation of a user's images: which one is taken, what is said of it, and how another is chosen."""

from pathlib import Path

import numpy as np
import pytest

from condense.data import ImageDataset, load_dataset, load_images
from condense.data.images.known import FULL, NO_FLIP
from condense.distillation.registry import build
from condense.errors import Refused
from condense.evaluation.described import paper


def own(path: Path, coloured: int, count: int = 80, channels: int = 3) -> ImageDataset:
    """A file of two classes, of whose images with equal channels some have one coloured pixel."""
    stream = np.random.RandomState(0)
    grey = stream.randint(0, 250, (2 * count, 6, 6, 1), np.uint8)
    images = grey.repeat(channels, 3)
    images[:coloured, 2, 3, 0] += 1
    labels = np.arange(count) % 2
    np.savez(
        path, train_images=images[:count], train_labels=labels, test_images=images[count:], test_labels=labels
    )
    return load_images(str(path))


@pytest.mark.parametrize(
    ("coloured", "strategy", "told"),
    [
        (80, FULL, f"augmentation {FULL}, with flips: 80 of 80 training images are coloured"),
        (41, FULL, f"augmentation {FULL}, with flips: 41 of 80 training images are coloured"),
        (40, NO_FLIP, f"augmentation {NO_FLIP}, without flips: 40 of 80 training images are grey"),
        (1, NO_FLIP, f"augmentation {NO_FLIP}, without flips: 79 of 80 training images are grey"),
        (0, NO_FLIP, f"augmentation {NO_FLIP}, without flips: 80 of 80 training images are grey"),
    ],
)
def test_images_are_flipped_if_most_of_them_are_coloured(
    coloured: int, strategy: str, told: str, tmp_path: Path
) -> None:
    data = own(tmp_path / "own.npz", coloured)
    assert data.spec.dsa == strategy and data.spec.shape[0] == 3
    assert [note for note in data.spec.notes if note.startswith("augmentation")] == [told]


def test_keys_hold_the_augmentation_only_where_channels_do_not_tell_it(tmp_path: Path) -> None:
    assert own(tmp_path / "colour.npz", 80).spec.given == {}
    assert own(tmp_path / "one.npz", 0, channels=1).spec.given == {}
    assert own(tmp_path / "grey.npz", 1).spec.given == {"augment": NO_FLIP}
    assert load_images("digits").spec.given == {}


def test_a_chosen_augmentation_takes_data_out_of_the_published_tables() -> None:
    plain, chosen = load_images("digits"), load_dataset("digits", augment="none")
    assert isinstance(chosen, ImageDataset)
    assert (chosen.spec.name, chosen.spec.dsa, chosen.spec.given) == (
        "digits~none", "none", {"augment": "none"}
    )  # fmt: skip
    assert chosen.hash == plain.hash and not chosen.spec.named and paper(chosen, "dm", 1, "convnet") is None
    assert chosen.spec.notes == ("augmentation none, without flips: as chosen",)
    small = load_dataset("digits", size=16, augment="flip+color_crop")
    assert small.spec.name == "digits@16~flip+color_crop"
    assert build("dc", "svhn", 1)[1] is not None and build("dc", "svhn~none", 1)[1] is None


def test_a_chosen_augmentation_replaces_the_usual_one_in_the_notes(tmp_path: Path) -> None:
    usual = own(tmp_path / "own.npz", 80)
    chosen = load_dataset(str(tmp_path / "own.npz"), augment="color_flip")
    (before,) = set(usual.spec.notes) - set(chosen.spec.notes)
    (after,) = set(chosen.spec.notes) - set(usual.spec.notes)
    assert (
        before.startswith(f"augmentation {FULL}")
        and after == "augmentation color_flip, with flips: as chosen"
    )


@pytest.mark.parametrize(
    ("dataset", "augment", "sentence"),
    [
        ("digits", "colour", "augment='colour': unknown augmentation 'colour'; nearest: color"),
        ("digits", "", "augment='': write none for no augmentation"),
        ("mutag", "none", "augment='none': mutag holds graphs, which are not augmented"),
    ],
)
def test_impossible_augmentations_are_refused(dataset: str, augment: str, sentence: str) -> None:
    with pytest.raises(Refused) as refused:
        load_dataset(dataset, augment=augment)
    assert str(refused.value) == sentence or str(refused.value).startswith(sentence)
