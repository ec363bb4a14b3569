"""The folder of a stored set: its files are written all at once, and checked when they are read."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from condense.errors import Refused
from condense.files import ASIDE, canonical, first_line, hash_tensors, locked
from condense.reading import read_file
from condense.schema import find_form_error, json_schema
from condense.store.graphs.manifest import GraphContent, find_graph_content_error
from condense.store.head import read_head
from condense.store.images.manifest import (
    FeaturesContent,
    ImageContent,
    ProjectedContent,
    ReplayedContent,
    find_image_content_error,
)
from condense.store.manifest import (
    CARD,
    DATA,
    FORMAT,
    GALLERY,
    MANIFEST,
    MAX_BYTES,
    SetContent,
    TensorPart,
)


def write_set(
    path: Path, tensors: Mapping[str, Tensor], files: Mapping[str, str | bytes], shards: Sequence[Path] = ()
) -> None:
    """Writes a set's folder, which appears whole or not at all.

    All files are written to a folder beside it, which then takes its name. An older set of this name is moved
    aside meanwhile, and moved back if the exchange fails.

    Args:
        path: The folder.
        tensors: CPU tensors by name.
        files: The contents of the other files by name, `set.json` among them.
        shards: Large files that lie elsewhere and stay there. The set gets a hard link to each, or a copy
            where the disk has no hard links.

    Raises:
        Refused: if something other than a set is there, or the place cannot be written.
    """
    path = Path(os.path.realpath(path))
    texts = {name: data.encode() if isinstance(data, str) else data for name, data in files.items()}
    try:
        require_replaceable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path, what=f"stores {path}"):
            _write({DATA: save(dict(tensors)), **texts}, shards, path)
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror or error}") from error


def _write(files: Mapping[str, bytes], shards: Sequence[Path], path: Path) -> None:
    """Writes a set's folder: see `write_set`."""
    part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
    new, old = part / "new", part / ASIDE
    try:
        new.mkdir()
        for name, data in files.items():
            with open(new / name, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for shard in shards:
            _link_or_copy(shard, new / shard.name)
        _sync(new)
        _exchange(new, path, old)
        _sync(path.parent)
    finally:
        if path.exists() or not old.exists():
            shutil.rmtree(part, ignore_errors=True)


def require_replaceable(path: Path) -> None:
    """Refuses a folder in which saving would destroy something other than an older set."""
    if not path.exists():
        return
    if not path.is_dir():
        raise Refused(f"cannot write a set to {path}: it is a file")
    names = sorted(entry.name for entry in path.iterdir())
    if not names:
        return
    known = (MANIFEST, DATA, CARD, GALLERY)
    if strangers := [n for n in names if n not in known and not fnmatchcase(n, "replay-*.safetensors")]:
        raise Refused(f"cannot write a set to {path}: it holds {strangers[0]}, which is no part of a set")
    if MANIFEST not in names or f'"{FORMAT}"'.encode() not in read_file(path / MANIFEST, MAX_BYTES):
        raise Refused(f"cannot write a set to {path}: it is there already and is no {FORMAT}")


def read_set(path: Path, kind: str) -> tuple[SetContent, dict[str, object], dict[str, Tensor]]:
    """Reads the manifest and the tensors of a set of one kind, and checks the content hash.

    Args:
        path: The set's folder.
        kind: ``images`` or ``graphs``.

    Returns:
        The manifest's content and provenance, and the tensors as they are stored.

    Raises:
        Refused: naming the file and what is wrong with it.
    """
    content, provenance = read_manifest(path)
    if content["kind"] != kind:
        raise Refused(f"{path} is a set of {content['kind']}, not of {kind}")
    tensors = read_tensors(path, content.get("tensors", []))
    if (found := hash_tensors(tensors, prefix=canonical(content))) != provenance["hash"]:
        raise Refused(
            f"{path / DATA} or {MANIFEST} was altered: "
            f"their content hash is {found[:16]}..., the recorded one {str(provenance['hash'])[:16]}..."
        )
    return content, provenance, tensors


def read_manifest(path: Path) -> tuple[SetContent, dict[str, object]]:
    """Reads a set's `set.json`; whether it is true of the tensors is checked later.

    Args:
        path: The set's folder.

    Returns:
        The content and the provenance.

    Raises:
        Refused: if there is no manifest, or this version cannot read it.
    """
    file = path / MANIFEST
    content, provenance = read_head(path)
    if (kind := str(content.get("kind", "images"))) not in FORMS:
        raise Refused(f"{file}: this condense reads sets of {' and '.join(FORMS)}, not of {kind}")
    if wrong := find_content_error(content, kind):
        raise Refused(f"{file}: {wrong}")
    return cast(SetContent, content), provenance


FORMS: Mapping[str, tuple[type, Callable[[Any], str | None]]] = {
    "images": (ImageContent, find_image_content_error),
    "graphs": (GraphContent, find_graph_content_error),
}
"""For each kind of set, the form of its content and the function that checks what the form leaves open."""
LABELLED: Mapping[str, type] = {
    "features": FeaturesContent, "replayed": ReplayedContent, "projected": ProjectedContent
}  # fmt: skip
"""The forms of sets of images whose kind of labels has a form of its own."""


def form_of(content: Mapping[str, object], kind: str) -> type:
    """Returns the form that the content of a set of a kind has."""
    label = content.get("label")
    if kind == "images" and isinstance(label, dict):
        return LABELLED.get(str(label.get("kind")), ImageContent)
    return FORMS[kind][0]


def find_content_error(content: Mapping[str, object], kind: str) -> str | None:
    """Says why this version cannot read a content as one of a set of a kind, or returns None if it can."""
    if wrong := find_form_error(content, form_of(content, kind), "content"):
        return wrong
    if content["kind"] != kind:
        return f"content.kind is {content['kind']}, not {kind}"
    return FORMS[kind][1](content)


def set_schema() -> dict[str, Any]:
    """Returns the JSON Schema of `set.json`."""
    content = json_schema(ImageContent, *LABELLED.values(), GraphContent)
    return {
        "type": "object",
        "required": ["content", "provenance"],
        "properties": {
            "content": {key: value for key, value in content.items() if key != "$defs"},
            "provenance": {
                "type": "object",
                "required": ["hash"],
                "properties": {"hash": {"type": "string"}},
            },
        },
        "$defs": content["$defs"],
    }


def read_tensors(path: Path, listed: Sequence[TensorPart]) -> dict[str, Tensor]:
    """Reads a set's `data.safetensors`; refuses other tensors than those that the manifest lists."""
    file = path / DATA
    if not os.path.lexists(file):
        raise Refused(f"{file} is missing")
    try:
        tensors = load(read_file(file))
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise Refused(f"{file} is truncated or damaged: {first_line(error)}") from error
    wanted = {part["name"]: part for part in listed}
    if missing := wanted.keys() - tensors.keys():
        raise Refused(f"{file} lacks the tensor {min(missing)!r} that {MANIFEST} lists")
    if extra := tensors.keys() - wanted.keys():
        raise Refused(f"{file} holds a tensor {min(extra)!r} that {MANIFEST} does not list")
    for name, part in wanted.items():
        found = (str(tensors[name].dtype).removeprefix("torch."), list(tensors[name].shape))
        if found != (part["dtype"], part["shape"]):
            raise Refused(
                f"{file} holds {name!r} as {found[0]} {found[1]}, "
                f"{MANIFEST} lists {part['dtype']} {part['shape']}"
            )
    return tensors


def _link_or_copy(file: Path, place: Path) -> None:
    """Makes a hard link to a file, or a copy where the disk has no hard links."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)
        with open(place, "rb+") as copied:
            os.fsync(copied.fileno())


def _exchange(new: Path, path: Path, aside: Path) -> None:
    """Renames the folder `new` to `path`. A folder of that name goes to `aside`, or stays if this fails."""
    if not path.exists():
        os.rename(new, path)
        return
    os.rename(path, aside)
    try:
        os.rename(new, path)
    except BaseException:
        os.rename(aside, path)
        raise


def _sync(folder: Path) -> None:
    """Waits until the folder's entries are on the disk, on systems on which a folder can be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
