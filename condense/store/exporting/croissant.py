"""A description of an exported set in Croissant (https://docs.mlcommons.org/croissant/docs/croissant-spec.html).

It is a JSON file beside what was exported, which search engines and loaders of datasets read: the files with
their hashes, the classes, and for a folder of pictures the images with their labels as records.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from condense.files import canonical, write_atomic
from condense.store.base import DistilledSet
from condense.store.exporting.report import about

SUFFIX = ".croissant.json"
"""What follows the name of the exported file or folder in that of its description."""
FORMATS = {
    ".npz": "application/x-npz", ".pt": "application/x-pytorch", ".png": "image/png",
    ".tar": "application/x-tar", ".json": "application/json", ".txt": "text/plain",
    ".arrow": "application/vnd.apache.arrow.file",
}  # fmt: skip
"""The kinds of files by the ends of their names."""

_VOCABULARY = "http://mlcommons.org/croissant/"
_OWN = (
    "citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet",
    "format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet",
    "references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField",
    "transform",
)  # fmt: skip
"""The words that Croissant adds to those of schema.org."""
_CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/", "cr": _VOCABULARY,
    "rai": f"{_VOCABULARY}RAI/", "dct": "http://purl.org/dc/terms/", "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"}, "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{word: f"cr:{word}" for word in _OWN},
}  # fmt: skip


def describe(made: DistilledSet, exported: Path) -> dict[str, Any]:
    """Returns the description of an exported set as JSON values.

    Args:
        made: The set.
        exported: The file or folder; the description names it relative to its parent folder.
    """
    told = about(made)
    text = f"{told['kind']} of {told['dataset']} distilled by {told['method']}, {told['ipc']} of each class"
    pictures = sorted(exported.glob("*/*.png")) if exported.is_dir() else []
    files = [exported] if exported.is_file() else sorted(exported.rglob("*"))
    plain = [file for file in files if file.is_file() and file not in pictures]
    parts = [_file(file, exported.parent) for file in plain]
    records = [_classes([str(name) for name in made.content["dataset"]["classes"]])]
    if pictures:
        parts.append(_pictures(exported))
        records.append(_images())
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": f"{_VOCABULARY}1.0",
        "name": exported.name,
        "description": f"{text}. Content hash {made.hash}.",
        "identifier": made.hash,
        "license": told["note"],
        "citeAs": f"{told['dataset']}, and {told['method']} as run by condense",
        "version": "1.0.0",
        "distribution": parts,
        "recordSet": records,
    } | ({"datePublished": made.provenance["time"]} if "time" in made.provenance else {})


def write_description(made: DistilledSet, exported: Path) -> Path:
    """Writes the description beside an exported set and returns its path."""
    path = exported.with_name(exported.name + SUFFIX)
    write_atomic(path, canonical(describe(made, exported), indent=2) + "\n")
    return path


def _file(file: Path, base: Path) -> dict[str, Any]:
    name = file.relative_to(base).as_posix()
    with file.open("rb") as handle:
        sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name, "sha256": sha256,
        "contentSize": f"{file.stat().st_size} B",
        "encodingFormat": FORMATS.get(file.suffix, "application/octet-stream"),
    }  # fmt: skip


def _pictures(folder: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet", "@id": "pictures", "name": "pictures", "encodingFormat": "image/png",
        "includes": f"{folder.name}/*/*.png",
    }  # fmt: skip


def _images() -> dict[str, Any]:
    """Returns the records of a folder of pictures: each image, and its folder's name, which is its class."""
    picture, name = {"fileSet": {"@id": "pictures"}}, {"regex": "^.*/([^/]+)/[^/]+$"}
    image = {**picture, "extract": {"fileProperty": "content"}}
    label = {**picture, "extract": {"fileProperty": "fullpath"}, "transform": name}
    fields = [
        _field("images", "image", "sc:ImageObject") | {"source": image},
        _field("images", "label", "sc:Text") | {"source": label},
    ]
    return {"@type": "cr:RecordSet", "@id": "images", "name": "images", "field": fields}


def _classes(names: Sequence[str]) -> dict[str, Any]:
    """Returns the records of the classes: their numbers and names."""
    return {
        "@type": "cr:RecordSet", "@id": "classes", "name": "classes", "key": {"@id": "classes/number"},
        "field": [_field("classes", "number", "sc:Integer"), _field("classes", "name", "sc:Text")],
        "data": [{"classes/number": number, "classes/name": name} for number, name in enumerate(names)],
    }  # fmt: skip


def _field(records: str, name: str, kind: str) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": f"{records}/{name}", "name": name, "dataType": kind}
