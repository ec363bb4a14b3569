"""Where graph datasets come from: a name, a folder or a zip file becomes a `GraphDataset`.

``mutag`` comes with the package: ``MUTAG.zip``, 24 kB, is TUDataset's text: 188 compounds and whether they
are mutagenic (Debnath et al. 1991, Journal of Medicinal Chemistry 34(2), 786-797; collected by Morris et
al. 2020, https://chrsmrrs.github.io/TUDataset, who ask to be cited), as found in sunfanyunn/InfoGraph at
commit 1f286d5. The other sets are read from files, or downloaded by torch_geometric (the extra ``graph``).
"""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from jaxtyping import Int64

from condense.data.graphs.files import PARTS, RawGraphs, read_graphs
from condense.data.graphs.spec import GraphDataset, GraphSpec
from condense.errors import Refused, unknown
from condense.files import digest, home, require_writable

MUTAG = Path(__file__).with_name("MUTAG.zip")

TU = "https://www.chrsmrrs.com/graphkerneldatasets"
OGB = "https://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download"


@dataclass(frozen=True, kw_only=True)
class KnownGraphs:
    """What is known of a named graph dataset before a file is opened.

    Attributes:
        folder: Name of its folder, or of its zip file without ``.zip``.
        url: Where its zip file is published.
        graphs: How many graphs it has.
        nodes: How many nodes they have together.
        classes: Its labels in the file, ascending.
        split: First 16 digits of the seeded split's hash (`split_hash`); None where the split is official.
    """

    folder: str
    url: str
    graphs: int
    nodes: int
    classes: tuple[int, ...] = (0, 1)
    split: str | None = None


def _tu(folder: str, graphs: int, nodes: int, classes: tuple[int, ...], split: str) -> KnownGraphs:
    url = f"{TU}/{folder}.zip"
    return KnownGraphs(folder=folder, url=url, graphs=graphs, nodes=nodes, classes=classes, split=split)


def _ogb(name: str, graphs: int, nodes: int) -> KnownGraphs:
    return KnownGraphs(folder=f"ogbg_mol{name}", url=f"{OGB}/{name}.zip", graphs=graphs, nodes=nodes)


KNOWN_GRAPHS: Mapping[str, KnownGraphs] = {
    "mutag": _tu("MUTAG", 188, 3371, (-1, 1), "788323f538d85718"),
    "nci1": _tu("NCI1", 4110, 122747, (0, 1), "cc3f162d47b05e45"),
    "proteins": _tu("PROTEINS", 1113, 43471, (1, 2), "0f5899b239526209"),
    "dd": _tu("DD", 1178, 334925, (1, 2), "c34ed91550c898f4"),
    "imdb-binary": _tu("IMDB-BINARY", 1000, 19773, (0, 1), "cb8b1fdbd81ce02d"),
    "molbace": _ogb("bace", 1513, 51577),
    "molbbbp": _ogb("bbbp", 2039, 49068),
    "molhiv": _ogb("hiv", 41127, 1049163),
}
GRAPH_NAMES = tuple(KNOWN_GRAPHS)
"""Graph datasets by the names that `load_graphs` knows."""

FOLDERS = {known.folder: name for name, known in KNOWN_GRAPHS.items()}


def load_graphs(name_or_path: str, *, data_dir: Path | None = None) -> GraphDataset:
    """Loads a graph dataset.

    - A name of `GRAPH_NAMES`. ``mutag`` comes with the package. Of the others ``FOLDER.zip``, then the folder
      ``FOLDER`` are looked for in the data folder (``NCI1``, ``ogbg_molhiv``); without them the published zip
      file is downloaded below the home folder once. Every copy with the same graphs gives the same hash.
    - A path to a folder or zip file in TUDataset's or OGB's layout. One whose name is a known dataset's *is*
      that dataset.

    What comes with a split (OGB's) keeps it, all else is split by `seeded_split`. Labels become class ids in order.

    Args:
        name_or_path: What to load.
        data_dir: Where files of named datasets lie; ``$CONDENSE_DATA``, else ``data`` below the home folder.

    Raises:
        Refused: in one sentence, if there is no such dataset or it is not sound.
    """
    path = Path(name_or_path)
    if name_or_path in KNOWN_GRAPHS:
        folder = data_dir or Path(os.environ.get("CONDENSE_DATA") or home() / "data")
        known = KNOWN_GRAPHS[name_or_path]
        return _known(name_or_path, known, read_graphs(_place(name_or_path, known, folder)))
    if not path.exists():
        if "/" in name_or_path or os.sep in name_or_path or path.suffix == ".zip":
            raise Refused(f"there is no file or folder {path}")
        raise unknown("graph dataset", name_or_path, GRAPH_NAMES)
    stem = path.resolve().name.removesuffix(".zip")
    if stem in FOLDERS:
        return _known(FOLDERS[stem], KNOWN_GRAPHS[FOLDERS[stem]], read_graphs(path))
    if stem.lower() in KNOWN_GRAPHS:
        raise Refused(
            f"{path} bears the name of a known dataset, whose files are {KNOWN_GRAPHS[stem.lower()].folder}: "
            "rename it, so that results are not mixed up"
        )
    return _dataset(stem, read_graphs(path))


