"""Loading image datasets by name and from arrays: their content, and what is refused."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from condense.data import IMAGE_NAMES, load_images
from condense.data.images import pixels, sources
from condense.data.images.known import HASHES, KNOWN, SUBSETS, TINY_IMAGENET
from condense.errors import Refused
from condense.files import hash_tensors

Arrays = dict[str, np.ndarray]


def made(shape: tuple[int, ...], classes: int = 10, train: int = 40, test: int = 20) -> Arrays:
    """Returns random images of every class in the layout of an .npz file."""
    stream = np.random.RandomState(0)
    return {
        "train_images": stream.randint(0, 256, (train, *shape), np.uint8),
        "train_labels": np.arange(train) % classes,
        "test_images": stream.randint(0, 256, (test, *shape), np.uint8),
        "test_labels": np.arange(test) % classes,
    }


def written(path: Path, arrays: Arrays) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def hashes_of(arrays: Arrays) -> tuple[str, str]:
    """The hashes of both splits, from the arrays of an .npz file."""

    def one(part: str) -> str:
        images = torch.from_numpy(arrays[f"{part}_images"])
        images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
        labels = torch.from_numpy(arrays[f"{part}_labels"])
        return hash_tensors({"images": images.contiguous(), "labels": labels.long()})

    return one("train"), one("test")


def known_by_hash(name: str, arrays: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes arrays the data of a name."""
    monkeypatch.setattr(sources, "HASHES", dict(HASHES) | {name: hashes_of(arrays)})


def test_the_digits_do_not_change() -> None:
    digits = load_images("digits")
    assert (len(digits.train), len(digits.test)) == (1347, 450)
    assert digits.train.hash == "b6536b565eeeafba1d93fa1262b308b74224c9a28cc09457cce76f9221c6b2c9"
    assert digits.test.hash == "11b6729bfad196dc4f27a9614423daced5aa3a3b52d30eed61af6675869610d5"
    assert digits.spec.shape == (1, 8, 8) and digits.spec.classes == tuple("0123456789")
    assert (digits.spec.mean, digits.spec.std) == ((0.3054,), (0.3757,)) and not digits.spec.flips
    assert int(digits.train.images.max()) == 255 and min(digits.train.counts()) > 100


