"""Verifies every byte in the folder of a stored set, and says which of them nothing vouches for.

The content hash covers the content of `set.json` and the tensors. Everything else is verified in two ways.
The two files that hold the content have one form only: `set.json` is canonical JSON, and the header of a
safetensors file is the one that the library writes. And the provenance of a set carries the hashes of the
card and the gallery, and one of itself. Sets of older versions have no such hashes in their provenance.
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from condense.errors import Refused
from condense.files import canonical, digest
from condense.reading import open_file, parse_json, read_file
from condense.schema import unknown_keys
from condense.store.folder import form_of, read_manifest
from condense.store.manifest import CARD, DATA, GALLERY, MANIFEST, MAX_BYTES, SetContent

FILES, SEAL = "files", "seal"
"""Keys of the provenance: the hashes of other files, and the hash of the provenance without this key."""
COVERED = (CARD, GALLERY)
"""The files whose hashes the provenance holds."""
METADATA = "__metadata__"


@dataclass(frozen=True)
class Verified:
    """What is known of a folder after every byte of it has been looked at.

    Attributes:
        hash: The content hash.
        unchecked: What no hash covers: parts of a set of an older version.
        unknown: Keys of the content that this version does not know. The hash covers them.
    """

    hash: str
    unchecked: tuple[str, ...]
    unknown: tuple[str, ...]


def sealed(
    provenance: Mapping[str, object], content_hash: str, files: Mapping[str, bytes]
) -> dict[str, object]:
    """Returns a provenance with the hashes that `verify_folder` compares.

    Args:
        provenance: Where and when the set was made.
        content_hash: The content hash.
        files: The contents of the files of `COVERED` by name.
    """
    plain = {key: value for key, value in provenance.items() if key != SEAL}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    plain |= {"hash": content_hash, FILES: hashes}
    return {**plain, SEAL: digest(plain)}


def verify_folder(path: Path, shards: Mapping[str, str]) -> Verified:
    """Checks everything in a set's folder but the content itself, which loading it has checked.

    Args:
        path: The folder.
        shards: The files of stored labels, each with the value of its metadata entry ``replay``.

    Raises:
        Refused: if there is something else in the folder, or a byte is not as it was written.
    """
    content, provenance = read_manifest(path)
    _check_names(path, {MANIFEST, DATA, *COVERED, *shards})
    written = canonical({"content": content, "provenance": provenance}, indent=2) + "\n"
    if read_file(path / MANIFEST, MAX_BYTES) != written.encode():
        raise Refused(f"{path / MANIFEST} was altered: it is not written as condense writes it")
    _check_header(path / DATA, {})
    for name, metadata in shards.items():
        _check_header(path / name, {"replay": metadata})
    unchecked: list[str] = []
    if FILES not in provenance and SEAL not in provenance:
        unchecked = [name for name in COVERED if (path / name).exists()] + [f"the provenance in {MANIFEST}"]
    else:
        _check_seal(path, provenance)
    return Verified(str(provenance["hash"]), tuple(unchecked), tuple(_unknown(content)))


def _unknown(content: SetContent) -> list[str]:
    form = form_of(content, content["kind"])
    found = unknown_keys(content, form, "content")
    # A protocol is known by its own rules, and described here only in part.
    return [key for key in found if not key.startswith("content.protocol.")]


def _check_names(path: Path, known: set[str]) -> None:
    """Refuses files that are no part of a set, folders, and links to other places."""
    for entry in sorted(os.scandir(path), key=lambda one: one.name):
        if entry.name not in known:
            raise Refused(f"{path} holds {entry.name}, which is no part of the set")
        if not stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
            raise Refused(f"{path / entry.name} is no plain file")


def _check_seal(path: Path, provenance: Mapping[str, object]) -> None:
    plain = {key: value for key, value in provenance.items() if key != SEAL}
    hashes = provenance.get(FILES)
    if provenance.get(SEAL) != digest(plain) or not isinstance(hashes, dict) or {*hashes} != {*COVERED}:
        raise Refused(f"{path / MANIFEST} was altered: its provenance is not the one that was written")
    for name, recorded in hashes.items():
        if (found := hashlib.sha256(read_file(path / name)).hexdigest()) != recorded:
            raise Refused(
                f"{path / name} was altered: its hash is {found[:16]}..., "
                f"the recorded one {str(recorded)[:16]}..."
            )


def _check_header(file: Path, metadata: Mapping[str, str]) -> None:
    """Refuses a safetensors file whose header is not the one that the library writes for its tensors."""
    with open_file(file) as handle:
        size = int.from_bytes(handle.read(8), "little")
        text = handle.read(min(size, MAX_BYTES))
    header = parse_json(text.rstrip(b" "), f"the header of {file}")
    wanted: dict[str, object] = {METADATA: dict(metadata)} if metadata else {}
    try:
        tensors = {name: part for name, part in header.items() if name != METADATA}
        for name, part in sorted(tensors.items(), key=lambda item: item[1]["data_offsets"]):
            wanted[name] = {key: part[key] for key in ("dtype", "shape", "data_offsets")}
    except (AttributeError, KeyError, TypeError) as error:
        raise Refused(f"{file} is truncated or damaged: its header has another form") from error
    form = json.dumps(wanted, separators=(",", ":"), ensure_ascii=False).encode()
    if text != form + b" " * (-len(form) % 8):
        raise Refused(f"{file} was altered: its header is not written as condense writes it")
