"""The catalogue of distilled sets: a JSON file that names sets, what students learned from them, and where
they are.

An entry has a line of its own. The hash of a set's content is what a name stands for: files that are found
elsewhere count only if they have it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from condense.errors import Refused
from condense.files import canonical
from condense.reading import parse_json, read_file, require_version
from condense.schema import Name, Percent, Sha256, Text, Whole, extra_keys, json_schema, read_form
from condense.store.manifest import BY_CLASS

CATALOGUE = "catalogue.json"
"""The file's name, in the folder that the folders of sets lie in."""
SHIPPED = "shipped.json"
"""The name of the catalogue of the sets that are installed with condense."""
FORMAT = "condense-catalogue"
VERSION = 1
MAX_BYTES = 8 * 2**20
"""Largest catalogue that is read, in bytes."""
LEFT_OUT = ("auc", "target", "folder", "url", "twin")
"""Fields that have no key when they are None."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """What students learned from a set under one protocol.

    Attributes:
        protocol: Name of the protocol.
        student: Name of the student network.
        students: Number of students.
        accuracy: Their mean test accuracy in percent.
        auc: Their mean area under the ROC curve in percent; None for data that are scored by accuracy.
        target: Name of the other data that they were then trained and tested on; None for the set's own.
    """

    protocol: Name
    student: Name
    students: Whole
    accuracy: Percent
    auc: Percent | None = None
    target: Name | None = None


@dataclass(frozen=True, kw_only=True)
class SetEntry:
    """A set of a catalogue.

    Attributes:
        name: ``DATASET/METHOD/ipcN``; several sets may have it.
        kind: ``images`` or ``graphs``.
        dataset: Name of the dataset.
        method: Names of the method and its wrappers, joined by ``+``.
        ipc: Nominal samples per class.
        seed: Distillation seed.
        key: Run key.
        hash: Content hash.
        bytes: Size of all its tensors, stored labels among them.
        settings: Version and fields of the method as text (`condense.store.manifest.settings`).
        scores: For each protocol the student network with the most students; the newest protocols first.
        folder: Where its files are, relative to the catalogue or to its address; None if they are not there.
        twin: True if the catalogue has another set of the same run, which another machine or version made.
    """

    name: Name
    kind: Name
    dataset: Name
    method: Name
    ipc: Whole
    seed: Whole
    key: Sha256
    hash: Sha256
    bytes: Whole
    settings: Mapping[Name, Text]
    scores: tuple[Score, ...] = ()
    folder: Name | None = None
    twin: bool | None = None

    @property
    def full(self) -> str:
        """The name of no other set of its catalogue: that of its run, or with its hash if it is a `twin`."""
        return f"{self.name}/{self.hash[:8]}" if self.twin else self.of_run

    @property
    def of_run(self) -> str:
        """The name that no other run has, ``DATASET/METHOD/ipcN/KEY``: the first 8 letters of its key."""
        return f"{self.name}/{self.key[:8]}"


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Named sets.

    Attributes:
        sets: The sets, in order of dataset, method, IPC, seed, key and hash.
        url: Address below which the folders of the sets lie; None if there is no such place.
    """

    sets: tuple[SetEntry, ...]
    url: Name | None = None

    def text(self) -> str:
        """Returns the content of its file, in which each set has a line."""
        head = {"format": FORMAT, "version": VERSION} | _plain({"url": self.url})
        lines = ",\n".join(canonical(entry_values(entry)) for entry in self.sets)
        return canonical(head)[:-1] + f',"sets":[\n{lines}\n]}}\n'


def set_name(dataset: str, method: str, ipc: int, by_class: bool) -> str:
    """Returns the name of a set; `by_class` tells whether classes have numbers of samples of their own."""
    return f"{dataset}/{method}/ipc{ipc}{BY_CLASS if by_class else ''}"


def order(entry: SetEntry) -> tuple[str, str, int, str, int, str]:
    """Returns what the sets of a catalogue are sorted by."""
    return entry.dataset, entry.method, entry.ipc, entry.name, entry.seed, entry.key


def entry_values(entry: SetEntry) -> dict[str, Any]:
    """Returns an entry as plain JSON values."""
    return _plain(asdict(entry)) | {"scores": [_plain(asdict(score)) for score in entry.scores]}


def read_catalogue(path: Path) -> Catalogue:
    """Reads a catalogue.

    Raises:
        Refused: if the file cannot be read or is no catalogue, or a folder could lead out of its place.
    """
    where = str(path)
    values = parse_json(read_file(path, MAX_BYTES), where)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise Refused(f"{where} is no {FORMAT}")
    require_version(values.get("version"), VERSION, path, FORMAT, "catalogue")
    known = {key: value for key, value in values.items() if key not in ("format", "version")}
    found = read_form(known, Catalogue, f"{where}:")
    if extra := extra_keys(known, asdict(found)):
        raise Refused(f"{where}: {extra[0]} is unknown")
    if found.url is not None and not _is_address(found.url):
        raise Refused(f"{where}: url is {found.url!r}, which is no address that begins with http or https")
    for number, entry in enumerate(found.sets):
        names = [set_name(entry.dataset, entry.method, entry.ipc, by_class) for by_class in (False, True)]
        if entry.name not in names:
            raise Refused(f"{where}: sets[{number}].name is {entry.name!r}, not {names[0]}")
        if entry.folder is not None and not _is_below(entry.folder):
            raise Refused(f"{where}: sets[{number}].folder is {entry.folder!r}, which leads out of its place")
    return found


def catalogue_schema() -> dict[str, Any]:
    """Returns the JSON Schema of a catalogue."""
    schema = json_schema(Catalogue)
    whole = schema["$defs"]["Catalogue"]
    whole["properties"] |= {"format": {"const": FORMAT}, "version": {"const": VERSION}}
    whole["required"] += ["format", "version"]
    return schema


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in LEFT_OUT or value is not None}


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (raises if it is no number)
    except ValueError:
        return False
    plain = url.isascii() and not re.search(r"\s", url) and not (parts.query or parts.fragment)
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname)


def _is_below(folder: str) -> bool:
    parts = folder.split("/")
    return "\\" not in folder and ":" not in parts[0] and not {"", ".", ".."} & {*parts}


def short_names(entries: Sequence[SetEntry]) -> dict[str, str]:
    """Returns by full name the shortest one that stands for a single set."""
    names = [entry.name for entry in entries]
    twice = {name for name in names if names.count(name) > 1}
    return {entry.full: entry.full if entry.name in twice else entry.name for entry in entries}
