"""Loading graph datasets: where they are found, how they are split, and which are refused."""

import gzip
import hashlib
import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from condense.data import GRAPH_NAMES, load_graphs
from condense.data.graphs.sources import KNOWN_GRAPHS, MUTAG
from condense.data.graphs.splits import seeded_split, split_hash, stratified_split
from condense.errors import Refused

MOLBACE = Path(__file__).with_name("ogbg_molbace.zip")


def paths_of(count: int = 30, classes: int = 2, name: str = "X") -> dict[str, str]:
    """Writes TUDataset's files of graphs with one edge each, whose classes alternate."""
    return {
        f"{name}_A.txt": "".join(
            f"{2 * at + 1}, {2 * at + 2}\n{2 * at + 2}, {2 * at + 1}\n" for at in range(count)
        ),
        f"{name}_graph_indicator.txt": "".join(f"{at + 1}\n{at + 1}\n" for at in range(count)),
        f"{name}_graph_labels.txt": "".join(f"{at % classes}\n" for at in range(count)),
    }


def written(folder: Path, texts: dict[str, str]) -> Path:
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


def molbace_with(path: Path, changes: dict[str, bytes | None]) -> Path:
    """Writes the files of molbace with some of them changed or left out (None)."""
    with zipfile.ZipFile(MOLBACE) as held, zipfile.ZipFile(path, "w") as copy:
        for name in held.namelist():
            content = changes.get(Path(name).name, held.read(name))
            if content is not None:
                copy.writestr(name, content)
    return path


@pytest.fixture
def no_geometric(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes torch_geometric seem not to be installed."""
    monkeypatch.setitem(sys.modules, "torch_geometric", None)
    monkeypatch.setitem(sys.modules, "torch_geometric.data", None)


def geometric(monkeypatch: pytest.MonkeyPatch, *, source: Path | None) -> list[str]:
    """Replaces torch_geometric's download by a copy of a file or a failure; returns the URLs."""
    asked: list[str] = []

    def download_url(url: str, folder: str, log: bool = True) -> str:
        asked.append(url)
        if source is None:
            raise OSError("no route to host\nmore")
        path = Path(folder) / url.rpartition("/")[2]
        path.write_bytes(source.read_bytes())
        return str(path)

    package, data = ModuleType("torch_geometric"), ModuleType("torch_geometric.data")
    data.download_url = download_url  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_geometric", package)
    monkeypatch.setitem(sys.modules, "torch_geometric.data", data)
    return asked


def test_the_embedded_file_is_the_original_text() -> None:
    content = MUTAG.read_bytes()
    assert len(content) == 23985 and hashlib.sha256(content).hexdigest().startswith("965e4b06ddf81b1c")


@pytest.mark.parametrize("name", [name for name, known in KNOWN_GRAPHS.items() if known.split])
def test_the_seeded_splits_are_the_recorded_ones(name: str) -> None:
    known = KNOWN_GRAPHS[name]
    split = seeded_split(known.graphs)
    assert split_hash(split)[:16] == known.split
    assert np.array_equal(np.sort(np.concatenate(list(split.values()))), np.arange(known.graphs))


def test_a_seeded_split_takes_test_graphs_first_then_validation_graphs() -> None:
    order = torch.randperm(23, generator=torch.Generator().manual_seed(0)).tolist()
    split = {part: index.tolist() for part, index in seeded_split(23).items()}
    assert split == {"test": sorted(order[:3]), "valid": sorted(order[3:6]), "train": sorted(order[6:])}
    mutag = seeded_split(188)
    assert mutag["test"].tolist() == [
        11, 24, 28, 42, 43, 45, 61, 63, 67, 79, 80, 88, 95, 102, 128, 137, 140, 153, 161,
    ]  # fmt: skip
    assert mutag["valid"].tolist() == [
        13, 23, 26, 33, 37, 41, 65, 70, 82, 83, 89, 98, 113, 132, 143, 151, 156, 158, 179,
    ]  # fmt: skip


def test_a_split_that_differs_from_the_recorded_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda count, generator: draw(count, generator=generator).flip(0))
    with pytest.raises(Refused, match="draws another split of mutag than the recorded one"):
        load_graphs("mutag")


