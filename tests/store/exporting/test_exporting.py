"""Exports: what is lossless comes back bit by bit, and what is not says what was lost."""

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.datasets import ImageFolder

from condense.data import ImageDataset
from condense.distillation import distill
from condense.distillation.registry import build
from condense.errors import Refused
from condense.store import GraphSet, ImageSet
from condense.store.exporting import export_set
from condense.store.foreign import Origin, import_set
from tests.store.graph_sets import fields as graphs

IPC = 2


@pytest.fixture(scope="module")
def plain(digits: ImageDataset, tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Real images as bytes."""
    method, _ = build("random_subset", "digits", IPC)
    made: ImageSet
    made, _ = distill(method, digits, ipc=IPC, cache=tmp_path_factory.mktemp("cache"))
    return made


@pytest.fixture(scope="module")
def learned(plain: ImageSet, digits: ImageDataset) -> ImageSet:
    """The same normalised and moved, so that some pixels lie outside of black and white, with soft labels."""
    made = plain.in_space(digits.space("normalized"))
    moved = made.images + 0.05 * torch.randn(made.images.shape, generator=torch.Generator().manual_seed(1))
    soft = torch.nn.functional.one_hot(made.labels, 10).float() * 0.9 + 0.01
    content: Any = {**made.content, "label": {"kind": "soft", "temperature": 1.0, "teacher": None}}
    return replace(made, images=moved, soft=soft, content=content)


@pytest.mark.parametrize("form", ["npz", "pt"])
def test_arrays_come_back_bit_by_bit(
    form: str, learned: ImageSet, digits: ImageDataset, tmp_path: Path, home: Path
) -> None:
    told = export_set(learned, form, tmp_path / f"set.{form}")
    assert told.lossless and told.notes == ()
    held: Any = np.load(told.path) if form == "npz" else torch.load(told.path, weights_only=True)
    about = json.loads(str(held["about"])) if form == "npz" else held
    assert about["hash"] == learned.hash and about["classes"] == list(digits.spec.classes)
    back = import_set(told.path, Origin("tensors"), digits)
    assert torch.equal(back.images, learned.images) and torch.equal(back.labels, learned.labels)
    assert learned.soft is not None
    if form == "pt":
        assert torch.equal(held["soft"], learned.soft)


def test_whitened_sets_come_back_bit_by_bit(
    learned: ImageSet, digits: ImageDataset, tmp_path: Path, home: Path
) -> None:
    white = replace(learned, soft=None, content={**learned.content, "label": {
        "kind": "hard", "temperature": 1.0, "teacher": None}}).in_space(digits.space("zca"))  # fmt: skip
    told = export_set(white, "npz", tmp_path / "set.npz")
    back = import_set(told.path, Origin("tensors"), digits, space="zca")
    assert torch.equal(back.images, white.images) and back.content["pixels"]["space"] == "zca"


def test_pictures_of_bytes_are_lossless_and_those_of_others_say_what_is_lost(
    plain: ImageSet, learned: ImageSet, digits: ImageDataset, tmp_path: Path, home: Path
) -> None:
    for form, kind in (("imagefolder", "folder"), ("grid", "grid")):
        told = export_set(plain, form, tmp_path / f"{form}.png")
        assert told.lossless, told.notes
        assert torch.equal(import_set(told.path, Origin(kind), digits).images, plain.images)
        lost = export_set(learned, form, tmp_path / f"{form}-learned.png")
        pixels = learned.pixels()
        share = float(((pixels < -0.5 / 255) | (pixels > 1 + 0.5 / 255)).float().mean())
        assert share > 0.1 and not lost.lossless
        assert f"{100 * share:.1f} % of the pixels lie outside" in lost.notes[0]
        assert "the soft labels are left out" in lost.notes[1]
        back = import_set(lost.path, Origin(kind), digits)
        assert torch.equal(back.images, (pixels * 255).round().clamp(0, 255).to(torch.uint8))


def test_torchvision_reads_the_folder(plain: ImageSet, tmp_path: Path) -> None:
    told = export_set(plain, "imagefolder", tmp_path / "folder")
    read = ImageFolder(str(told.path))
    assert [label for _, label in read.samples] == plain.labels.tolist()
    assert read.classes == plain.content["dataset"]["classes"]
    assert np.array_equal(np.array(read[0][0])[..., 0], plain.images[0, 0].numpy())


def test_decoded_images_are_exported_as_students_see_them(
    digits: ImageDataset, tmp_path: Path, home: Path
) -> None:
    settings = {"iterations": 1, "matches": 1, "network": "convnet-w32"}
    method, _ = build("idc", "digits", 1, settings)
    made: ImageSet
    made, _ = distill(method, digits, ipc=1, cache=tmp_path / "cache")
    told = export_set(made, "npz", tmp_path / "set.npz")
    held = np.load(told.path)
    seen = made.images_at(torch.arange(len(made)))
    assert len(made) == 40 and np.array_equal(held["images"], seen.numpy())
    assert held["labels"].tolist() == made.labels.repeat(4).tolist()


def test_an_archive_holds_an_array_and_a_class_for_each_image(learned: ImageSet, tmp_path: Path) -> None:
    told = export_set(learned, "webdataset", tmp_path / "set.tar")
    with tarfile.open(told.path) as archive:
        files = {one.name: archive.extractfile(one) for one in archive.getmembers()}
        read = {name: file.read() for name, file in files.items() if file is not None}
    for number in range(len(learned)):
        image = np.load(io.BytesIO(read[f"{number:05d}.npy"]))
        assert np.array_equal(image, learned.images[number].numpy())
        assert int(read[f"{number:05d}.cls"]) == int(learned.labels[number])
        assert learned.soft is not None
        soft = json.loads(read[f"{number:05d}.soft.json"])
        assert soft == [float(value) for value in learned.soft[number]]


def test_the_library_datasets_reads_its_form(learned: ImageSet, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    told = export_set(learned, "hf", tmp_path / "hf")
    read = datasets.load_from_disk(str(told.path)).with_format("numpy")
    assert np.array_equal(np.stack(read["image"]), learned.images.numpy())
    assert list(read["label"]) == learned.labels.tolist()
    assert read.features["label"].names == learned.content["dataset"]["classes"]


@pytest.mark.parametrize("trees", [False, True])
def test_graphs_are_written_as_plain_tensors(trees: bool, tmp_path: Path) -> None:
    made = GraphSet(**graphs(trees=trees, weights="float"))  # type: ignore[arg-type]
    told = export_set(made, "pt", tmp_path / "graphs.pt")
    held = torch.load(told.path, weights_only=True)
    batch = made.batch()
    assert torch.equal(held["x"], batch.nodes) and torch.equal(held["edge_index"], batch.edges)
    assert torch.equal(held["weight"], made.weighting) and torch.equal(held["y"], made.labels)
    assert torch.equal(held["degrees"], batch.degrees) and held["hash"] == made.hash


def test_graphs_are_written_as_tudatasets_text(tmp_path: Path) -> None:
    made = GraphSet(**graphs(features=(5,), weights="whole"))  # type: ignore[arg-type]
    told = export_set(made, "tudataset", tmp_path / "graphs")
    read = {
        path.stem.removeprefix("DISTILLED_"): np.loadtxt(path, delimiter=",", ndmin=2)
        for path in told.path.glob("*.txt")
    }
    assert np.array_equal(read["A"].T - 1, made.edges.numpy())
    assert np.array_equal(read["node_labels"], made.nodes.numpy())
    assert np.array_equal(read["graph_labels"][:, 0], made.labels.numpy())
    owners = np.repeat(np.arange(len(made)), made.nodes_ptr.diff().numpy())
    assert np.array_equal(read["graph_indicator"][:, 0] - 1, owners)
    assert made.edge_labels is not None
    assert np.array_equal(read["edge_labels"][:, 0], made.edge_labels.numpy())
    np.testing.assert_allclose(read["graph_weights"][:, 0], made.weighting.numpy(), rtol=1e-6)
    assert any("weights are in" in note for note in told.notes)
    learned = GraphSet(**graphs(dense=True))  # type: ignore[arg-type]
    with pytest.raises(Refused, match="learned features"):
        export_set(learned, "tudataset", tmp_path / "dense")


def test_what_cannot_be_exported_is_refused(plain: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="unknown form"):
        export_set(plain, "nonsense", tmp_path / "x")
    (tmp_path / "there").mkdir()
    with pytest.raises(Refused, match="there is something already"):
        export_set(plain, "npz", tmp_path / "there")
