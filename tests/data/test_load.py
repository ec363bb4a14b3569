"""Loading any dataset by its name or path."""

import shutil
import zipfile
from pathlib import Path

import pytest

from condense.data import GraphDataset, ImageDataset, holds_graphs, load_dataset, load_graphs, load_images
from condense.data.graphs.sources import MUTAG
from condense.errors import Refused


def test_names_and_files_give_datasets_of_their_kind(toy_file: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    with zipfile.ZipFile(MUTAG) as held:
        held.extractall(tmp_path / "own")
    shutil.copy(MUTAG, tmp_path / "mine.zip")
    for source, kind in (
        ("digits", ImageDataset), (str(toy_file), ImageDataset), ("mutag", GraphDataset),
        (str(tmp_path / "mine.zip"), GraphDataset),
    ):  # fmt: skip
        assert isinstance(load_dataset(source), kind)
        assert holds_graphs(source) == (kind is GraphDataset)
    (folder,) = {file.parent for file in (tmp_path / "own").rglob("*_A.txt")}
    found = load_dataset(str(folder))
    assert isinstance(found, GraphDataset) and found.hash == load_graphs("mutag").hash


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("mutag", {"size": 8}, "size=8: mutag holds graphs, which have no pixels to resize"),
        ("mutag", {"skip_unreadable": True}, "skip_unreadable=True: mutag holds graphs, not images"),
        ("mutagg", {}, "dataset='mutagg': unknown dataset; nearest: mutag"),
        ("digts", {}, "dataset='digts': unknown dataset; nearest: digits"),
        ("no/such/folder", {}, "there is no file or folder no/such/folder"),
        ("none.zip", {}, "there is no file or folder none.zip"),
    ],
)
def test_impossible_requests_are_refused(name: str, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        load_dataset(name, **options)  # type: ignore[arg-type]


def test_the_loader_of_images_refuses_graphs() -> None:
    with pytest.raises(Refused, match="mutag holds graphs, but images are needed here"):
        load_images("mutag")


def test_what_macos_leaves_of_graphs_makes_no_folder_of_graphs(tmp_path: Path) -> None:
    (tmp_path / "._MUTAG_A.txt").write_bytes(b"Mac OS X")
    assert not holds_graphs(str(tmp_path))
    (tmp_path / "MUTAG_A.txt").write_text("1, 2")
    assert holds_graphs(str(tmp_path))