@pytest.mark.usefixtures("no_geometric")
def test_a_named_dataset_is_found_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    plain = load_graphs(str(MOLBACE))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "ogbg_molbace.zip").write_bytes(MOLBACE.read_bytes())
    with zipfile.ZipFile(MOLBACE) as file:
        file.extractall(tmp_path / "b")
    for folder in ("a", "b"):
        monkeypatch.setenv("CONDENSE_DATA", str(tmp_path / folder))
        held = load_graphs("molbace")
        assert held.spec == plain.spec and held.hash == plain.hash
    assert load_graphs("molbace", data_dir=tmp_path / "a").hash == plain.hash
    assert load_graphs(str(tmp_path / "b" / "ogbg_molbace")).hash == plain.hash
    with pytest.raises(
        Refused, match=r"no NCI1.zip in .* needs torch_geometric: pip install -e '.\[graph\]'"
    ):
        load_graphs("nci1", data_dir=tmp_path / "a")
    assert not home.exists()


def test_a_download_is_kept_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    asked = geometric(monkeypatch, source=MOLBACE)
    plain = load_graphs(str(MOLBACE))
    for _ in range(2):
        assert load_graphs("molbace", data_dir=tmp_path / "none").hash == plain.hash
    assert asked == ["https://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download/bace.zip"]
    assert [path.name for path in (home / "downloads").iterdir()] == ["ogbg_molbace.zip"]


def test_a_failed_download_tells_where_to_place_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    geometric(monkeypatch, source=None)
    with pytest.raises(Refused, match=r"cannot download nci1 \(no route to host\); place it .*NCI1.zip"):
        load_graphs("nci1", data_dir=tmp_path)
    assert not home.exists()


def test_the_specification_of_own_graphs_follows_from_their_files(tmp_path: Path) -> None:
    data = load_graphs(str(written(tmp_path / "pairs", paths_of(classes=3))))
    assert (data.spec.name, data.spec.classes, data.spec.split) == ("pairs", ("0", "1", "2"), "seeded-v2")
    assert (data.spec.features, data.spec.node_labels, data.spec.edge_values) == ((2,), 1, ((),))
    assert [len(part) for part in (data.train, data.valid, data.test)] == [24, 3, 3]
    split = stratified_split(np.arange(30) % 3)
    for part in ("train", "valid", "test"):
        assert torch.equal(getattr(data, part).labels, torch.from_numpy(split[part] % 3))


def test_the_hash_of_a_dataset_depends_on_its_split(tmp_path: Path) -> None:
    def list_of(index: Sequence[int]) -> bytes:
        return "".join(f"{one}\n" for one in index).encode()

    hashes = set()
    for number, (valid, test) in enumerate((("valid", "test"), ("test", "valid"))):
        rest = [position for position in range(1513) if position % 10 > 1]
        split = {"train": rest, valid: range(0, 1513, 10), test: range(1, 1513, 10)}
        changes: dict[str, bytes | None] = {
            f"{part}.csv.gz": gzip.compress(list_of(index)) for part, index in split.items()
        }
        hashes.add(load_graphs(str(molbace_with(tmp_path / f"own{number}.zip", changes))).hash)
    assert len(hashes) == 2


def test_unknown_names_and_missing_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match="dataset='mutog': unknown graph dataset; nearest: mutag"):
        load_graphs("mutog")
    with pytest.raises(Refused, match="there is no file or folder none.zip"):
        load_graphs("none.zip")
    (tmp_path / "table.csv").write_text("a,b")
    with pytest.raises(Refused, match="table.csv is not an intact zip file"):
        load_graphs("table.csv")
    assert GRAPH_NAMES[0] == "mutag" and set(GRAPH_NAMES) == {name.lower() for name in GRAPH_NAMES}


