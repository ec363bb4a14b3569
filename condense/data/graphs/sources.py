"""Loads a graph dataset by its name, or from a folder or zip file.

The package contains ``mutag``: 188 compounds, labelled by whether they are mutagenic (Debnath et al. 1991,
Journal of Medicinal Chemistry 34(2), 786-797). ``MUTAG.zip`` (24 kB) holds the text files of TUDataset
(Morris et al. 2020, https://chrsmrrs.github.io/TUDataset, who ask to be cited), copied from
sunfanyunn/InfoGraph at commit 1f286d5. The other datasets are read from files or downloaded with
torch_geometric (the extra ``graph``).
"""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from condense.data.graphs.files import RawGraphs, read_graphs
from condense.data.graphs.spec import GraphDataset, GraphSpec
from condense.data.graphs.splits import (
    PARTS,
    notes_on_splits,
    require_classes,
    seeded_split,
    split_hash,
    stratified_split,
)
from condense.errors import Refused, Remedy, install, unknown
from condense.files import data_folder, first_line, home, locked, require_writable, tidy

MUTAG = Path(__file__).with_name("MUTAG.zip")

TU = "https://www.chrsmrrs.com/graphkerneldatasets"
OGB = "https://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download"


@dataclass(frozen=True, kw_only=True)
class KnownGraphs:
    """Expected properties of a named graph dataset.

    Attributes:
        folder: Name of its folder, and of its zip file without ``.zip``.
        url: Address of its zip file.
        graphs: Number of graphs.
        nodes: Number of nodes of all graphs together.
        hash: First 16 digits of the dataset's hash, as all records of it have it.
        classes: Labels in its file, ascending.
        split: First 16 digits of the seeded split's hash (`split_hash`); None if its split is official.
    """

    folder: str
    url: str
    graphs: int
    nodes: int
    hash: str
    classes: tuple[int, ...] = (0, 1)
    split: str | None = None


def _tu(
    folder: str, graphs: int, nodes: int, classes: tuple[int, ...], split: str, digits: str
) -> KnownGraphs:
    url = f"{TU}/{folder}.zip"
    return KnownGraphs(
        folder=folder, url=url, graphs=graphs, nodes=nodes, classes=classes, split=split, hash=digits
    )


def _ogb(name: str, graphs: int, nodes: int, digits: str) -> KnownGraphs:
    url = f"{OGB}/{name}.zip"
    return KnownGraphs(folder=f"ogbg_mol{name}", url=url, graphs=graphs, nodes=nodes, hash=digits)


KNOWN_GRAPHS: Mapping[str, KnownGraphs] = {
    "mutag": _tu("MUTAG", 188, 3371, (-1, 1), "788323f538d85718", "5b695018568308c1"),
    "nci1": _tu("NCI1", 4110, 122747, (0, 1), "cc3f162d47b05e45", "7d0ec7ee64737076"),
    "proteins": _tu("PROTEINS", 1113, 43471, (1, 2), "0f5899b239526209", "f0ec9d5ba24d0908"),
    "dd": _tu("DD", 1178, 334925, (1, 2), "c34ed91550c898f4", "6f4de5da9e09a381"),
    "imdb-binary": _tu("IMDB-BINARY", 1000, 19773, (0, 1), "cb8b1fdbd81ce02d", "34e7423734b64fc2"),
    "molbace": _ogb("bace", 1513, 51577, "df7cd02e90876965"),
    "molbbbp": _ogb("bbbp", 2039, 49068, "0e1c5bc2ce8f388d"),
    "molhiv": _ogb("hiv", 41127, 1049163, "fb26e13b79a741bd"),
}
GRAPH_NAMES = tuple(KNOWN_GRAPHS)
"""Names of the graph datasets that `load_graphs` knows."""

FEW_ONE_WAY = 0.1
"""Share of edges above which edges that are listed in one direction only seem to have directions."""

NAME_OF_FOLDER = {known.folder: name for name, known in KNOWN_GRAPHS.items()}


def load_graphs(name_or_path: str, *, data_dir: Path | None = None, undirected: bool = False) -> GraphDataset:
    """Loads a graph dataset.

    - A name of `GRAPH_NAMES`: ``mutag`` is part of the package. For any other name, ``FOLDER.zip`` and then
      the folder ``FOLDER`` are looked up in the data folder (``NCI1``, ``ogbg_molhiv``). If both are missing,
      the published zip file is downloaded once. Equal graphs give equal hashes, whatever their source.
    - A path of a folder or zip file in TUDataset's or OGB's layout. If it has the name of a known dataset's
      folder, it is loaded as that dataset.

    OGB's datasets keep their own splits. The other named ones are split by `seeded_split`, and a user's own
    by `stratified_split` unless the files hold a split. The labels in a file are numbered in ascending order
    to become class ids. Two sources whose graphs differ in nothing but what is left out have the same hash,
    since all that is made of them is the same; the notes of the specification say what was left out.

    Args:
        name_or_path: Name or path of the dataset.
        data_dir: Folder with the files of named datasets; None takes `condense.files.data_folder`.
        undirected: Whether edges may be listed in one direction in TUDataset's layout: the direction is lost.

    Raises:
        Refused: If there is no such dataset, its files are damaged or contradict each other, its edges seem
            to have directions, or a split lacks a class.
    """
    path = Path(name_or_path)
    if name_or_path in KNOWN_GRAPHS:
        return _known(name_or_path, read_graphs(_located(name_or_path, data_folder(data_dir))))
    if not path.exists():
        if "/" in name_or_path or os.sep in name_or_path or path.suffix == ".zip":
            raise Refused(f"there is no file or folder {path}")
        raise unknown("graph dataset", name_or_path, GRAPH_NAMES, setting="dataset")
    stem = Path(os.path.realpath(path)).name.removesuffix(".zip")
    if stem in NAME_OF_FOLDER:
        return _known(NAME_OF_FOLDER[stem], read_graphs(path))
    if stem.lower() in KNOWN_GRAPHS:
        raise Refused(
            f"{path} has the name of a known dataset, whose files are called "
            f"{KNOWN_GRAPHS[stem.lower()].folder}: rename it, so that results are not mixed up"
        )
    return _own(stem, read_graphs(path), undirected)


