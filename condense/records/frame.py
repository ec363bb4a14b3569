"""Records as one pandas table, in which each row is an entry: one student that was trained and tested."""

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import pandas as pd

from condense.crew import Crew, uncollected
from condense.files import canonical
from condense.records.equal_bytes import needed_bytes, room_of, samples_seen
from condense.records.folder import Met, record_files
from condense.records.readings import Readings, keep, load
from condense.records.record import Entry, Record, read_record
from condense.store.manifest import settings

T = TypeVar("T")

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
    | {"curve": "string", "curve_part": "Int64", "split": "string", "clients": "string"}
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
    - ``fraction`` (share of the training images without the validation part that an epoch trains on, in
      place of ``ipc``, which is 0 then), ``touched`` (bytes of training data that a student reads),
      ``touched_images``, ``touched_whole`` (whether they are the whole training split), ``steps``: a training
      without a set, whose selection took ``distil_seconds``.
    - ``target``, ``target_hash`` (of both splits): the data that a student of a set is trained on afterwards,
      and tested on. The columns of the dataset are those of the set's.
    - ``protocol``, ``protocol_hash``, ``whole`` (whether it trains on the whole training set),
      ``stored_labels`` (whether it trains on labels that the set stores), ``student``, ``space`` (of pixels),
      ``teacher`` (hash), ``teacher_bytes``, ``teacher_accuracy``: how the student was trained.
    - ``paper``, ``paper_error``, ``paper_source``, ``paper_protocol``, ``paper_verified``: a published score.
    - ``eval_seed``, ``accuracy``, ``auc``, ``score`` (the AUC if there is one, else the accuracy), all in
      percent; ``size_correlation`` (of a student's scores of graphs with their numbers of nodes);
      ``seconds``, ``device``, ``threads``, ``versions`` (JSON), ``time``, ``curve`` (JSON: a list of step,
      seconds and accuracy on validation images), ``curve_part`` (number of the part that these are, if it is
      not the first): the entry.
    - ``split`` (how the clients of a federation were named), ``clients`` (JSON: a list of a client's name and
      the accuracy on its test images), ``up_bytes`` and ``down_bytes`` (sent by the clients and by the
      server), ``lost`` (messages to clients that were not answered): a federation.
    - ``run_key``, ``record_key`` (shared by all entries of a record), ``evaluation_key``: the hashes.

    Args:
        folder: The results folder; one without records gives a table without rows.

    Raises:
        Refused: if a record cannot be read, or if two files hold the same one.
    """
    return read_files(list(record_files(folder)), Crew())


def read_files(files: Sequence[Path], crew: Crew, readings: Readings | None = None) -> pd.DataFrame:
    """Reads the files of records as `results` does.

    Args:
        files: The files in order of path.
        crew: The processes that share the reading.
        readings: What is kept of files that were read before.
    """
    chunks = [(chunk, readings.place(chunk) if readings else None) for chunk in _chunks(files)]
    table = _joined(_distinct(_parts(chunks, crew), files))
    if readings:
        readings.forget_all_but({place for _, place in chunks})
    return table


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """Returns the entries of records in their order as a table with the columns of `results`.

    What entries share is kept once for each record, and equal texts are one object in memory: a column of
    repeated texts takes eight bytes a row. The records may be an iterator; none of them is kept.
    """
    return _joined(map(_part, _batches(records)))


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Yields items in lists of `AT_ONCE`."""
    left = iter(items)
    while batch := list(islice(left, AT_ONCE)):
        yield batch


def _chunks(files: Iterable[Path]) -> Iterator[list[Path]]:
    """Yields files in lists of `AT_ONCE` on average, and at most four times as many.

    A list ends with a name whose checksum says so, or with its folder: a further file changes the list that
    it belongs in, and hardly another one.
    """
    chunk: list[Path] = []
    for file in files:
        if chunk and (len(chunk) == 4 * AT_ONCE or chunk[0].parts[-2] != file.parts[-2]):
            yield chunk
            chunk = []
        chunk.append(file)
        if zlib.crc32(os.fsencode(file.name)) % AT_ONCE == 0:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


Texts = dict[str | None, str | None]
"""Texts, each by itself: of equal ones the first is kept."""


class _Part(NamedTuple):
    """Some records as columns, which are lists of values by name; what a record does not tell is None.

    Attributes:
        shared: What all entries of a record have in common: a value a record.
        counts: The number of entries of each record.
        own: A value an entry.
    """

    shared: dict[str, list[Any]]
    counts: list[int]
    own: dict[str, list[Any]]


Chunk = tuple[list[Path], Path | None]
"""Files, and the place where their reading is kept; None if it is not."""


def _parts(chunks: Sequence[Chunk], crew: Crew) -> Iterator[_Part]:
    """Yields the part of each chunk: what is kept of it, or what the crew reads."""
    there = [place is not None and place.is_file() for _, place in chunks]
    fresh = crew.map(_read, [chunk for chunk, known in zip(chunks, there, strict=True) if not known])
    for chunk, known in zip(chunks, there, strict=True):
        yield (_kept(chunk) or _read(chunk)) if known else next(fresh)


def _read(chunk: Chunk) -> _Part:
    """Reads some records; what they are read into is small, so that a process can send it to another."""
    files, place = chunk
    with uncollected():
        part = _part([read_record(file) for file in files])
        if place is not None:
            keep(place, msgspec.msgpack.encode(part))
    return part


def _kept(chunk: Chunk) -> _Part | None:
    """Returns what is kept of a chunk; None if it is gone or damaged."""
    _, place = chunk
    data = place and load(place)
    with suppress(msgspec.MsgspecError):
        return msgspec.msgpack.decode(data, type=_Part) if data else None
    return None


def _part(records: Iterable[Record]) -> _Part:
    shared, own, counts = [], [], []
    for record in records:
        key, *keys = record.evaluation_keys([None, *(entry.seed for entry in record.entries)])
        shared.append(_shared(record) | {"record_key": key})
        own += [
            _own(entry) | {"evaluation_key": key} for entry, key in zip(record.entries, keys, strict=True)
        ]
        counts.append(len(keys))
    texts: Texts = {}
    return _Part(_columns(shared, texts), counts, _columns(own, texts))


def _columns(rows: Sequence[Mapping[str, Any]], texts: Texts) -> dict[str, list[Any]]:
    """Turns rows into columns, in which equal texts are one object: that of `texts`."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return {name: _shortened(name, column, texts) for name, column in columns.items()}


def _shortened(name: str, column: list[Any], texts: Texts) -> list[Any]:
    repeated = DTYPES.get(name) == "string" and name not in UNIQUE
    return [texts.setdefault(value, value) for value in column] if repeated else column


def _joined(parts: Iterable[_Part]) -> pd.DataFrame:
    """Returns the table of parts, one after the other."""
    shared, own = dict[str, list[Any]](), dict[str, list[Any]]()
    counts, texts = list[int](), Texts()
    for part in parts:
        for whole, more in ((shared, part.shared), (own, part.own)):
            before, rows = (len(next(iter(columns.values()), [])) for columns in (whole, more))
            for name in more.keys() - whole.keys():
                whole[name] = [None] * before
            for name, column in whole.items():
                column += _shortened(name, more.get(name) or [None] * rows, texts)
        counts += part.counts
    unnamed = sorted({*shared, *own} - set(DTYPES))
    made = {}
    for name, dtype in (DTYPES | dict.fromkeys(unnamed, "Int64")).items():
        if name in shared:
            made[name] = _array(shared.pop(name), dtype).repeat(counts)
        else:
            made[name] = _array(own.pop(name, [None] * sum(counts)), dtype)
    return pd.DataFrame(made, copy=False)


def _distinct(parts: Iterable[_Part], files: Sequence[Path]) -> Iterator[_Part]:
    """Passes on what was read from files, unless two hold the same record."""
    met, left = Met(), iter(files)
    for part in parts:
        for name, key, file in zip(part.shared["dataset"], part.shared["record_key"], left, strict=False):
            met.add(name, key, file)
        yield part


AT_ONCE = 256
"""Records that are read and turned into columns together."""
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