def test_other_data_under_a_known_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="mutag has the name of a known dataset, whose files are called MUTAG"):
        load_graphs(str(written(tmp_path / "mutag", paths_of())))
    with pytest.raises(Refused, match="holds 30 graphs of 60 nodes in all, but nci1 has 4110 of 122747"):
        load_graphs(str(written(tmp_path / "NCI1", paths_of(name="NCI1"))))


def test_a_named_dataset_must_have_its_graphs(tmp_path: Path) -> None:
    with zipfile.ZipFile(MUTAG) as held, zipfile.ZipFile(tmp_path / "MUTAG.zip", "w") as copy:
        for name in held.namelist():
            text = held.read(name)
            # the first atom of all, which is carbon (0), becomes nitrogen (1)
            copy.writestr(name, b"1" + text[1:] if name.endswith("node_labels.txt") else text)
    sentence = "MUTAG.zip holds other graphs than mutag .data hash [0-9a-f]{8}, not 5b695018.: rename it"
    with pytest.raises(Refused, match=sentence):
        load_graphs(str(tmp_path / "MUTAG.zip"))


def test_a_named_dataset_must_have_its_labels_and_its_split(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "split").mkdir()
    labels = gzip.compress(b"0\n1\n2\n" * 504 + b"0\n")
    bad = molbace_with(tmp_path / "labels" / "ogbg_molbace.zip", {"graph-label.csv.gz": labels})
    with pytest.raises(Refused, match="has the labels 0, 1, 2, but molbace's are 0, 1"):
        load_graphs(str(bad))
    absent: dict[str, bytes | None] = dict.fromkeys(("train.csv.gz", "valid.csv.gz", "test.csv.gz"))
    bad = molbace_with(tmp_path / "split" / "ogbg_molbace.zip", absent)
    with pytest.raises(Refused, match="holds no file train.csv.gz: molbace has an official split"):
        load_graphs(str(bad))


@pytest.mark.parametrize(
    ("count", "classes", "sentence"),
    [
        (30, 1, "has only one class, 0"),
        (2, 2, "has 2 graphs, which leaves none for the split 'train'"),
        (30, 30, "has 30 graphs, which leaves none for the split 'train'"),
        (
            40,
            14,
            r"the train split of .* has no graph of 2 of 14 classes: 12, 13 \(class 12 has 2 graphs in all\)",
        ),
    ],
)
def test_classes_that_cannot_be_learned_are_refused(
    count: int, classes: int, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=sentence):
        load_graphs(str(written(tmp_path / "own", paths_of(count, classes))))


COUNTS = {
    "nci1": (132753, 37, (2053, 2057)),
    "proteins": (81044, 3, (663, 450)),
    "dd": (843046, 82, (691, 487)),
    "imdb-binary": (96531, None, (500, 500)),
    "molbbbp": (52921, 95, (479, 1560)),
    "molhiv": (1129688, 382, (39684, 1443)),
}
"""Numbers of undirected edges, node labels (IMDB-BINARY's is not published) and graphs of each class."""


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_larger_datasets_have_their_published_counts(name: str) -> None:
    folder = Path(os.environ.get("CONDENSE_DATA", "."))
    if not (folder / f"{KNOWN_GRAPHS[name].folder}.zip").exists():
        pytest.skip(f"$CONDENSE_DATA holds no {KNOWN_GRAPHS[name].folder}.zip")
    data, (edges, node_labels, counts) = load_graphs(name, data_dir=folder), COUNTS[name]
    parts = (data.train, data.valid, data.test)
    assert sum(part.edges.shape[1] for part in parts) == 2 * edges
    assert node_labels in (None, data.spec.node_labels)
    assert tuple(map(sum, zip(*(part.counts() for part in parts), strict=True))) == counts
