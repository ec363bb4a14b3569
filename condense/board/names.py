"""The names of rows: a method, with its settings or its protocol where these tell rows apart."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from condense.records.record import NO_PRETRAINING, WHOLE
from condense.store.manifest import settings

TITLES = {WHOLE: "whole training set", NO_PRETRAINING: "no pretraining"}
"""The names of rows of references, where they are not that of the reference."""


def named(entries: Sequence[Any]) -> list[str]:
    """Returns a name for each entry of a set: its method.

    Settings may differ from one IPC to another, as those of recipes do, and still share a row. If one IPC was
    run with several settings, the name tells all settings of that method apart.
    """
    chains: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for entry in entries:
        chains[entry.method][entry.chain].add(entry.ipc)
    told: dict[tuple[str, str], str] = {}
    for method, ipcs in chains.items():
        if sum(map(len, ipcs.values())) == len(set().union(*ipcs.values())):
            continue
        fields = {chain: _fields(chain) for chain in ipcs}
        known = sorted({field for values in fields.values() for field in values})
        differing = [name for name in known if len({values.get(name) for values in fields.values()}) > 1]
        for chain, values in fields.items():
            text = ", ".join(f"{name}={values[name]}" for name in differing if name in values)
            told[method, chain] = f"{method} ({text})"
    return [told.get((entry.method, entry.chain), entry.method) for entry in entries]


@lru_cache(maxsize=4096)
def _fields(chain: str) -> Mapping[str, str]:
    """Returns the settings of a chain that is JSON; the rows of several tables share one."""
    return settings(json.loads(chain))


def joined_name(method: str, names: Iterable[str]) -> str:
    """Returns the name of rows of a method as one: ``mtt (e / a)`` for ``mtt (e)`` and ``mtt (a)``.

    Args:
        method: The method.
        names: The short names of the rows, in order.
    """
    first, *others = dict.fromkeys(names)
    if not others:
        return first
    letters = [name.removeprefix(f"{method} (").removesuffix(")") for name in (first, *others)]
    return f"{method} ({' / '.join(letters)})"


NO_SET = " (no set)"
"""What marks a row among sets whose students are trained on real images instead."""


def marked(sets: Sequence[Any], protocol_hash: str) -> list[str]:
    """Returns the names of entries, with the protocol of those under another one than their table's."""
    return [
        name if entry.protocol_hash == protocol_hash else f"{name} ({entry.protocol})"
        for name, entry in zip(named(sets), sets, strict=True)
    ]


def titled(references: Sequence[Any]) -> list[str]:
    """Returns a name for each entry of a reference, with its protocol if the same reference has several."""
    protocols: dict[str, set[str]] = defaultdict(set)
    for entry in references:
        protocols[entry.method].add(entry.protocol_hash)
    return [
        TITLES.get(entry.method, entry.method)
        + f" ({entry.protocol} {entry.protocol_hash[:8]})" * (len(protocols[entry.method]) > 1)
        for entry in references
    ]
