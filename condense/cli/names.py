"""What has a name, kept in the home folder, so that neither a listing nor a shell waits for torch.

`condense.runner.names` finds it out, for which it imports all methods. That stays valid until a file of
condense, or another package with methods or networks, changes.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from condense.errors import Refused
from condense.files import digest, home, safe_name, state_of, write_atomic

ROOMS = ("condense", "condense.methods", "condense.benchmarks")
GROUPS = ("condense.methods", "condense.networks")
"""The entry-point groups for methods and networks of other packages."""


def overview() -> list[dict[str, Any]]:
    """Returns what `condense.runner.names.overview` does."""
    found: list[dict[str, Any]] | None = _kept("overview")
    if found is None:
        from condense.runner import names

        found = names.overview()
        _keep("overview", found)
        _keep("described", names.everything())
    return found


def described(name: str) -> list[dict[str, Any]]:
    """Returns what `condense.runner.names.described` does, and refuses what it refuses."""
    every: dict[str, list[dict[str, Any]]] = _kept("described") or {}
    if name in every:
        return every[name]
    place = f"described-{safe_name(name)}"
    found = _kept(place)
    if found is None or found["name"] != name:
        from condense.runner import names

        found = {"name": name, "entries": names.described(name)}
        _keep(place, found)
        if not every:
            _keep("described", names.everything())
    entries: list[dict[str, Any]] = found["entries"]
    return entries


def completing(*kinds: str) -> Callable[[str], Iterator[str]]:
    """Returns what completes names in a shell, once ``condense list`` has found them out.

    Args:
        *kinds: The kinds of things, as in `overview`; with ``wrapper``, links behind a ``+`` too.
    """

    def complete(incomplete: str) -> Iterator[str]:
        host, plus, start = incomplete.rpartition("+")
        for one in _kept("overview") or []:
            name = str(one["name"])
            if one["kind"] in kinds and not plus and name.startswith(start) and name[0] != "+":
                yield name.partition("@")[0]
            if plus and "wrapper" in kinds and one["kind"] in ("wrapper", "federated"):
                if (link := name.removeprefix("+")).startswith(start):
                    yield f"{host}+{link}"

    return complete


def _place(name: str) -> Path:
    return home() / "names" / f"{name[:200]}.json"


def _kept(name: str) -> Any:
    """Returns what was kept under a name for the files that there are now; None if there is nothing."""
    with suppress(OSError, ValueError, KeyError, TypeError, Refused):
        found = json.loads(_place(name).read_text(encoding="utf-8"))
        if found["key"] == _key():
            return found["values"]
    return None


def _keep(name: str, values: object) -> None:
    with suppress(Refused):  # without a home folder that can be written, it is found out again each time
        write_atomic(_place(name), json.dumps({"key": _key(), "values": values}))


def _key() -> str:
    """Returns a hash of the times and sizes of all files that names come from, and of other packages."""
    files = [path for room in ROOMS for path in _folder(room).rglob("*")]
    sources = [path for path in files if path.suffix in (".py", ".csv")]
    found: list[object] = []
    for group in GROUPS:
        for entry in sorted(entry_points(group=group)):
            found.append([entry.name, entry.value, entry.dist and entry.dist.version])
            with suppress(ImportError, ValueError):
                spec = find_spec(entry.value.partition(":")[0].partition(".")[0])
                sources += [Path(spec.origin)] if spec and spec.origin else []
    return digest([found, state_of(sorted(set(sources)))])


def _folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent
