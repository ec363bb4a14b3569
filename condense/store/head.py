"""What a set's folder is and holds, as far as its `set.json` tells without torch."""

import os
from pathlib import Path
from typing import Any

from condense.errors import Refused
from condense.reading import parse_json, read_file, require_version
from condense.store.manifest import DATA, FORMAT, MANIFEST, MAX_BYTES, VERSION


def read_head(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads a set's `set.json`, and checks that it is one, and of a version that this condense reads.

    `condense.store.folder.read_manifest` checks all that it says.

    Args:
        path: The set's folder.

    Returns:
        The content and the provenance, which has the content hash.

    Raises:
        Refused: if there is no manifest, or this version cannot read it.
    """
    file = path / MANIFEST
    if not os.path.lexists(path):
        raise Refused(f"there is no folder {path}")
    if os.path.isfile(path):
        raise Refused(f"{path} is a file; a set is a folder that holds {MANIFEST} and {DATA}")
    if os.path.isdir(path) and os.access(path, os.X_OK) and not os.path.lexists(file):
        raise Refused(f"{path} is no {FORMAT}: there is no {MANIFEST} in it")
    whole = parse_json(read_file(file, MAX_BYTES), f"{file}")
    content = whole.get("content") if isinstance(whole, dict) else None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise Refused(f"{file} is not the manifest of a {FORMAT}")
    require_version(content.get("version"), VERSION, file, FORMAT, "set")
    provenance = whole.get("provenance")
    if not isinstance(provenance, dict) or not isinstance(provenance.get("hash"), str):
        raise Refused(f"{file}: provenance.hash is missing")
    return content, provenance
