"""The results of a board as the rows of a web page: one for each cell of its tables.

A row stands for one method at one size with one student network under one protocol. A reference stands in
many tables of a board and is one row here, which names the protocols of all of them.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from condense.board.asked import asked_of, draws_of
from condense.board.cells import TableCell
from condense.board.federated import federated_tables
from condense.board.format import bytes_text, mebibytes, paper_text, score, seconds, units
from condense.board.tables import LAYOUTS, gather, published, superseded
from condense.board.web.commands import file_of, run_command, same_again
from condense.records.frame import frame
from condense.records.record import NO_STUDENT, Record
from condense.store.foreign.importing import IMPORTED
from condense.store.manifest import settings

Json = dict[str, Any]

USUAL_SPACES = ("normalized", "multi-hot")
"""The pixel spaces that a row does not name."""
KINDS = ("distilled", "selection", "imported", "training", "federated", "reference")
"""What a row may be, in the order of the page's filter."""


@dataclass(frozen=True)
class _Place:
    """A cell of a table.

    Attributes:
        name: The method, followed by the fields that differ if it was run with several settings.
        protocol: Name of the table's protocol.
        newer: The later version of the protocol, if that has results on the same data.
        own: Whether the cell's students were trained under the table's protocol.
    """

    name: str
    protocol: str
    newer: str | None
    own: bool


def page_values(
    records: Sequence[Record],
    *,
    folder: str,
    selecting: Collection[str],
    pictures: Mapping[str, str],
) -> Json:
    """Returns everything that the page tells, as JSON values.

    Args:
        records: All records, in any order, on which the result does not depend.
        folder: Name of the results folder, as commands are told it.
        selecting: Names of the methods that choose real samples.
        pictures: Addresses of the pictures of sets, relative to the page, by the hash of the set.

    Returns:
        ``rows``; and ``machines``, the devices and versions that the students of the rows refer to by number.
    """
    by_key = {record.evaluation_key(): record for record in records}
    machines: dict[str, int] = {}
    told: list[Json] = []
    rows = []
    several = _shared_names(records)
    for cell, places in _cells(records):
        mine = [by_key[entry.record_key] for entry in cell.records]
        row = _row(cell, places, mine[0], selecting, several)
        row["records"] = [_record(record, folder, machines, told, pictures) for record in mine]
        row["commands"] = [one for one in (same_again(mine[0], folder), run_command(mine[0])) if one]
        rows.append(row)
    rows.sort(key=_order)
    return {"kinds": list(KINDS), "machines": told, "rows": rows}


def _shared_names(records: Sequence[Record]) -> set[str]:
    """Returns the names that several datasets have."""
    data = {(one.dataset.name, one.dataset.train_hash, one.dataset.test_hash) for one in records}
    names = [name for name, *_ in data]
    return {name for name in names if names.count(name) > 1}


def _order(row: Json) -> tuple[Any, ...]:
    """Returns what rows are sorted by: images first, references last, and within a group the best first."""
    return (
        tuple(LAYOUTS).index(row["data"]),
        row["dataset"],
        row["kind"] == "reference",
        row["newer"] is not None,
        row["protocol"],
        row["student"],
        row["x"] is None,
        row["x"] or 0,
        row["size"],
        row["missing"] is not None,
        -row["score"],
        row["id"],
    )


def _cells(records: Sequence[Record]) -> Iterator[tuple[TableCell, list[_Place]]]:
    """Yields each cell of the board's tables once, with all places where it stands."""
    entries = frame(records)
    tables = gather(entries)
    newer = superseded(tables)
    found: dict[frozenset[str], TableCell] = {}
    places: dict[frozenset[str], list[_Place]] = defaultdict(list)

    def add(cell: TableCell, name: str, protocol: str, protocol_hash: str, later: str | None = None) -> None:
        one = frozenset(entry.record_key for entry in cell.entries)
        found.setdefault(one, cell)
        own = cell.entries[0].protocol_hash == protocol_hash
        places[one].append(_Place(name, protocol, later, own))

    for table in tables:
        for row in table.rows:
            for cell in row.cells.values():
                add(cell, row.name, table.key.protocol, table.key.protocol_hash, newer.get(table.key))
    for rows in published(entries).values():
        for key, row in rows:
            for cell in row.cells.values():
                add(cell, row.name, key.protocol, key.protocol_hash)
    for federation in federated_tables(entries):
        for name, cell in federation.rows:
            add(cell, name, federation.key.protocol, federation.key.protocol_hash)
    for one, cell in found.items():
        yield cell, sorted(places[one], key=lambda place: (not place.own, place.protocol))


def _row(
    cell: TableCell,
    places: Sequence[_Place],
    record: Record,
    selecting: Collection[str],
    several: Collection[str],
) -> Json:
    """Returns a row without its records."""
    one, first = cell.entries[0], places[0]
    size, x = _size(record, one.room)
    name = record.dataset.name
    data = f"{name} (train {record.dataset.train_hash[:8]})" if name in several else name
    target = "" if record.target is None else f" → {record.target.name}"
    asked = asked_of(one)
    done = sum(cell.students)
    title, _, short = first.name.partition(" (")
    few = asked is not None and done < asked.students
    what = "students" if one.reference or draws_of(one.method) == 1 else "sets"
    read = record.training.bytes if record.training else None
    held = sum(cell.bytes.values()) if cell.bytes else read
    return {
        "id": min(entry.record_key for entry in cell.records)[:12],
        "data": record.dataset.kind,
        "dataset": data + target,
        "method": record.method.name,
        "title": title,
        "short": short.removesuffix(")"),
        "more": _more(record),
        "kind": _kind(record, selecting),
        "size": size,
        "x": x,
        "protocol": record.protocol.name,
        "protocols": sorted({place.protocol for place in places} | {record.protocol.name}),
        "newer": first.newer if first.own else None,
        "student": record.student,
        "anywhere": record.student == NO_STUDENT,
        "score": cell.mean,
        "half": cell.half,
        "n": len(cell.units),
        "measure": "accuracy" if one.auc is None else "ROC-AUC",
        "accuracy": cell.accuracy,
        "papers": [
            {
                "value": paper.value, "error": paper.error, "text": paper_text(paper, error=True),
                "source": paper.source, "protocol": paper.protocol, "verified": paper.verified,
            }
            for paper in cell.papers
        ],
        "bytes": None if held is None else int(held),
        "parts": {part: int(count) for part, count in cell.bytes.items() if count},
        "seconds": cell.seconds,
        "sets": 0 if record.kind == "reference" else len(cell.students),
        "students": done,
        "missing": f"{done} of {asked.students} {what}" if asked is not None and few else None,
        "text": {
            "score": score(cell),
            "bytes": "-" if held is None else bytes_text([int(held)]),
            "seconds": seconds(cell),
            "units": units(cell).replace(" x ", " × "),
            "memory": mebibytes(cell),
        },
        "settings": settings(record.method.chain),
        "source": record.method.source,
        "label": one.label,
        "counts": [list(pair) for pair in cell.counts],
        "device": one.distil_device,
        "notes": list(record.dataset.notes),
        "hashes": {
            "training split": record.dataset.train_hash,
            "test split": record.dataset.test_hash,
            "protocol": record.protocol.hash,
        },
    }  # fmt: skip


def _size(record: Record, room: int | None) -> tuple[str, float | None]:
    """Returns IPC, share of the images or bytes as text; and IPC or percent as a number."""
    if record.fraction is not None:
        return f"{100 * record.fraction:g} %", 100 * record.fraction
    if room is not None:
        return bytes_text([int(room)]), None
    if record.kind == "reference":
        return "", None
    return str(record.ipc) + " by class" * bool(record.asked), float(record.ipc)


def _more(record: Record) -> str:
    """Returns what tells the results of a row from others of the same dataset, protocol and student."""
    parts = [] if record.space in USUAL_SPACES or record.student == NO_STUDENT else [f"{record.space} pixels"]
    parts += [f"teacher {record.teacher[:8]}"] if record.teacher else []
    parts += [record.federation.split] if record.federation else []
    return ", ".join(parts)


def _kind(record: Record, selecting: Collection[str]) -> str:
    """Returns one of `KINDS`."""
    if record.kind in ("reference", "federated", "training"):
        return record.kind
    if record.method.name.startswith(IMPORTED):
        return "imported"
    return "selection" if record.method.name.partition("+")[0] in selecting else "distilled"


def _record(
    record: Record, folder: str, machines: dict[str, int], told: list[Json], pictures: Mapping[str, str]
) -> Json:
    """Returns one set or training with its students, and adds machines that are new to the list."""
    students = []
    for entry in record.entries:
        machine = {"device": entry.device, "threads": entry.threads, "versions": dict(entry.versions)}
        key = repr(sorted((name, str(value)) for name, value in machine.items()))
        if key not in machines:
            machines[key] = len(told)
            told.append(machine)
        students.append([entry.seed, entry.score, entry.seconds, machines[key], entry.time])
    made = record.set
    return {
        "file": file_of(record, folder),
        "seed": record.seed,
        "run": record.key,
        "set": made.hash if made else None,
        "picture": pictures.get(made.hash) if made else None,
        "students": students,
    }
