"""Records as one pandas table, in which each row is an entry: one student that was trained and tested."""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from condense.files import canonical
from condense.records.equal_bytes import needed_bytes, room_of, samples_seen
from condense.records.record import Entry, Record, each_record
from condense.store.manifest import settings

DTYPES = (
    {name: "string" for name in ("dataset", "kind", "train_hash", "test_hash", "method", "settings", "chain")}
    | {"source": "string", "ipc": "int64", "asked": "string", "seed": "int64", "reference": "bool"}
    | {"fraction": "float64", "touched": "Int64", "touched_images": "Int64", "touched_whole": "boolean"}
    | {"steps": "Int64", "target": "string", "target_hash": "string"}
    | {"set_hash": "string", "label": "string", "stored": "Int64", "effective": "Int64", "bytes": "Int64"}
    | {"needed": "Int64", "room": "Int64", "seen": "Int64"}
    | {"dense_bytes": "Int64", "rollbacks": "Int64", "distil_seconds": "float64", "peak_bytes": "Int64"}
    | {"distil_device": "string", "protocol": "string", "protocol_hash": "string", "whole": "bool"}
    | {"stored_labels": "bool", "student": "string", "space": "string", "teacher": "string"}
    | {"teacher_bytes": "Int64", "teacher_accuracy": "float64"}
    | {"paper": "float64", "paper_error": "float64", "paper_source": "string", "paper_protocol": "string"}
    | {"paper_verified": "boolean", "eval_seed": "int64"}
    | {name: "float64" for name in ("accuracy", "auc", "size_correlation", "score", "seconds")}
    | {"curve": "string", "split": "string", "clients": "string"}
    | {name: "Int64" for name in ("up_bytes", "down_bytes", "lost")}
    | {"device": "string", "threads": "int64", "versions": "string", "time": "string"}
    | {name: "string" for name in ("run_key", "record_key", "evaluation_key")}
)
"""The columns that every table has, and their types."""


def results(folder: Path) -> pd.DataFrame:
    """Reads the records of a results folder as one table.

    Each row is an entry. Values that are unknown or do not apply are missing (NA or NaN).

    - ``dataset``, ``kind`` (images or graphs), ``train_hash``, ``test_hash``: the data.
    - ``method``, ``settings`` (``field=value`` as text), ``chain`` (the same as JSON, for each wrapper too),
      ``source`` (of a published recipe), ``ipc``, ``asked`` (JSON: the samples of each class that were asked
      for, if they are not ``ipc`` of each), ``seed`` (of the distillation), ``reference`` (whether there is
      no distilled set; ``ipc`` is 0 then).
    - ``set_hash``, ``label`` (kind of labels), ``stored`` and ``effective`` (numbers of samples stored, and
      trained on), ``bytes``, ``bytes_PART`` for each part that a set of the table has (``validation`` is the
      data that select the students' best step), ``dense_bytes``, ``rollbacks``,
      ``distil_seconds``, ``peak_bytes``, ``distil_device``: the set and its distillation.
    - ``needed`` (bytes that training on the set takes: ``bytes``, and a teacher that labels meanwhile),
      ``room`` (bytes that a coreset was made to fill), ``seen`` (samples that a student sees, all passes).
    - ``fraction`` (share of the training images that an epoch trains on, in place of ``ipc``, which is 0
      then), ``touched`` (bytes of training data that a student reads), ``touched_images``, ``touched_whole``
      (whether they are the whole training split), ``steps``: a training without a set, whose selection took
      ``distil_seconds``.
    - ``target``, ``target_hash`` (of both splits): the data that a student of a set is trained on afterwards,
      and tested on. The columns of the dataset are those of the set's.
    - ``protocol``, ``protocol_hash``, ``whole`` (whether it trains on the whole training set),
      ``stored_labels`` (whether it trains on labels that the set stores), ``student``, ``space`` (of pixels),
      ``teacher`` (hash), ``teacher_bytes``, ``teacher_accuracy``: how the student was trained.
    - ``paper``, ``paper_error``, ``paper_source``, ``paper_protocol``, ``paper_verified``: a published score.
    - ``eval_seed``, ``accuracy``, ``auc``, ``score`` (the AUC if there is one, else the accuracy), all in
      percent; ``size_correlation`` (of a student's scores of graphs with their numbers of nodes);
      ``seconds``, ``device``, ``threads``, ``versions`` (JSON), ``time``, ``curve`` (JSON: a list of step,
      seconds and accuracy on validation images): the entry.
    - ``split`` (how the clients of a federation were named), ``clients`` (JSON: a list of a client's name and
      the accuracy on its test images), ``up_bytes`` and ``down_bytes`` (sent by the clients and by the
      server), ``lost`` (messages to clients that were not answered): a federation.
    - ``run_key``, ``record_key`` (shared by all entries of a record), ``evaluation_key``: the hashes.

    Args:
        folder: The results folder; one without records gives a table without rows.

    Raises:
        Refused: if a record cannot be read.
    """
    return frame(each_record(folder))


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """Returns the entries of records in their order as a table with the columns of `results`.

    What entries share is kept once for each record, and equal texts are one object in memory: a column of
    repeated texts takes eight bytes a row. The records may be an iterator; none of them is kept.
    """
    shared, own, counts = _Columns(), _Columns(), list[int]()
    for record in records:
        shared.add(_shared(record))
        counts.append(len(record.entries))
        keys = record.evaluation_keys(entry.seed for entry in record.entries)
        for entry, key in zip(record.entries, keys, strict=True):
            own.add(_own(entry) | {"evaluation_key": key})
    of_records, of_entries = shared.done(), own.done()
    parts = sorted({*of_records, *of_entries} - set(DTYPES))
    made = {}
    for name, dtype in (DTYPES | dict.fromkeys(parts, "Int64")).items():
        if name in of_records:
            made[name] = _array(of_records.pop(name), dtype).repeat(counts)
        else:
            made[name] = _array(of_entries.pop(name, [None] * sum(counts)), dtype)
    return pd.DataFrame(made)


