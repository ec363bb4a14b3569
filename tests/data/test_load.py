"""Data of either kind by name or path."""

import shutil
import zipfile
from pathlib import Path

import pytest

from condense.data import GraphDataset, ImageDataset, holds_graphs, load_dataset, load_graphs, load_images
from condense.data.graphs.sources import MUTAG
from condense.errors import Refused


def test_a_name_or_a_file_gives_data_of_its_kind(toy_file: Path, tmp_path: Path) -> None:
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
        ("mutagg", {}, "unknown dataset 'mutagg'; nearest: mutag"),
        ("digts", {}, "unknown dataset 'digts'; nearest: digits"),
        ("no/such/folder", {}, "there is no file or folder no/such/folder"),
        ("none.zip", {}, "there is no file or folder none.zip"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        load_dataset(name, **options)  # type: ignore[arg-type]


def test_where_images_are_needed_graphs_are_refused() -> None:
    with pytest.raises(Refused, match="mutag holds graphs, and images are needed here"):
        load_images("mutag")
