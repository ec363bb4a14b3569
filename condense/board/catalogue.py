"""The catalogue of the sets that records name, and the index of those that are stored beside the records."""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import quote

import pandas as pd

from condense.board.format import bytes_text, grid
from condense.catalogue.form import (
    CATALOGUE,
    SHIPPED,
    Catalogue,
    Score,
    SetEntry,
    order,
    read_catalogue,
    set_name,
    short_names,
)
from condense.errors import Refused
from condense.protocols import SUPERSEDED
from condense.store.head import read_head
from condense.store.manifest import CARD, GALLERY, MANIFEST, settings

INDEX = "INDEX.md"
PLAIN = "@+/"
"""Characters besides letters and digits that a link may have as they are."""
COLUMNS = [
    "dataset", "kind", "method", "chain", "ipc", "asked", "seed", "set_hash", "run_key", "record_key",
    "bytes", "protocol", "student", "target", "accuracy", "auc",
]  # fmt: skip
HEAD = """\
# Distilled sets

`condense leaderboard` writes this page and [{file}]({file}) from the records.
`condense.load("NAME")` and every command that takes the folder of a set find a set by its name, and
`condense sets` lists all names. A score is that of one protocol and student network; {file} has more.
"""


def catalogue_files(entries: pd.DataFrame, sets: Path) -> dict[Path, str]:
    """Returns the files that tell of the stored sets beside the records, with the content they should have.

    Args:
        entries: The entries of all records (`condense.records.frame.results`).
        sets: The folder of the stored sets. There are no such files if there is no such folder.

    Raises:
        Refused: if the catalogue of the sets that are installed with condense is there and damaged.
    """
    if not sets.is_dir():
        return {}
    made = list_sets(entries, stored_folders(sets))
    found = {
        sets / CATALOGUE: Catalogue(sets=made, url=_address(sets / CATALOGUE)).text(),
        sets / INDEX: index_text(made),
    }
    if (shipped := sets / SHIPPED).is_file():
        before = read_catalogue(shipped)
        chosen = {entry.full for entry in before.sets}
        kept = tuple(entry for entry in made if entry.full in chosen)
        found[shipped] = replace(before, sets=kept).text()
    return found


def list_sets(entries: pd.DataFrame, folders: Mapping[str, str]) -> tuple[SetEntry, ...]:
    """Returns an entry for each set that some record names.

    Args:
        entries: The entries of all records.
        folders: The folders of stored sets by their content hashes.
    """
    table = entries.loc[entries["set_hash"].notna(), COLUMNS].copy()
    table["bytes"] -= entries["bytes_validation"].fillna(0) if "bytes_validation" in entries else 0
    plain = table.astype(object).where(table.notna(), None)
    by_set: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in plain.itertuples(index=False):
        by_set[str(row.run_key), str(row.set_hash)].append(row)
    runs = Counter(run for run, _ in by_set)
    found = [_entry(rows, folders, runs) for _, rows in sorted(by_set.items())]
    return tuple(sorted(found, key=order))


def stored_folders(sets: Path) -> dict[str, str]:
    """Returns the names of the folders of stored sets by their content hashes; what is none is left out.

    Whether a set is what it says is for `condense.records.audit`: that takes torch, which no board waits for.
    """
    found = {}
    for file in sorted(sets.glob(f"*/{MANIFEST}")):
        try:
            found[str(read_head(file.parent)[1]["hash"])] = file.parent.name
        except Refused:
            continue
    return found


def index_text(sets: Sequence[SetEntry]) -> str:
    """Returns the index as Markdown: a row for each set that is at hand, and the number of all others."""
    short = short_names(sets)
    places = {entry.full: quote(entry.folder, safe=PLAIN) for entry in sets if entry.folder is not None}
    rows = [
        [
            f"`{short[entry.full]}`",
            str(entry.ipc),
            score_text(entry),
            bytes_text([entry.bytes]),
            f"[card]({places[entry.full]}/{CARD}), [gallery]({places[entry.full]}/{GALLERY})",
        ]
        for entry in sets
        if entry.full in places
    ]
    table = grid(["name", "IPC", "score in percent", "bytes", "more"], rows) if rows else "None is at hand.\n"
    others = Counter(entry.method for entry in sets if entry.folder is None)
    counts = ", ".join(f"{count} of {method}" for method, count in sorted(others.items()))
    told = f"\n{others.total()} more sets are named by their hash alone: {counts}.\n" if others else ""
    return f"{HEAD.format(file=CATALOGUE)}\n{table}{told}"


def score_text(entry: SetEntry) -> str:
    """Returns the first score of a set: ``70.0 (hard-v1, convnet, 5 students)``."""
    if not entry.scores:
        return "-"
    score = entry.scores[0]
    mean = f"{score.accuracy:.1f}" if score.auc is None else f"ROC-AUC {score.auc:.1f}"
    where = "" if score.target is None else f" to {score.target}"
    students = f"{score.students} student{'s' if score.students > 1 else ''}"
    return f"{mean} ({score.protocol}{where}, {score.student}, {students})"


def _entry(rows: Sequence[Any], folders: Mapping[str, str], runs: Mapping[str, int]) -> SetEntry:
    one = rows[0]
    return SetEntry(
        name=set_name(one.dataset, one.method, one.ipc, one.asked is not None),
        kind=one.kind, dataset=one.dataset, method=one.method, ipc=one.ipc, seed=one.seed, key=one.run_key,
        hash=one.set_hash, bytes=one.bytes, settings=settings(json.loads(one.chain)), scores=_scores(rows),
        folder=folders.get(one.set_hash), twin=runs[one.run_key] > 1 or None,
    )  # fmt: skip


def _scores(rows: Sequence[Any]) -> tuple[Score, ...]:
    """Returns a score for each protocol and target: of the network with most students, the first by name."""
    records: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        records[row.record_key].append(row)
    best: dict[tuple[str, str], list[Any]] = {}
    for found in sorted(records.values(), key=lambda found: (-len(found), found[0].student)):
        best.setdefault((found[0].protocol, found[0].target or ""), found)
    newest = sorted(best.items(), key=lambda item: (item[0][0] in SUPERSEDED, -len(item[1]), item[0]))
    return tuple(
        Score(
            protocol=found[0].protocol, student=found[0].student, students=len(found),
            accuracy=_mean([row.accuracy for row in found]), target=found[0].target,
            auc=None if found[0].auc is None else _mean([row.auc for row in found]),
        )
        for _, found in newest
    )  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    return round(fmean(values), 2)


def _address(catalogue: Path) -> str | None:
    """Returns the address that a catalogue has been given, which stays when it is written anew."""
    if not catalogue.is_file():
        return None
    try:
        return read_catalogue(catalogue).url
    except Refused as error:
        print(f"{error}; it is written anew, without an address", file=sys.stderr, flush=True)
        return None