class _Columns:
    """Lists of values by name, one longer with each row; what a row does not tell is None.

    Rows are kept as they come, as long as they have the same names, and turned into columns together.
    """

    def __init__(self) -> None:
        self._columns: dict[str, list[object]] = {}
        self._texts: dict[object, object] = {}
        self._names: tuple[str, ...] = ()
        self._rows: list[Iterable[object]] = []
        self._count = 0

    def add(self, row: Mapping[str, object]) -> None:
        if (names := tuple(row)) != self._names or len(self._rows) >= AT_ONCE:
            self._turn()
            self._names = names
        self._rows.append(row.values())

    def _turn(self) -> None:
        told = dict(zip(self._names, zip(*self._rows, strict=True), strict=True)) if self._rows else {}
        for name in told.keys() - self._columns.keys():
            self._columns[name] = [None] * self._count
        for name, column in self._columns.items():
            values: Iterable[object] = told.get(name, (None,) * len(self._rows))
            if DTYPES.get(name) == "string" and name not in UNIQUE:
                values = [self._texts.setdefault(value, value) for value in values]
            column += values
        self._count += len(self._rows)
        self._rows = []

    def done(self) -> dict[str, list[object]]:
        """Returns the columns."""
        self._turn()
        return self._columns


AT_ONCE = 1024
"""Rows that are turned into columns together."""
UNIQUE = ("record_key", "evaluation_key")
"""Columns of texts of which a table hardly ever has two equal ones."""


def _array(values: list[Any], dtype: Any) -> Any:
    """Returns a column; texts stay Python's, so that equal ones can share their memory."""
    if dtype == "string":
        return pd.array(values, dtype=pd.StringDtype("python", na_value=pd.NA))
    return pd.Series(values, dtype=object).astype(dtype).array


def _shared(record: Record) -> dict[str, object]:
    """Returns what all entries of a record have in common, by column."""
    data, protocol, paper = record.dataset, record.protocol, record.paper
    same = ("ipc", "fraction", "seed", "student", "space", "teacher", "teacher_bytes", "teacher_accuracy")
    chain, told = _told_of(msgspec.json.encode(record.method.chain))
    shared: dict[str, object] = {name: getattr(record, name) for name in same} | {
        "kind": data.kind,
        "train_hash": data.train_hash,
        "test_hash": data.test_hash,
        "dataset": data.name,
        "method": record.method.name,
        "settings": told,
        "chain": chain,
        "source": record.method.source,
        "reference": record.kind == "reference",
        "split": record.federation.split if record.federation else None,
        "protocol": protocol.name,
        "protocol_hash": protocol.hash,
        "whole": bool(protocol.whole),
        "stored_labels": protocol.labels == "stored",
        "asked": canonical(record.asked) if record.asked else None,
        "run_key": record.key,
        "record_key": record.evaluation_key(),
    }
    sizes: dict[str, int] = {}
    if made := record.set:
        sizes |= made.bytes
        shared |= {name: getattr(made, name) for name in ("label", "dense_bytes", "rollbacks", "peak_bytes")}
        shared |= {"stored": made.counts.stored, "effective": made.counts.effective}
        shared |= {"set_hash": made.hash, "distil_seconds": made.seconds, "distil_device": made.device}
        shared |= {"needed": needed_bytes(record), "room": room_of(record.method.chain)}
        shared["seen"] = None if record.target else samples_seen(protocol, made.counts.effective)
    if read := record.training:
        shared |= {"touched": read.bytes, "touched_images": read.images, "touched_whole": read.whole}
        shared |= {"steps": read.steps, "distil_seconds": read.seconds}
    if other := record.target:
        shared |= {"target": other.name, "target_hash": other.hash}
    if record.valid_bytes:
        sizes["validation"] = record.valid_bytes
    if sizes:
        shared |= {"bytes": sum(sizes.values())} | {f"bytes_{part}": size for part, size in sizes.items()}
    if paper:
        shared |= {"paper": paper.value} | {f"paper_{name}": told for name, told in vars(paper).items()}
        del shared["paper_value"]
    return shared


@lru_cache(maxsize=4096)
def _told_of(chain: bytes) -> tuple[str, str]:
    """Returns a method's chain as canonical JSON, and its settings as text; many records share one."""
    links = json.loads(chain)
    return canonical(links), " ".join(f"{field}={value}" for field, value in settings(links).items())


def _own(entry: Entry) -> dict[str, object]:
    """Returns what an entry tells, by column."""
    told = {name: value for name, value in vars(entry).items() if name != "seed"}
    return told | {
        "eval_seed": entry.seed,
        "score": entry.score,
        "curve": _curve(entry),
        "clients": _clients(entry),
        "versions": _text_of(msgspec.json.encode(entry.versions)),
    }


@lru_cache(maxsize=4096)
def _text_of(value: bytes) -> str:
    """Returns a JSON value as canonical text; many entries share one."""
    return canonical(json.loads(value))


def _curve(entry: Entry) -> str | None:
    points = [[point.step, point.seconds, point.accuracy] for point in entry.curve]
    return canonical(points) if points else None


def _clients(entry: Entry) -> str | None:
    scores = [[client.name, client.accuracy] for client in entry.clients]
    return canonical(scores) if scores else None