def _located(name: str, data_dir: Path) -> Path:
    """Finds the files of a named dataset; downloads them if they are missing."""
    known = KNOWN_GRAPHS[name]
    if name == "mutag":
        return MUTAG
    downloads = home() / "downloads"
    for folder in (data_dir, downloads):
        for path in (folder / f"{known.folder}.zip", folder / known.folder):
            if path.exists():
                tidy(path)
                return path
    by_hand = f"place it by hand as {data_dir / known.folder}.zip (from {known.url})"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch_geometric calls deprecated functions of torch
            download_url = import_module("torch_geometric.data").download_url
    except ImportError as error:
        raise Refused(
            f"there is no {known.folder}.zip in {data_dir}, and downloading {name} needs torch_geometric: "
            f"{install('graph')}, or {by_hand}"
        ) from error
    require_writable(downloads)
    file = downloads / f"{known.folder}.zip"
    with locked(file, what=f"downloads {name}"):
        if file.exists():
            return file
        with TemporaryDirectory(dir=downloads, prefix=f".{file.name}.", suffix=".part") as part:
            try:
                got = Path(download_url(known.url, part, log=False))
            except (OSError, RuntimeError) as error:
                raise Refused(f"cannot download {name} ({first_line(error)}); {by_hand}") from error
            return got.replace(file)


def _known(name: str, raw: RawGraphs) -> GraphDataset:
    """Builds a known dataset from its graphs after comparing them with what is expected."""
    known = KNOWN_GRAPHS[name]
    found, nodes = len(raw.graphs), len(raw.graphs.node_labels)
    if (found, nodes) != (known.graphs, known.nodes):
        raise Refused(
            f"{raw.where} holds {found} graphs of {nodes} nodes in all, "
            f"but {name} has {known.graphs} of {known.nodes}"
        )
    if raw.classes != known.classes:
        raise Refused(
            f"{raw.where} has the labels {_listed(raw.classes)}, but {name}'s are {_listed(known.classes)}"
        )
    if known.split is None and raw.split is None:
        raise Refused(f"{raw.where} holds no file train.csv.gz: {name} has an official split")
    data = _dataset(name, raw)
    if not data.hash.startswith(known.hash):
        raise Refused(
            f"{raw.where} holds other graphs than {name} (data hash {data.hash[:8]}, not {known.hash[:8]}): "
            "rename it, so that results are not mixed up"
        )
    return data


def _listed(labels: tuple[int, ...]) -> str:
    few = ", ".join(str(label) for label in labels[:5])
    return f"{few} and {len(labels) - 5} more" if len(labels) > 5 else few


def _own(name: str, raw: RawGraphs, undirected: bool) -> GraphDataset:
    """Builds a dataset of a user's own, and notes how it was split and what its splits share.

    Raises:
        Refused: If the edges seem to have directions, which networks here do not see.
    """
    counts = raw.edge_counts
    if raw.both_ways and not undirected and counts.one_way > FEW_ONE_WAY * counts.edges:
        raise Refused(
            f"{counts.one_way} of {counts.edges} edges in {raw.where} are listed in one direction only, and "
            "graphs have no directions here",
            remedies=[Remedy(settings={"undirected": True}, effect="takes each edge in both directions")],
        )
    data = _dataset(name, raw)
    parts = {part: getattr(data, part) for part in PARTS}
    notes = list(raw.notes)
    if raw.split is None:
        notes.append(
            f"the test split is a tenth of each class drawn at random, {len(data.test)} of "
            f"{len(raw.graphs)} graphs; the validation split is another"
        )
    notes += notes_on_splits(parts, data.spec.classes)
    return replace(data, spec=replace(data.spec, notes=tuple(notes)))


def _dataset(name: str, raw: RawGraphs) -> GraphDataset:
    """Splits the graphs and specifies the dataset."""
    graphs, where, named = raw.graphs, raw.where, name in KNOWN_GRAPHS
    if len(raw.classes) < 2:
        raise Refused(f"{where} has only one class, {raw.classes[0]}; a classifier needs at least two")
    classes = tuple(str(label) for label in raw.classes)
    drawn = "seeded" if named else "seeded-v2"
    split = raw.split or (seeded_split(len(graphs)) if named else stratified_split(graphs.labels.numpy()))
    recorded = KNOWN_GRAPHS[name].split if named else None
    if recorded is not None and split_hash(split)[:16] != recorded:
        raise Refused(f"torch {torch.__version__} draws another split of {name} than the recorded one")
    if empty := [part for part in PARTS if not len(split[part])]:
        raise Refused(f"{where} has {len(graphs)} graphs, which leaves none for the split {empty[0]!r}")
    parts = {part: graphs.select(torch.from_numpy(split[part])) for part in PARTS}
    require_classes(parts, classes, where)
    spec = GraphSpec(
        name=name,
        named=named,
        classes=classes,
        features=tuple((graphs.node_features.amax(0) + 1).tolist()),
        node_labels=int(graphs.node_labels.max()) + 1,
        edge_values=raw.edge_values,
        split=drawn if raw.split is None else "official",
    )
    return GraphDataset(spec, **parts)
