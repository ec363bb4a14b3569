"""Downloads the folder of a set into the home folder; it is used only if its content has the known hash."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, cast
from urllib import request
from urllib.error import URLError

from condense.catalogue.form import SetEntry
from condense.errors import Refused
from condense.files import first_line, home, locked, require_writable, safe_name
from condense.store import examine
from condense.store.folder import read_manifest
from condense.store.manifest import CARD, DATA, GALLERY, MANIFEST, MAX_BYTES

TIMEOUT = 20.0
"""Seconds that a server may say nothing."""
PATIENCE = 60.0
"""Seconds for a set of no size."""
SLOWEST = 50_000
"""Bytes in a second that a larger set needs."""
BESIDE = 2**20
"""Bytes that a file of tensors may have besides its tensors, for its header."""
CHUNK = 2**16
HANDLERS = (
    request.ProxyHandler, request.HTTPHandler, request.HTTPSHandler, request.HTTPRedirectHandler,
    request.HTTPDefaultErrorHandler, request.HTTPErrorProcessor, request.UnknownHandler,
)  # fmt: skip
"""What may be done with an address: it names no local file and no FTP server, not after a redirect either."""


def download(entry: SetEntry, url: str, source: Path) -> Path:
    """Downloads a set, unless another process has done so meanwhile.

    The files are written to a folder beside the place, which takes its name once the hash is known to be
    right: nothing else is left of a set that is refused.

    Args:
        entry: The set.
        url: The address of its folder.
        source: The catalogue that names both, for refusals.

    Returns:
        The folder, below ``sets`` in the home folder.

    Raises:
        Refused: if the files cannot be had, are too large, or are not those of the set.
    """
    name = f"{entry.name.replace('/', '-')}-seed{entry.seed}-{entry.key[:8]}"
    place = Path(os.path.realpath(home() / "sets")) / safe_name(name)
    require_writable(place.parent)
    with locked(place, what=f"downloads {place}"):
        if os.path.lexists(place):
            if (held := read_manifest(place)[1]["hash"]) != entry.hash:
                raise Refused(f"{place} holds another set than {source} names ({held}): move it away")
            return place
        print(f"downloading {entry.full} ({entry.bytes} bytes) from {url}", file=sys.stderr, flush=True)
        try:
            part = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}.", suffix=".part"))
            try:
                _fetch(entry, url, part / "new")
                os.rename(part / "new", place)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        except OSError as error:
            raise Refused(f"cannot write {place}: {error.strerror or error}") from error
    return place


def _fetch(entry: SetEntry, url: str, new: Path) -> None:
    """Downloads the files of a set to a new folder and checks them."""
    ends, most = time.monotonic() + PATIENCE + entry.bytes / SLOWEST, entry.bytes + BESIDE
    new.mkdir()
    _save(f"{url}/{MANIFEST}", new / MANIFEST, MAX_BYTES, ends)
    try:
        content, provenance = read_manifest(new)
        if (found := provenance["hash"]) == entry.hash:
            shards = cast(Mapping[str, Any], content).get("replay", [])
            for name in (DATA, *(shard["file"] for shard in shards)):  # read_manifest has checked the names
                most -= _save(f"{url}/{name}", new / name, most, ends)
                most += BESIDE
            for name in (CARD, GALLERY):
                _save(f"{url}/{name}", new / name, MAX_BYTES, ends)
            found = examine(new).hash
    except Refused as error:
        raise Refused(str(error).replace(str(new), url)) from error
    if found != entry.hash:
        raise Refused(f"{url} holds the set {str(found)[:8]}, not {entry.hash[:8]}, which is {entry.full}")


def _save(url: str, file: Path, at_most: int, ends: float) -> int:
    """Downloads a file and returns its size in bytes."""
    size = 0
    with open(file, "wb") as out:
        for chunk in _chunks(url, ends):
            size += len(chunk)
            if size > at_most:
                raise Refused(f"{url} has more than the {at_most} bytes that the set can need")
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return size


def _chunks(url: str, ends: float) -> Iterator[bytes]:
    opener = request.OpenerDirector()
    for handler in HANDLERS:
        opener.add_handler(handler())
    try:
        with opener.open(url, timeout=TIMEOUT) as answer:
            while chunk := answer.read1(CHUNK):
                if time.monotonic() > ends:
                    raise Refused(f"cannot download {url}: it takes too long")
                yield chunk
            if answer.length:
                raise Refused(f"cannot download {url}: {answer.length} bytes of it are missing")
    except (OSError, HTTPException, ValueError) as error:
        told = error.reason if isinstance(error, URLError) and isinstance(error.reason, OSError) else error
        raise Refused(f"cannot download {url}: {first_line(told)}") from error
