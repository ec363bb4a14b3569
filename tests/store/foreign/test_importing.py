"""Sets of other code bases: each layout as its programs write it, and what is refused in one sentence."""

import operator
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from condense.data import ImageDataset
from condense.errors import Refused
from condense.evaluation import described
from condense.store import ImageSet, load, verify
from condense.store.foreign import IMPORTED, READERS, Asked, Origin, import_set
from condense.store.foreign.layouts import FLAX_ARRAY

IPC = 3


@pytest.fixture(scope="module")
def chosen(digits: ImageDataset) -> tuple[Tensor, Tensor]:
    """Bytes of the first images of each digit, and their classes."""
    places = torch.cat([digits.train.of_class(label)[:IPC] for label in range(10)])
    return digits.train.images[places], digits.train.labels[places]


@pytest.fixture(scope="module")
def normal(digits: ImageDataset, chosen: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The same, normalised and moved a little, as a method would: they are no bytes any more."""
    images = digits.space("normalized").encode(chosen[0])
    return images + 0.02 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0)), chosen[1]


def taken(path: Path, kind: str, dataset: ImageDataset, asked: Asked | None = None, **more: Any) -> ImageSet:
    return import_set(path, Origin(kind), dataset, asked, **more)


def flax(value: Any) -> Any:
    """What flax writes for nested mappings of arrays."""
    if isinstance(value, dict):
        return {name: flax(one) for name, one in value.items()}
    packed = msgspec.msgpack.encode([list(value.shape), str(value.dtype), value.tobytes()])
    return msgspec.msgpack.Ext(FLAX_ARRAY, packed)


def grid(images: Tensor, columns: int, padding: int = 2) -> np.ndarray:
    """The picture that torchvision's `save_image` makes of grey images in rows."""
    n, _, h, w = images.shape
    rows = n // columns
    picture = np.zeros((rows * (h + padding) + padding, columns * (w + padding) + padding), dtype=np.uint8)
    for number, image in enumerate(images[:, 0].numpy()):
        y, x = divmod(number, columns)
        top, left = padding + y * (h + padding), padding + x * (w + padding)
        picture[top : top + h, left : left + w] = image
    return picture


def write_dc(path: Path, images: Tensor, labels: Tensor) -> Path:
    accuracies = {"ConvNet": [np.float64(0.25), np.float64(0.35)], "MLP": []}
    torch.save({"data": [[images * 0, labels], [images, labels]], "accs_all_exps": accuracies}, path)
    return path


Write = Callable[[Path, Tensor, Tensor], tuple[str, Path, Asked]]


def as_dc(folder: Path, images: Tensor, labels: Tensor) -> tuple[str, Path, Asked]:
    return "dc", write_dc(folder / "res.pt", images, labels), Asked()


def as_mtt(folder: Path, images: Tensor, labels: Tensor) -> tuple[str, Path, Asked]:
    torch.save(images.requires_grad_(False), folder / "images_best.pt")
    torch.save(labels, folder / "labels_best.pt")
    torch.save(torch.tensor(0.015), folder / "lr_best.pt")
    return "mtt", folder, Asked()


def as_pair(folder: Path, images: Tensor, labels: Tensor) -> tuple[str, Path, Asked]:
    np.save(folder / "x.npy", images.permute(0, 2, 3, 1).numpy())
    torch.save(labels.float(), folder / "y.pt")
    return "tensors", folder / "x.npy", Asked(labels=str(folder / "y.pt"))


def as_npz(folder: Path, images: Tensor, labels: Tensor) -> tuple[str, Path, Asked]:
    np.savez(folder / "set.npz", images=images.numpy(), labels=labels.numpy()[:, None])
    return "tensors", folder / "set.npz", Asked()


def as_rows(folder: Path, images: Tensor, labels: Tensor) -> tuple[str, Path, Asked]:
    torch.save(images, folder / "x.pt")
    return "tensors", folder / "x.pt", Asked(labels="rows")


@pytest.mark.parametrize("write", [as_dc, as_mtt, as_pair, as_npz, as_rows])
def test_a_file_of_each_layout_is_stored_bit_by_bit(
    write: Write, normal: tuple[Tensor, Tensor], digits: ImageDataset, tmp_path: Path, home: Path
) -> None:
    kind, path, asked = write(tmp_path, *normal)
    made = taken(path, kind, digits, asked, ipc=IPC)
    assert torch.equal(made.images, normal[0]) and torch.equal(made.labels, normal[1])
    assert made.content["method"]["name"] == f"{IMPORTED}{kind}-file" and made.content["ipc"] == IPC
    assert made.learned_lr == (pytest.approx(0.015) if kind == "mtt" else None)
    made.save(tmp_path / "stored")
    again = load(tmp_path / "stored")
    assert isinstance(again, ImageSet) and torch.equal(again.images, normal[0])
    assert verify(tmp_path / "stored") == made.hash
    assert taken(path, kind, digits, asked).content["key"] == made.content["key"], "no path is in the key"


def test_an_imported_set_is_judged_and_compared_with_its_methods_paper(
    normal: tuple[Tensor, Tensor], digits: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for = []
    monkeypatch.setattr(described, "lookup", lambda *place: asked_for.append(place))
    made = import_set(write_dc(tmp_path / "res.pt", *normal), Origin("dc", "dsa"), digits)
    seen = made.in_space(digits.space("normalized"))
    torch.testing.assert_close(seen.images, normal[0], atol=1e-5, rtol=0)
    assert described.paper(digits, made.content["method"]["name"], IPC, "convnet") is None
    assert asked_for == [("digits", "dsa", IPC, "convnet")]


def test_of_several_experiments_the_last_one_or_the_named_one_is_taken(
    normal: tuple[Tensor, Tensor], digits: ImageDataset, tmp_path: Path, home: Path
) -> None:
    path = write_dc(tmp_path / "res.pt", *normal)
    made = taken(path, "dc", digits)
    assert "experiment 1 of 2 was taken" in made.import_notes
    assert any("ConvNet 30.0 %" in note for note in made.import_notes)
    with pytest.raises(Refused, match="experiments 0 to 1"):
        taken(path, "dc", digits, Asked(experiment=2))
    with pytest.raises(Refused, match="fit"):  # black images fit no space, or no labels
        taken(path, "dc", digits, Asked(experiment=0), space="normalized")


@pytest.mark.parametrize("space", ["raw", "normalized", "zca", "zca-relative"])
def test_the_pixel_space_is_measured(
    space: str, normal: tuple[Tensor, Tensor], digits: ImageDataset, tmp_path: Path, home: Path
) -> None:
    pixels = digits.space("normalized").decode(normal[0])
    images = pixels if space == "raw" else digits.space(space).encode(pixels)
    path = write_dc(tmp_path / "res.pt", images, normal[1])
    made = taken(path, "dc", digits, space=space)
    back = made.with_space(digits.space(space)) if space.startswith("zca") else made
    torch.testing.assert_close(back.pixels(), pixels, atol=1e-4, rtol=0)
    wrong = {"raw": "normalized", "normalized": "raw", "zca": "raw", "zca-relative": "raw"}[space]
    with pytest.raises(Refused, match=f"not in the pixel space {wrong}"):
        taken(path, "dc", digits, space=wrong)
    if space in ("raw", "normalized"):
        assert made.content["pixels"] == taken(path, "dc", digits).content["pixels"]


def test_normalised_bytes_are_recognised_exactly(
    chosen: tuple[Tensor, Tensor], digits: ImageDataset, tmp_path: Path, home: Path
) -> None:
    path = write_dc(tmp_path / "res.pt", digits.space("normalized").encode(chosen[0]), chosen[1])
    assert any("normalized 0.00" in note for note in taken(path, "dc", digits).import_notes)


def test_labels_in_another_order_are_refused_unless_they_are_trusted(
    normal: tuple[Tensor, Tensor], digits: ImageDataset, tmp_path: Path, home: Path
) -> None:
    images, labels = normal
    path = write_dc(tmp_path / "res.pt", images, (labels + 1) % 10)
    with pytest.raises(Refused, match="labels do not fit the images.*label 0 look like '9'"):
        taken(path, "dc", digits)
    made = taken(path, "dc", digits, trusted=True)
    assert torch.equal(made.labels, (labels + 1) % 10)
    assert any("do not tell whether the labels fit" in note for note in made.import_notes)


def test_vectors_logits_and_probabilities_are_told_apart(
    normal: tuple[Tensor, Tensor], digits: ImageDataset, tmp_path: Path, home: Path
) -> None:
    images, ids = normal
    logits = 3.0 * torch.nn.functional.one_hot(ids, 10).float() - 1
    path = write_dc(tmp_path / "res.pt", images, logits)
    with pytest.raises(Refused, match="may be logits, or vectors"):
        taken(path, "dc", digits)
    soft = taken(path, "dc", digits, Asked(labels_are="logits"))
    assert soft.soft is not None and torch.equal(soft.soft, logits.softmax(1))
    vectors = taken(path, "dc", digits, Asked(labels_are="vectors"))
    assert vectors.features is not None and torch.equal(vectors.features, logits)
    assert torch.equal(vectors.labels, ids)
    known = taken(write_dc(tmp_path / "p.pt", images, logits.softmax(1)), "dc", digits)
    assert known.content["label"]["kind"] == "soft"
    with pytest.raises(Refused, match="no probabilities"):
        taken(path, "dc", digits, Asked(labels_are="probabilities"))


def test_kernel_sets_are_read_from_flax_and_npz_without_flax(
    normal: tuple[Tensor, Tensor], digits: ImageDataset, tmp_path: Path, home: Path
) -> None:
    images = digits.space("zca-relative").encode(digits.space("normalized").decode(normal[0]))
    labels = torch.nn.functional.one_hot(normal[1], 10).float() - 0.1
    last = images.permute(0, 2, 3, 1).contiguous().numpy()
    state = {"x_proto": last, "y_proto": labels.numpy(), "log_temp": np.float32(0.5).reshape(())}
    older = {"x_proto": last * 0, "y_proto": labels.numpy()}
    (tmp_path / "rcig").write_bytes(msgspec.msgpack.encode(flax({"params": older, "ema_average": state})))
    (tmp_path / "frepo").write_bytes(msgspec.msgpack.encode(flax({"params": state})))
    np.savez(tmp_path / "rfad.npz", images=images.numpy(), labels=labels.numpy(), k=np.float32(5))
    for name, kind in (("rcig", "rcig"), ("frepo", "frepo"), ("rfad.npz", "rfad")):
        made = taken(tmp_path / name, kind, digits)
        assert made.features is not None and torch.equal(made.features, labels), name
        assert torch.equal(made.images, images) and made.evaluation_space == "zca-relative", name


def test_grids_and_folders_are_bytes(
    chosen: tuple[Tensor, Tensor], digits: ImageDataset, tmp_path: Path, home: Path
) -> None:
    Image.fromarray(grid(chosen[0], IPC)).save(tmp_path / "grid.png")
    for number, (image, label) in enumerate(zip(*chosen, strict=True)):
        folder = tmp_path / "folder" / digits.spec.classes[int(label)]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / f"{number:03d}.png")
    (folder / "notes.txt").write_text("no picture")
    for kind, path in (("grid", tmp_path / "grid.png"), ("folder", tmp_path / "folder")):
        made = taken(path, kind, digits, ipc=IPC)
        assert made.images.dtype == torch.uint8 and torch.equal(made.images, chosen[0]), kind
        assert torch.equal(made.labels, chosen[1]), kind
    assert "left out: 1 files that are no pictures" in made.import_notes
    with pytest.raises(Refused, match="no tiles of 8 x 8 with 3 pixels"):
        taken(tmp_path / "grid.png", "grid", digits, Asked(padding=3))


def test_the_key_tells_apart_what_gives_different_sets(
    chosen: tuple[Tensor, Tensor], digits: ImageDataset, tmp_path: Path, home: Path
) -> None:
    keys = []
    for place, shift in enumerate((0, 1)):
        for number, (image, label) in enumerate(zip(*chosen, strict=True)):
            folder = tmp_path / str(place) / str((int(label) + shift) % 10)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(folder / f"{number:03d}.png")
        keys.append(taken(tmp_path / str(place), "folder", digits, trusted=True).content["key"])
    logits = 3.0 * torch.nn.functional.one_hot(chosen[1], 10).float()
    path = write_dc(tmp_path / "res.pt", digits.space("normalized").encode(chosen[0]), logits)
    for what in ("logits", "vectors"):
        keys.append(taken(path, "dc", digits, Asked(labels_are=what)).content["key"])
    keys.append(import_set(path, Origin("dc", "dsa"), digits, Asked(labels_are="logits")).content["key"])
    assert len(set(keys)) == len(keys)


class Trap:
    """An object that asks for a function to be called when it is read."""

    def __reduce__(self) -> tuple[object, ...]:
        return operator.attrgetter, ("system",)


def test_what_would_be_executed_is_refused_by_its_name(digits: ImageDataset, tmp_path: Path) -> None:
    torch.save({"data": [[Trap(), Trap()]]}, tmp_path / "trap.pt")
    with pytest.raises(Refused, match="nothing else is read: it asks for operator.attrgetter"):
        taken(tmp_path / "trap.pt", "dc", digits)
    (tmp_path / "trap.pkl").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(Refused, match="cannot be read as plain tensors"):
        taken(tmp_path / "trap.pkl", "tensors", digits)


def test_a_file_with_a_changed_byte_is_refused(
    normal: tuple[Tensor, Tensor], digits: ImageDataset, tmp_path: Path
) -> None:
    path = write_dc(tmp_path / "res.pt", *normal)
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda one: one.file_size)
    data = bytearray(path.read_bytes())
    data[largest.header_offset + largest.file_size // 2] ^= 0x40
    path.write_bytes(bytes(data))
    with pytest.raises(Refused, match="damaged|checksum"):
        taken(path, "dc", digits)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda x, y: (x.repeat(1, 3, 1, 1), y), "images of 3 x 8 x 8; those of digits are 1 x 8 x 8"),
        (lambda x, y: (x, y % 3), "no image of class '3'"),
        (lambda x, y: (x, y + 5), "the labels go from 5 to 14; digits has 10 classes"),
        (lambda x, y: (x, y + 0.5), "the labels are no class ids"),
        (lambda x, y: (x, y[:-1]), "30 images have 29 labels"),
        (lambda x, y: (x / 0, y), "numbers of the images are not finite"),
        (lambda x, y: (x, torch.rand(len(y), 3)), "are not those of 10 classes"),
        (lambda x, y: (x[:-1], y[:-1]), "2 to 3 images a class"),
        (lambda x, y: (x.flatten(1), y), "not that of images"),
        (lambda x, y: (x.long(), y), "images are uint8 or floating point"),
        (lambda x, y: ("none", y), "the images are str, not a tensor"),
    ],
)
def test_what_contradicts_the_dataset_is_refused(
    change: Callable[[Tensor, Tensor], tuple[Any, Any]],
    sentence: str,
    normal: tuple[Tensor, Tensor],
    digits: ImageDataset,
    tmp_path: Path,
    home: Path,
) -> None:
    images, labels = change(normal[0].clone(), normal[1].clone())
    torch.save({"data": [[images, labels]]}, tmp_path / "res.pt")
    with pytest.raises(Refused, match=sentence):
        taken(tmp_path / "res.pt", "dc", digits, ipc=IPC)


@pytest.mark.parametrize("kind", ["fkd", "gcond", "sfgc"])
def test_kinds_that_cannot_be_judged_say_why(kind: str, digits: ImageDataset, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="not judged|numbers of its images"):
        taken(tmp_path / "file", kind, digits)


def test_every_other_kind_refuses_rubbish_and_what_is_missing(digits: ImageDataset, tmp_path: Path) -> None:
    (tmp_path / "images_rubbish.pt").write_bytes(b"\x00rubbish" * 50)
    for kind in READERS:
        with pytest.raises(Refused):
            taken(tmp_path / "images_rubbish.pt", kind, digits)
        with pytest.raises(Refused):
            taken(tmp_path / "images_missing", kind, digits)
    with pytest.raises(Refused, match="unknown kind of file|kind of file"):
        taken(tmp_path / "images_rubbish.pt", "nonsense", digits)


def test_unequal_classes_are_kept_and_counted(
    normal: tuple[Tensor, Tensor], digits: ImageDataset, tmp_path: Path, home: Path
) -> None:
    path = write_dc(tmp_path / "res.pt", normal[0][:-1], normal[1][:-1])
    made = taken(path, "dc", digits)
    assert made.content["counts"]["asked"] == [IPC] * 9 + [IPC - 1]