@pytest.mark.parametrize(
    ("name", "shape"),
    [("mnist", (28, 28)), ("fashion-mnist", (28, 28, 1)), ("svhn", (32, 32, 3)), ("cifar10", (32, 32, 3))],
)
def test_a_file_and_torchvision_give_the_same_specification_and_hash(
    name: str, shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = made(shape)
    known_by_hash(name, arrays, monkeypatch)

    class Fake:
        """A replacement for a torchvision dataset, with arrays in torchvision's layouts."""

        def __init__(self, root: str, download: bool, train: bool = True, split: str = "") -> None:
            assert download and root.startswith(str(tmp_path))
            part = split or ("train" if train else "test")
            images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
            if name == "svhn":
                self.data, self.labels = images.transpose(0, 3, 1, 2), labels
            else:
                self.data, self.targets = images, labels.tolist()

    kind = KNOWN[name].torchvision
    assert kind is not None
    monkeypatch.setattr(torchvision.datasets, kind, Fake)
    monkeypatch.setenv("CONDENSE_HOME", str(tmp_path / "home"))
    downloaded = load_images(name, data_dir=tmp_path)
    written(tmp_path / f"{name}.npz", arrays)
    monkeypatch.delattr(torchvision.datasets, kind)
    for read in (load_images(name, data_dir=tmp_path), load_images(str(tmp_path / f"{name}.npz"))):
        assert replace(read.spec, notes=()) == downloaded.spec and read.hash == downloaded.hash
        assert torch.equal(read.train.images, downloaded.train.images)
    assert downloaded.spec.mean == KNOWN[name].mean
    first = arrays["train_images"][0].reshape(*KNOWN[name].shape[1:], -1)
    assert torch.equal(downloaded.train.images[0], torch.from_numpy(first).permute(2, 0, 1))


def test_a_failed_download_tells_where_to_place_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(**_: object) -> None:
        raise RuntimeError("no route to host\nmore")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", unreachable)
    monkeypatch.setenv("CONDENSE_HOME", str(tmp_path / "home"))
    with pytest.raises(
        Refused, match=r"cannot download cifar10 \(no route to host\).*cifar10.npz.*train_images"
    ):
        load_images("cifar10", data_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_data_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "mnist.npz", made((28, 28)))
    known_by_hash("mnist", made((28, 28)), monkeypatch)
    monkeypatch.setenv("CONDENSE_DATA", str(tmp_path))
    assert load_images("mnist").spec.name == "mnist"


def test_the_specification_of_an_own_file_follows_from_its_arrays(tmp_path: Path) -> None:
    arrays = made((6, 8, 3), classes=4)
    arrays["train_labels"] = arrays["train_labels"][:, None].astype(np.uint8)  # as MedMNIST has them
    arrays["test_labels"] = arrays["test_labels"][:, None].astype(np.uint8)
    data = load_images(str(written(tmp_path / "bloods.npz", arrays)))
    assert (data.spec.name, data.spec.shape, data.spec.classes) == ("bloods", (3, 6, 8), ("0", "1", "2", "3"))
    assert data.spec.flips and data.train.counts() == (10, 10, 10, 10)
    pixels = arrays["train_images"].astype(np.float64) / 255
    np.testing.assert_allclose(data.spec.mean, pixels.mean((0, 1, 2)), atol=6e-5)
    np.testing.assert_allclose(data.spec.std, pixels.std((0, 1, 2)), atol=6e-5)
    assert not load_images(str(written(tmp_path / "grey.npz", made((6, 8), classes=4)))).spec.flips


def test_constant_images_get_a_standard_deviation_above_zero() -> None:
    assert pixels.statistics(torch.full((2, 1, 4, 4), 51, dtype=torch.uint8)) == ((0.2,), (1.0,))


def test_a_new_size_changes_the_specification_and_the_own_size_does_not() -> None:
    plain, large = load_images("digits"), load_images("digits", size=16)
    assert (large.spec.name, large.spec.shape) == ("digits@16", (1, 16, 16))
    assert large.hash != plain.hash and large.spec.std != plain.spec.std
    assert torch.equal(large.train.labels, plain.train.labels)
    again = load_images("digits@16")
    assert again.spec == large.spec and again.hash == large.hash
    same = load_images("digits", size=8)
    assert same.spec == plain.spec and same.hash == plain.hash
    with pytest.raises(Refused, match="size=32: digits@16 already contains another size"):
        load_images("digits@16", size=32)


@pytest.mark.parametrize("size", [3, 0, -8])
def test_a_size_below_four_pixels_is_refused(size: int) -> None:
    with pytest.raises(Refused, match=f"the size {size} is too small"):
        load_images("digits", size=size)


def test_an_unknown_name_is_refused_with_the_nearest_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match="dataset='minst': unknown dataset; nearest: mnist"):
        load_images("minst")
    assert "digits" in IMAGE_NAMES and "imagewoof" in IMAGE_NAMES


def test_paths_without_a_dataset_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="there is no file .*none.npz"):
        load_images(str(tmp_path / "none.npz"))
    with pytest.raises(Refused, match="there is no file or folder"):
        load_images(str(tmp_path / "none"))
    (tmp_path / "table.csv").write_text("a,b")
    with pytest.raises(Refused, match="neither an .npz file nor a folder"):
        load_images(str(tmp_path / "table.csv"))


def test_other_data_under_a_known_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="digits.npz has the name of a known dataset"):
        load_images(str(written(tmp_path / "digits.npz", made((8, 8)))))
    with pytest.raises(Refused, match="holds images of 8 x 8 x 1, but mnist's are 28 x 28 x 1"):
        load_images(str(written(tmp_path / "mnist.npz", made((8, 8)))))


