"""A file is a known dataset only if its data are; other data lose the name and all that goes with it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from condense.board.render import table_for
from condense.data import load_images
from condense.data.images import sources
from condense.data.images.known import COUNTS, HASHES, KNOWN
from condense.distillation.registry import build
from condense.evaluation.described import paper
from condense.records.frame import frame
from condense.records.record import Record
from condense.teachers import fixed
from condense.teachers.pinned import PINNED, NoFixed
from tests.board.markdown import page
from tests.board_records import board_records


def fake(path: Path, shape: tuple[int, ...], seed: int = 0) -> Path:
    """An .npz file of ten classes with random pixels: 40 images to train, 20 to test."""
    stream = np.random.RandomState(seed)
    np.savez(
        path,
        train_images=stream.randint(0, 256, (40, *shape), np.uint8),
        train_labels=np.arange(40) % 10,
        test_images=stream.randint(0, 256, (20, *shape), np.uint8),
        test_labels=np.arange(20) % 10,
    )
    return path


@pytest.mark.parametrize(
    ("name", "shape"), [("cifar10", (32, 32, 3)), ("fashion-mnist", (28, 28)), ("svhn", (32, 32, 3))]
)
def test_other_data_lose_a_known_name_and_all_that_is_published(
    name: str, shape: tuple[int, ...], tmp_path: Path, home: Path
) -> None:
    path = fake(tmp_path / f"{name}.npz", shape)
    data, again = load_images(str(path)), load_images(name, data_dir=tmp_path)
    assert data.hash == again.hash and data.spec == again.spec
    assert data.spec.name == f"{name}-{data.hash[:8]}" and not data.spec.named
    assert data.spec.mean != KNOWN[name].mean and data.spec.classes == tuple("0123456789")
    (note,) = [note for note in data.spec.notes if f"{path} is not {name} (" in note]
    assert note.endswith(f"called {data.spec.name}, without published settings and numbers")
    assert build("dc", name, 1)[1] is not None and build("dc", data.spec.name, 1)[1] is None
    assert paper(data, "dc", 1, "convnet") is None
    with pytest.raises(NoFixed):
        fixed(data.spec.name, data.train.hash)
    small = load_images(name, data_dir=tmp_path, size=16)
    assert small.spec.name == f"{data.spec.name}@16"


def test_two_files_of_one_name_get_two_names(tmp_path: Path) -> None:
    names = set()
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        path = fake(tmp_path / str(seed) / "mnist.npz", (28, 28), seed)
        names.add(load_images(str(path)).spec.name)
    assert len(names) == 2 and "mnist" not in names


def test_data_without_a_known_hash_keep_their_name_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "COUNTS", dict(COUNTS) | {"cifar100": (200, 100)})
    classes = np.arange(200) % 100
    stream = np.random.RandomState(0)
    np.savez(
        tmp_path / "cifar100.npz",
        train_images=stream.randint(0, 256, (200, 32, 32, 3), np.uint8),
        train_labels=classes,
        test_images=stream.randint(0, 256, (100, 32, 32, 3), np.uint8),
        test_labels=classes[:100],
    )
    data = load_images("cifar100", data_dir=tmp_path)
    assert data.spec.name == "cifar100" and data.spec.named and data.spec.mean == KNOWN["cifar100"].mean
    (note,) = data.spec.notes
    assert note.endswith("taken for cifar100 by its name: there is no known hash to compare its data with")


def test_the_known_hashes_are_those_of_the_committed_records() -> None:
    used = [record.dataset for record in board_records()]
    found = {(data.name, data.train_hash, data.test_hash) for data in used if data.name in HASHES}
    assert found == {(name, *hashes) for name, hashes in HASHES.items()}
    for name, pinned in PINNED.items():
        assert name not in HASHES or HASHES[name][0] == pinned.train_hash
    assert not HASHES.keys() & COUNTS.keys()


def test_a_folder_with_a_known_name_is_still_refused(tmp_path: Path) -> None:
    (tmp_path / "cifar10" / "a").mkdir(parents=True)
    Image.new("RGB", (6, 6)).save(tmp_path / "cifar10" / "a" / "0.png")
    with pytest.raises(Exception, match="cifar10 has the name of a known dataset"):
        load_images(str(tmp_path / "cifar10"))


def test_the_terminal_shows_hashes_where_two_datasets_share_a_name(made: Callable[..., Record]) -> None:
    one, other = made(), made(train_hash="3" * 64)
    place = ("digits", "hard-v1", "convnet", "normalized")
    alone = table_for(frame([one]), *place)
    assert alone.startswith("digits: hard-v1")
    both = table_for(frame([one, other]), *place)
    assert "digits (train 11111111, test 22222222): hard-v1" in both
    assert "digits (train 33333333, test 22222222): hard-v1" in both
    assert "Data: train 33333333" in page(frame([one, other]))
