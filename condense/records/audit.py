"""Compares stored sets with the records that were made of them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from condense.errors import Refused
from condense.records.folder import read_records
from condense.records.record import Record
from condense.store import load
from condense.store.folder import read_manifest
from condense.store.manifest import MANIFEST


def audit(results: Path, folders: Iterable[Path]) -> int:
    """Checks what records state of stored sets (bytes, counts, kind of labels) against the files of the sets.

    A set is compared with the records that have its content hash. A set without records is skipped.

    Args:
        results: Folder of records.
        folders: Folders that stored sets may lie in; they need not exist.

    Returns:
        The number of sets that were compared.

    Raises:
        Refused: if a record disagrees with its set, or the files of a set are damaged.
    """
    by_set: dict[str, list[Record]] = defaultdict(list)
    for record in read_records(results):
        if record.set is not None:
            by_set[record.set.hash].append(record)
    compared = 0
    for path in sorted({manifest.parent for folder in folders for manifest in folder.glob(f"*/{MANIFEST}")}):
        records = by_set.get(str(read_manifest(path)[1]["hash"]), [])
        held = load(path).facts() if records else {}
        for record in records:
            stated = dict(_facts_in(record))
            for fact in sorted(held.keys() | stated.keys()):
                if held.get(fact) != stated.get(fact):
                    raise Refused(
                        f"the record of {record.dataset.name} {record.title} states {stated.get(fact)} "
                        f"for the {fact} of its set, but {path} holds {held.get(fact)}"
                    )
        compared += bool(records)
    return compared


def _facts_in(record: Record) -> Iterator[tuple[str, object]]:
    assert record.set is not None
    used = record.set
    yield from ((f"bytes of {part}", count) for part, count in used.bytes.items() if count)
    yield from (("count stored", used.counts.stored), ("count effective", used.counts.effective))
    yield "count per_class", list(used.counts.per_class)
    if record.asked:
        yield "count asked", list(record.asked)
    yield "label kind", used.label
    yield "steps taken back", used.rollbacks
    yield "bytes as dense floats", used.dense_bytes
