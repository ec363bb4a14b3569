"""A stored set on disk: the folder's files, written all at once and read with suspicion."""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from condense.errors import Refused
from condense.files import canonical, hash_tensors
from condense.store.manifest import FORMAT, MAX_BYTES, TensorPart
from condense.store.parse import AnyContent, parse

MANIFEST = "set.json"
DATA = "data.safetensors"
CARD = "README.md"
GALLERY = "gallery.png"
FILES = (MANIFEST, DATA, CARD, GALLERY)


def write(
    path: Path,
    tensors: Mapping[str, Tensor],
    manifest: str,
    extras: Mapping[str, bytes],
    shards: Sequence[Path] = (),
) -> None:
    """Writes a set's folder so that it is there whole or not at all.

    All files go to a folder beside it, are synced, and then take its name. Where an older set has the name,
    it steps aside for that moment and comes back if the exchange fails.

    Args:
        path: The folder.
        tensors: CPU tensors by name.
        manifest: The text of `set.json`.
        extras: Further files by name.
        shards: Large files that lie elsewhere, taken in under their names: by a second link to the same
            bytes where that can be, else as copies. Where they were they stay.

    Raises:
        Refused: if something else than a set is there, or the place cannot be written.
    """
    path = path.resolve()
    files = {DATA: save(dict(tensors)), MANIFEST: manifest.encode(), **extras}
    try:
        require_replaceable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
        new, old = part / "new", part / "old"
        try:
            new.mkdir()
            for name, data in files.items():
                with open(new / name, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            for shard in shards:
                _take_in(shard, new / shard.name)
            _sync(new)
            _exchange(new, path, old)
            _sync(path.parent)
        finally:
            if path.exists() or not old.exists():
                shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror or error}") from error


def require_replaceable(path: Path) -> None:
    """Makes sure that saving to a folder destroys nothing but an older set.

    Raises:
        Refused: if there is something else than a set, or files that are no part of one.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise Refused(f"cannot write a set to {path}: it is a file")
    names = sorted(entry.name for entry in path.iterdir())
    if not names:
        return
    strangers = [
        n for n in names if n not in FILES and not (n.startswith("replay-") and n.endswith(".safetensors"))
    ]
    if strangers:
        raise Refused(f"cannot write a set to {path}: it holds {strangers[0]}, which is no part of a set")
    if MANIFEST not in names or f'"{FORMAT}"'.encode() not in _read(path / MANIFEST, MAX_BYTES):
        raise Refused(f"cannot write a set to {path}: it is there already and is no {FORMAT}")


def read(path: Path, kind: str) -> tuple[AnyContent, dict[str, object], dict[str, Tensor]]:
    """Reads a set of one kind: its manifest and the tensors that it lists, under the hash that it records.

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


def read_manifest(path: Path) -> tuple[AnyContent, dict[str, object]]:
    """Reads a set's `set.json`.

    Raises:
        Refused: if there is none, or it is not one that this version reads.
    """
    if not path.exists():
        raise Refused(f"there is no folder {path}")
    if not path.is_dir():
        raise Refused(f"{path} is a file; a set is a folder that holds {MANIFEST} and {DATA}")
    if not (path / MANIFEST).exists():
        raise Refused(f"{path} is no {FORMAT}: there is no {MANIFEST} in it")
    return parse(_read(path / MANIFEST, MAX_BYTES), path / MANIFEST)


def read_tensors(path: Path, listed: Sequence[TensorPart]) -> dict[str, Tensor]:
    """Reads a set's `data.safetensors` into memory of its own.

    Args:
        path: The set's folder.
        listed: What the manifest says is in it.

    Raises:
        Refused: if it is missing, damaged, or holds other tensors than those listed.
    """
    file = path / DATA
    if not file.exists():
        raise Refused(f"{file} is missing")
    try:
        tensors = load(_read(file))
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise Refused(f"{file} is truncated or damaged: {error}") from error
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


def _read(file: Path, at_most: int | None = None) -> bytes:
    try:
        with open(file, "rb") as handle:
            data = handle.read(-1 if at_most is None else at_most + 1)
    except OSError as error:
        raise Refused(f"cannot read {file}: {error.strerror or error}") from error
    if at_most is not None and len(data) > at_most:
        raise Refused(f"{file} is longer than {at_most // 2**20} MiB, which no set's is")
    return data


def _take_in(file: Path, place: Path) -> None:
    """Gives a file a second place, without a second copy of its bytes where the disk can do that."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)
        with open(place, "rb+") as copied:
            os.fsync(copied.fileno())


def _exchange(new: Path, path: Path, aside: Path) -> None:
    """Gives the folder `new` the name `path`; what has that name goes to `aside`, or stays if this fails."""
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
    """Makes a folder's entries durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
