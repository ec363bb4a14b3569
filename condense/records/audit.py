"""Do the stored sets at hand hold what the records say of them?"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from condense.errors import Refused
from condense.records.record import Record, read_all
from condense.store import load
from condense.store.folder import MANIFEST, read_manifest


def audit(results: Path, folders: Iterable[Path]) -> int:
    """Recomputes from their files what records tell of stored sets: bytes by part, counts, labels.

    A set is compared with the records that bear its content hash; what no record judges is left alone.

    Args:
        results: Folder of records.
        folders: Folders that sets may lie in; one that is not there holds none.

    Returns:
        How many sets were compared.

    Raises:
        Refused: naming the record and what it tells otherwise, or the file of a set that is damaged.
    """
    judged: dict[str, list[Record]] = defaultdict(list)
    for record in read_all(results):
        if record.set is not None:
            judged[record.set.hash].append(record)
    found = sorted({manifest.parent for folder in folders for manifest in folder.glob(f"*/{MANIFEST}")})
    compared = 0
    for path in found:
        mine = judged.get(str(read_manifest(path)[1]["hash"]))
        if mine is None:
            continue
        held = load(path).facts()
        for record in mine:
            told = dict(_facts_in(record))
            for fact in sorted(held.keys() | told.keys()):
                if held.get(fact) != told.get(fact):
                    raise Refused(
                        f"the record of {record.dataset.name} {record.title} tells {told.get(fact)} for the "
                        f"{fact} of its set, but {path} holds {held.get(fact)}"
                    )
        compared += 1
    return compared


def _facts_in(record: Record) -> Iterator[tuple[str, object]]:
    """The same as a record has it; parts of no bytes are as good as none."""
    assert record.set is not None
    used = record.set
    yield from ((f"bytes of {part}", count) for part, count in used.bytes.items() if count)
    yield from (("count stored", used.counts.stored), ("count effective", used.counts.effective))
    yield "count per_class", list(used.counts.per_class)
    yield "label kind", used.label
    yield "steps taken back", used.rollbacks
    yield "bytes as dense floats", used.dense_bytes
