"""What a user's test split lacks or shares with the training split is said."""

from pathlib import Path

import numpy as np

from condense.data import load_images
from condense.data.notes import is_leftover, on_test_split

Arrays = dict[str, np.ndarray]


def arrays() -> Arrays:
    """Random images of three classes: 30 to train and 60 to test, all different."""
    stream = np.random.RandomState(0)
    return {
        "train_images": stream.randint(0, 256, (30, 6, 6), np.uint8),
        "train_labels": np.arange(30) % 3,
        "test_images": stream.randint(0, 256, (60, 6, 6), np.uint8),
        "test_labels": np.arange(60) % 3,
    }


def notes(path: Path, held: Arrays) -> set[str]:
    np.savez(path, **held)  # type: ignore[arg-type]
    return set(load_images(str(path)).spec.notes)


def test_equal_images_in_both_splits_are_counted(tmp_path: Path) -> None:
    held = arrays()
    before = notes(tmp_path / "own.npz", held)
    held["test_images"][:4] = held["train_images"][0]  # class 0; the copies are of the classes 0, 1, 2, 0
    (told,) = notes(tmp_path / "own.npz", held) - before
    assert (
        told == "4 of 60 test images are equal to training images, 2 of them to images of other classes only"
    )
    held["test_images"][:] = arrays()["test_images"]
    held["train_images"][1] = held["train_images"][0]
    (told,) = notes(tmp_path / "own.npz", held) - before
    assert told == "1 training images occur in several classes"


def test_classes_that_a_test_split_lacks_or_hardly_has_are_named(tmp_path: Path) -> None:
    held = arrays()
    before = notes(tmp_path / "own.npz", held)
    held["test_labels"][:] = 0
    held["test_labels"][:2] = 2
    told = notes(tmp_path / "own.npz", held) - before
    assert told == {
        "the test split has no image of 1 of 3 classes: 1",
        "the test split has fewer than 10 images of 1 of 3 classes (2 or more): 2",
    }
    assert on_test_split([10, 10], ["a", "b"], "graph") == []
    assert on_test_split([0, 0, 0, 0, 3], list("abcde"), "graph") == [
        "the test split has no graph of 4 of 5 classes: a, b, c and 1 more",
        "the test split has fewer than 10 graphs of 1 of 5 classes (3 or more): e",
    ]


def test_other_arrays_of_a_file_are_said_to_be_left_out(tmp_path: Path) -> None:
    held = arrays()
    before = notes(tmp_path / "own.npz", held)
    more = {"val_images": held["test_images"], "val_labels": held["test_labels"]}
    assert notes(tmp_path / "own.npz", held | more) - before == {
        "left out: 2 other arrays: val_images, val_labels"
    }


def test_names_of_files_without_data_are_known() -> None:
    for name in ("__MACOSX", "._a.png", ".DS_Store", "Thumbs.db", "THUMBS.DB", "desktop.ini", "@eaDir"):
        assert is_leftover(name)
    assert not any(map(is_leftover, ("a.png", "macosx", "thumbs", "_a", "class.")))