def _place(name: str, known: KnownGraphs, data_dir: Path) -> Path:
    """Where a named dataset lies, after a download if need be."""
    if name == "mutag":
        return MUTAG
    downloads = home() / "downloads"
    for folder in (data_dir, downloads):
        for path in (folder / f"{known.folder}.zip", folder / known.folder):
            if path.exists():
                return path
    by_hand = f"place it by hand as {data_dir / known.folder}.zip (from {known.url})"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own use of torch
            download_url = import_module("torch_geometric.data").download_url
    except ImportError as error:
        raise Refused(
            f"there is no {known.folder}.zip in {data_dir}, and to download {name} takes torch_geometric: "
            f"install condense-bench[graph], or {by_hand}"
        ) from error
    require_writable(downloads)
    downloads.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=downloads) as part:
        try:
            got = Path(download_url(known.url, part, log=False))
        except (OSError, RuntimeError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise Refused(f"cannot download {name} ({first}); {by_hand}") from error
        return got.replace(downloads / f"{known.folder}.zip")


def _known(name: str, known: KnownGraphs, held: RawGraphs) -> GraphDataset:
    """A known dataset from its graphs, which must have its counts and labels."""
    found, nodes = len(held.graphs), len(held.graphs.node_labels)
    if (found, nodes) != (known.graphs, known.nodes):
        raise Refused(
            f"{held.where} holds {found} graphs of {nodes} nodes in all, "
            f"but {name} has {known.graphs} of {known.nodes}"
        )
    if held.classes != known.classes:
        raise Refused(
            f"{held.where} has the labels {_listed(held.classes)}, but {name}'s are {_listed(known.classes)}"
        )
    if known.split is None and held.split is None:
        raise Refused(f"{held.where} holds no file train.csv.gz: {name} has an official split")
    return _dataset(name, held)


def _listed(labels: tuple[int, ...]) -> str:
    few = ", ".join(str(label) for label in labels[:5])
    return f"{few} and {len(labels) - 5} more" if len(labels) > 5 else few


def seeded_split(count: int) -> dict[str, Int64[np.ndarray, " _"]]:
    """The seeded split: a tenth for tests, a tenth for validation (both rounded up), the rest to train.

    The order is ``torch.randperm(count)`` under the seed 0 on the CPU; the test graphs come first in it, then
    those for validation. It is the split of Mirage's and DosCond's scripts for TUDataset's sets.

    Args:
        count: How many graphs there are.

    Returns:
        Positions by part, ascending.
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).numpy()
    tenth = -(-count // 10)
    parts = {"train": order[2 * tenth :], "valid": order[tenth : 2 * tenth], "test": order[:tenth]}
    return {part: np.sort(index) for part, index in parts.items()}


def split_hash(split: Mapping[str, Int64[np.ndarray, " _"]]) -> str:
    """SHA-256 of the positions in each part."""
    return digest({part: index.tolist() for part, index in split.items()})


def _dataset(name: str, held: RawGraphs) -> GraphDataset:
    """Splits the graphs and describes them."""
    graphs, where = held.graphs, held.where
    if len(held.classes) < 2:
        raise Refused(f"{where} has one class only, {held.classes[0]}; there is nothing to tell apart")
    split = held.split or seeded_split(len(graphs))
    recorded = KNOWN_GRAPHS[name].split if name in KNOWN_GRAPHS else None
    if recorded is not None and split_hash(split)[:16] != recorded:
        raise Refused(
            f"torch {torch.__version__} draws another split of {name} than the one that is recorded"
        )
    if empty := [part for part in PARTS if not len(split[part])]:
        raise Refused(f"{where} has {len(graphs)} graphs, so that none is left for the part {empty[0]!r}")
    parts = {part: graphs.select(torch.from_numpy(split[part])) for part in PARTS}
    missing = [held.classes[label] for label, count in enumerate(parts["train"].counts()) if not count]
    if missing:
        raise Refused(
            f"{where} has no training graph of the class {missing[0]} ({len(missing)} such classes)"
        )
    spec = GraphSpec(
        name=name,
        classes=tuple(str(label) for label in held.classes),
        features=tuple((graphs.node_features.amax(0) + 1).tolist()),
        node_labels=int(graphs.node_labels.max()) + 1,
        edge_values=held.edge_values,
        split="seeded" if held.split is None else "official",
    )
    return GraphDataset(spec, **parts)
