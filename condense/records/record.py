"""Records: one small JSON file for each set, protocol and student network, with an entry for each student.

A record is the only thing the board is made of. An entry, once written, is never edited: a record grows by
`Record.with_entry`, which refuses a seed that is there already, and its file is replaced whole. Files of
older versions load for ever; a file of a later version, or one with a key that is missing or unknown, is
refused in one sentence that names the file and the key.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from condense.errors import Refused
from condense.files import canonical, digest, write_atomic
from condense.protocol import Protocol
from condense.records.json_fields import Fields
from condense.records.parts import (
    Counts,
    DataUsed,
    Entry,
    MethodUsed,
    Paper,
    SetUsed,
    data_of,
    entry_of,
    method_of,
    paper_of,
    set_of,
)

__all__ = [
    "Counts",
    "DataUsed",
    "Entry",
    "MethodUsed",
    "Paper",
    "Record",
    "SetUsed",
    "evaluation_key",
    "read",
    "read_all",
    "safe",
]

FORMAT = "condense-record"
VERSION = 1


def evaluation_key(
    *,
    run_key: str,
    test_hash: str,
    protocol_hash: str,
    teacher: str | None,
    student: str,
    space: str,
    seed: int | None,
) -> str:
    """What one trained student depends on, as a hash.

    Args:
        run_key: Hash of the method chain, its configuration, the training data, IPC and distillation seed.
        test_hash: Hash of the test split.
        protocol_hash: `condense.protocol.Protocol.hash`.
        teacher: Hash of the labelling teacher, if the protocol has one.
        student: Name of the student network.
        space: Pixel space of student and test split (a set fixes it; a reference row does not).
        seed: Evaluation seed; None gives the key of the whole record.
    """
    return digest([run_key, test_hash, protocol_hash, teacher, student, space, seed])


@dataclass(frozen=True, kw_only=True)
class Record:
    """A set (or a reference without one) under a protocol and a student network.

    Attributes:
        kind: ``set`` or ``reference``.
        key: Run key.
        dataset: The data.
        method: The method chain.
        ipc: Nominal samples per class; 0 for a reference.
        seed: Distillation seed.
        set: The distilled set; None for a reference.
        space: Pixel space of student and test split.
        protocol: The complete protocol.
        student: Name of the student network.
        teacher: Hash of the teacher that labels what the students see, if one does.
        teacher_bytes: Its size; None, and then out of the JSON, where there is none.
        teacher_accuracy: Its percentage on held-out training images, likewise, or where nobody knows.
        valid_bytes: Size of the validation data that students were chosen by, likewise.
        paper: The published number beside it, if there is one.
        entries: The students, by ascending seed.
    """

    kind: str
    key: str
    dataset: DataUsed
    method: MethodUsed
    ipc: int
    seed: int
    set: SetUsed | None
    space: str
    protocol: Protocol
    student: str
    teacher: str | None = None
    teacher_bytes: int | None = None
    teacher_accuracy: float | None = None
    valid_bytes: int | None = None
    paper: Paper | None = None
    entries: tuple[Entry, ...] = ()

    def evaluation_key(self, seed: int | None = None) -> str:
        """The `evaluation_key` of one student, or without a seed that of the record."""
        return evaluation_key(
            run_key=self.key,
            test_hash=self.dataset.test_hash,
            protocol_hash=self.protocol.hash,
            teacher=self.teacher,
            student=self.student,
            space=self.space,
            seed=seed,
        )

    def has(self, seed: int) -> bool:
        """Whether an evaluation seed is done."""
        return any(entry.seed == seed for entry in self.entries)

    def with_entry(self, entry: Entry) -> "Record":
        """The record with one more student.

        Raises:
            Refused: if that seed is there already: an entry is never edited.
        """
        if self.has(entry.seed):
            raise Refused(f"the record of {self.title} already has evaluation seed {entry.seed}")
        entries = sorted((*self.entries, entry), key=lambda one: one.seed)
        return replace(self, entries=tuple(entries))

    @property
    def title(self) -> str:
        """The record in a few words, as in its file name."""
        return f"{self.method.name}-ipc{self.ipc}-seed{self.seed}-{self.protocol.name}-{self.student}"

    def path(self, folder: Path) -> Path:
        """Its file below a results folder; the eight digits are the start of its evaluation key."""
        name = f"{self.title}-{self.evaluation_key()[:8]}.json"
        return folder / safe(self.dataset.name) / safe(name)

    def write(self, folder: Path) -> Path:
        """Replaces its file whole and returns the path.

        Raises:
            Refused: if the file there holds an entry that this record lacks or tells otherwise, or if
                the place cannot be written.
        """
        path = self.path(folder)
        if path.exists():
            for entry in read(path).entries:
                if entry not in self.entries:
                    raise Refused(f"{path}: entry of evaluation seed {entry.seed} would be edited or lost")
        write_atomic(path, canonical(self.to_json(), indent=1) + "\n")
        return path

    def to_json(self) -> dict[str, object]:
        """The record as plain JSON values."""
        values = asdict(self) | {"format": FORMAT, "version": VERSION}
        _without(values, "teacher_bytes", "teacher_accuracy", "valid_bytes")
        if self.set is not None:
            _without(values["set"], "rollbacks", "dense_bytes")
        for entry in values["entries"]:
            _without(entry, "auc")
        return values | {"protocol": self.protocol.to_json(), "protocol_hash": self.protocol.hash}

    @classmethod
    def from_json(cls, values: object, where: str = "record") -> "Record":
        """Reads what `to_json` wrote, strictly.

        Args:
            values: The parsed JSON.
            where: The file's name, for the refusal.

        Raises:
            Refused: if it is of a later version, or a key is missing, unknown, or of the wrong type.
        """
        top = Fields(values, where)
        if top.text("format") != FORMAT:
            raise Refused(f"{where} is no {FORMAT}")
        if (version := top.whole("version")) != VERSION:
            raise Refused(f"{where} has version {version}; this condense reads version {VERSION}")
        record = cls(
            kind=top.text("kind"),
            key=top.text("key"),
            dataset=data_of(top.part("dataset")),
            method=method_of(top.part("method")),
            ipc=top.whole("ipc"),
            seed=top.whole("seed"),
            set=set_of(top.part("set")) if top.given("set") else None,
            space=top.text("space"),
            protocol=_protocol(top.mapping("protocol"), top.text("protocol_hash"), where),
            student=top.text("student"),
            teacher=top.text("teacher") if top.given("teacher") else None,
            teacher_bytes=top.whole("teacher_bytes") if "teacher_bytes" in top.left else None,
            teacher_accuracy=top.number("teacher_accuracy") if "teacher_accuracy" in top.left else None,
            valid_bytes=top.whole("valid_bytes") if "valid_bytes" in top.left else None,
            paper=paper_of(top.part("paper")) if top.given("paper") else None,
            entries=tuple(entry_of(part) for part in top.parts("entries")),
        )
        top.close()
        if record.kind not in ("set", "reference") or (record.kind == "set") != (record.set is not None):
            raise Refused(f"{where}: kind {record.kind!r} does not fit its set")
        seeds = [entry.seed for entry in record.entries]
        if seeds != sorted(set(seeds)):
            raise Refused(f"{where}: evaluation seeds {seeds} are not ascending and distinct")
        return record


def read(path: Path) -> Record:
    """Reads one record.

    Raises:
        Refused: if the file is broken.
    """
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise Refused(f"{path} is no JSON: {error}") from error
    return Record.from_json(values, str(path))


def read_all(folder: Path) -> list[Record]:
    """Every record below a results folder (``folder/<dataset>/*.json``), in order of path.

    Manifests of sets that are stored beside them (``set.json``) are no records.

    Raises:
        Refused: if a file is broken, or two files hold the same record.
    """
    paths = sorted(path for path in folder.glob("*/*.json") if path.name != "set.json")
    found: dict[tuple[str, str], Path] = {}
    records = []
    for path in paths:
        record = read(path)
        other = found.setdefault((record.dataset.name, record.evaluation_key()), path)
        if other != path:
            raise Refused(f"{other} and {path} hold the same record")
        records.append(record)
    return records


def safe(name: str) -> str:
    """A name as part of a file name: letters, digits and ``@ + - . _`` stay, all else becomes ``_``."""
    return re.sub(r"[^\w.@+-]", "_", name)


def _without(values: dict[str, object], *names: str) -> None:
    """Takes out what is not known: records of before it was asked for stay as they are."""
    for name in names:
        if values[name] is None:
            del values[name]


def _protocol(values: Mapping[str, object], stated: str, where: str) -> Protocol:
    try:
        protocol = Protocol.from_json(values)
    except Refused as error:
        raise Refused(f"{where}: {error}") from error
    except (KeyError, TypeError, AssertionError) as error:
        raise Refused(f"{where}: the protocol is incomplete") from error
    if protocol.hash != stated:
        raise Refused(f"{where}: its protocol has hash {protocol.hash[:8]}, not {stated[:8]} as it says")
    return protocol
