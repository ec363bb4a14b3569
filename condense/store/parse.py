"""Reading the text of a `set.json`. The kind of a set decides which form its content must have."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from condense.errors import Refused
from condense.store.graphs.manifest import GraphContent, find_graph_content_error
from condense.store.images.manifest import ImageContent, find_image_content_error
from condense.store.manifest import FORMAT, VERSION, SetContent, find_form_error

FORMS: Mapping[str, tuple[type, Callable[[Any], str | None]]] = {
    "images": (ImageContent, find_image_content_error),
    "graphs": (GraphContent, find_graph_content_error),
}
"""For each kind of set, the form of its content and the function that checks what the form leaves open."""


def find_content_error(content: Mapping[str, object], kind: str) -> str | None:
    """Says why this version cannot read a content as one of a set of a kind, or returns None if it can."""
    form, find_more = FORMS[kind]
    if wrong := find_form_error(content, form, "content"):
        return wrong
    if content["kind"] != kind:
        return f"content.kind is {content['kind']}, not {kind}"
    return find_more(content)


def parse_manifest(text: bytes, file: Path) -> tuple[SetContent, dict[str, object]]:
    """Reads a manifest and checks its form; whether it is true of the tensors is checked later.

    Args:
        text: The bytes of the file.
        file: The path of the file, for a refusal.

    Returns:
        The content and the provenance.

    Raises:
        Refused: if the text is no manifest, or one that this version cannot read.
    """
    try:
        whole = json.loads(text, parse_constant=_refuse_constant)
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
    if (kind := str(content.get("kind", "images"))) not in FORMS:
        raise Refused(f"{file}: this condense reads sets of {' and '.join(FORMS)}, not of {kind}")
    if wrong := find_content_error(content, kind):
        raise Refused(f"{file}: {wrong}")
    return cast(SetContent, content), provenance


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