def test_damaged_npz_files_are_refused(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.npz", made((8, 8))).read_bytes()
    one = tmp_path / "one.npy"
    np.save(one, np.zeros(3))
    bodies = (b"", b"not a zip", whole[: len(whole) // 2], whole[:200] + b"\xff" * 99 + whole[299:])
    for number, body in enumerate((*bodies, one.read_bytes())):
        path = tmp_path / f"broken{number}.npz"
        path.write_bytes(body)
        with pytest.raises(Refused, match=re.escape(str(path))):
            load_images(str(path))


BAD: dict[str, tuple[dict[str, np.ndarray | None], str]] = {
    "no key": ({"test_labels": None}, "holds no 'test_labels', only test_images, train_images, train_labels"),
    "float images": ({"train_images": np.zeros((40, 8, 8))}, "float64; images must be uint8"),
    "four channels": ({"test_images": np.zeros((20, 8, 8, 4), np.uint8)}, r"shape \(20, 8, 8, 4\)"),
    "no images": ({"test_images": np.zeros((0, 8, 8), np.uint8)}, r"shape \(0, 8, 8\)"),
    "float labels": ({"train_labels": np.zeros(40)}, "float64; labels must be integers"),
    "one-hot labels": ({"train_labels": np.zeros((40, 10), int)}, r"shape \(40, 10\); labels must be"),
    "negative labels": ({"train_labels": np.arange(40) % 10 - 1}, "go down to -1"),
    "label count": ({"test_labels": np.arange(19) % 10}, "20 test images, but 19 test labels"),
    "test label": ({"test_labels": np.arange(20)}, "test label 19, but its classes are 0 to 9"),
    "empty class": ({"train_labels": np.arange(40) % 9 * 2}, "no training image of the class '1' .8 such"),
    "huge label": ({"train_labels": np.arange(40) * 10**12}, "labels up to 39000000000000, but only 40"),
    "one class": ({"train_labels": np.zeros(40, int), "test_labels": np.zeros(20, int)}, "only one class"),
    "two shapes": (
        {"test_images": np.zeros((20, 9, 9), np.uint8)},
        r"\(1, 8, 8\) and test images of \(1, 9, 9\)",
    ),
    "pickle": ({"train_images": np.array([{}] * 40)}, "is no array of numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_contradictory_arrays_are_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    changes, sentence = BAD[case]
    arrays = {key: value for key, value in (made((8, 8)) | changes).items() if value is not None}
    with pytest.raises(Refused, match=sentence) as refused:
        load_images(str(written(tmp_path / "own.npz", arrays)))
    assert "\n" not in str(refused.value)


def test_the_known_datasets_are_consistent() -> None:
    counts = {name: len(known.classes) for name, known in KNOWN.items()}
    assert counts == dict.fromkeys(KNOWN, 10) | {"cifar100": 100, "tiny-imagenet": 200}
    for known in KNOWN.values():
        assert len(set(known.classes)) == len(known.classes)
        assert known.mean is None or len(known.mean) == len(known.std or ()) == known.shape[0]
    assert {name for name, known in KNOWN.items() if "flip" not in known.dsa} == {"digits", "mnist", "svhn"}
    assert list(KNOWN["cifar100"].classes) == sorted(KNOWN["cifar100"].classes)
    assert list(TINY_IMAGENET) == sorted(TINY_IMAGENET)


def test_the_wordnet_ids_belong_to_the_class_names() -> None:
    ids = {
        "imagenette": {0: "n01440764", 1: "n02102040", 9: "n03888257"},  # tench, English springer, parachute
        "imagewoof": {2: "n02111889", 3: "n02088364", 8: "n02099601"},  # Samoyed, beagle, golden retriever
        "imagefruit": {0: "n07753275", 1: "n07753592", 9: "n07742313"},  # pineapple, banana, Granny Smith
        "imageyellow": {0: "n02206856", 5: "n04146614", 7: "n02129165"},  # bee, school bus, lion
        "imagemeow": {0: "n02123045", 6: "n02129604", 9: "n02127052"},  # tabby, tiger, lynx
        "imagesquawk": {0: "n01806143", 1: "n02007558", 7: "n01518878"},  # peacock, flamingo, ostrich
    }
    assert {name: {at: SUBSETS[name][at] for at in known} for name, known in ids.items()} == ids
    assert SUBSETS["imageyellow"][2] == SUBSETS["imagefruit"][1] and SUBSETS["imagemeow"][5] == "n02129165"
    assert set(SUBSETS) == set(ids)
