"""Reading `set.json`: the kind of a set decides which form its content must have."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from condense.errors import Refused
from condense.store import manifest
from condense.store.graphs import manifest as graph_manifest
from condense.store.graphs.manifest import GraphContent
from condense.store.manifest import FORMAT, VERSION, ImageContent

AnyContent = ImageContent | GraphContent
"""The content of a manifest, of whichever kind."""

UNREADABLE: dict[str, Callable[[Mapping[str, object]], str | None]] = {
    "images": manifest.unreadable,
    "graphs": graph_manifest.unreadable,
}
"""For each kind what says where a content is not of its form."""


def parse(text: bytes, file: Path) -> tuple[AnyContent, dict[str, object]]:
    """Reads a manifest and checks its form, not its truth.

    Args:
        text: What the file holds.
        file: Its path, for the sentence of a refusal.

    Returns:
        The content and the provenance.

    Raises:
        Refused: if this is no manifest, or one that this version cannot read.
    """
    try:
        whole = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{file} is not JSON: {error}") from error
    content = whole.get("content") if isinstance(whole, dict) else None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise Refused(f"{file} is not the manifest of a {FORMAT}")
    version = content.get("version")
    if isinstance(version, int) and version > VERSION:
        raise Refused(
            f"{file}: this set is of version {version}; "
            f"this condense reads version {VERSION}: update condense"
        )
    if type(version) is not int or version != VERSION:
        raise Refused(
            f"{file}: {version!r} is no version of a {FORMAT}; this condense reads version {VERSION}"
        )
    provenance = whole.get("provenance")
    if not isinstance(provenance, dict) or not isinstance(provenance.get("hash"), str):
        raise Refused(f"{file}: provenance.hash is missing")
    if (kind := str(content.get("kind", "images"))) not in UNREADABLE:
        raise Refused(f"{file}: this condense reads sets of {' and '.join(UNREADABLE)}, not of {kind}")
    if wrong := UNREADABLE[kind](content):
        raise Refused(f"{file}: {wrong}")
    return cast(AnyContent, content), provenance


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
