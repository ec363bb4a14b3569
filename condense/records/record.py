"""Records: one small JSON file for each set, protocol and student network, with an entry for each student.

The board is computed from records alone. An entry is never edited once it is written: `Record.with_entry`
adds one and refuses a seed that the record already has, and `Record.write` replaces the whole file. Files of
older versions load for ever. A file of a later version, or one with a missing or unknown key, is refused with
a sentence that names the file and the key.
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
    DataUsed,
    Entry,
    MethodUsed,
    Paper,
    SampleCounts,
    SetUsed,
    data_of,
    entry_of,
    method_of,
    paper_of,
    set_of,
)

__all__ = [
    "BASELINES",
    "NO_STUDENT",
    "DataUsed",
    "Entry",
    "MethodUsed",
    "Paper",
    "Record",
    "SampleCounts",
    "SetUsed",
    "WHOLE",
    "evaluation_key",
    "read_record",
    "read_records",
    "safe_name",
]

BASELINES = ("random_subset", "herding", "k_center")
"""The coresets that every method is compared with."""
WHOLE = "whole"
"""The name of the reference whose students are trained on the whole training set."""
NO_STUDENT = "none"
"""The name of the student in the record of a reference that trains no network, such as the majority class."""

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
    """Returns the hash of everything that the result of one trained student depends on.

    Args:
        run_key: Hash of the method chain, its configuration, the training data, IPC and distillation seed.
        test_hash: Hash of the test split.
        protocol_hash: `condense.protocol.Protocol.hash`.
        teacher: Hash of the labelling teacher, if the protocol has one.
        student: Name of the student network.
        space: Pixel space in which the student is trained and tested.
        seed: Evaluation seed; None gives the key of the whole record.
    """
    return digest([run_key, test_hash, protocol_hash, teacher, student, space, seed])


@dataclass(frozen=True, kw_only=True)
class Record:
    """The results of a distilled set, or of a reference without one, under one protocol and student network.

    A field that is "left out" has no key in the JSON when it is None.

    Attributes:
        kind: ``set`` or ``reference``.
        key: Run key.
        dataset: The dataset.
        method: The method chain.
        ipc: Nominal samples per class; 0 for a reference.
        seed: Distillation seed.
        set: The distilled set; None for a reference.
        space: Pixel space in which students are trained and tested.
        protocol: The complete protocol.
        student: Name of the student network; `NO_STUDENT` if none is trained.
        teacher: Hash of the teacher that labels the students' training data, if there is one.
        teacher_bytes: Size of the teacher; left out if unknown.
        teacher_accuracy: Accuracy of the teacher on held-out training images in percent; left out if unknown.
        valid_bytes: Size of the validation data that select the students' best step; left out without any.
        paper: The published number for the same setting, if there is one.
        entries: One entry for each trained student, in ascending order of evaluation seed.
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
        """Returns the `evaluation_key` of one student, or without a seed that of the record."""
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
        """Returns whether there is an entry of an evaluation seed."""
        return any(entry.seed == seed for entry in self.entries)

    def with_entry(self, entry: Entry) -> "Record":
        """Returns the record with one more entry.

        Raises:
            Refused: if the record already has an entry of that seed.
        """
        if self.has(entry.seed):
            raise Refused(f"the record of {self.title} already has evaluation seed {entry.seed}")
        entries = sorted((*self.entries, entry), key=lambda one: one.seed)
        return replace(self, entries=tuple(entries))

    @property
    def title(self) -> str:
        """The start of the file's name: method, IPC, distillation seed, protocol and student."""
        return f"{self.method.name}-ipc{self.ipc}-seed{self.seed}-{self.protocol.name}-{self.student}"

    def path(self, folder: Path) -> Path:
        """Returns the path of its file, whose name ends in the start of its evaluation key."""
        name = f"{self.title}-{self.evaluation_key()[:8]}.json"
        return folder / safe_name(self.dataset.name) / safe_name(name)

    def write(self, folder: Path) -> Path:
        """Writes or replaces its file and returns the path.

        Raises:
            Refused: if the present file holds an entry that this record lacks or has changed, or if the file
                cannot be written.
        """
        path = self.path(folder)
        if path.exists():
            for entry in read_record(path).entries:
                if entry not in self.entries:
                    raise Refused(f"{path}: entry of evaluation seed {entry.seed} would be edited or lost")
        write_atomic(path, canonical(self.to_json(), indent=1) + "\n")
        return path

    def to_json(self) -> dict[str, object]:
        """Returns the record as plain JSON values."""
        values = asdict(self) | {"format": FORMAT, "version": VERSION}
        _without(values, "teacher_bytes", "teacher_accuracy", "valid_bytes")
        if self.set is not None:
            _without(values["set"], "rollbacks", "dense_bytes")
        for entry in values["entries"]:
            _without(entry, "auc")
        return values | {"protocol": self.protocol.to_json(), "protocol_hash": self.protocol.hash}

    @classmethod
    def from_json(cls, values: object, where: str = "record") -> "Record":
        """Returns the record that `to_json` turned into these values.

        Args:
            values: The parsed JSON.
            where: Name of the file, for error messages.

        Raises:
            Refused: if it is of a later version, or a key is missing, unknown, or of the wrong type.
        """
        top = Fields(values, where)
        if top.text("format") != FORMAT:
            raise Refused(f"{where} is not a {FORMAT}")
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


def read_record(path: Path) -> Record:
    """Reads one record.

    Raises:
        Refused: if the file cannot be read or holds no valid record.
    """
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise Refused(f"{path} is not JSON: {error}") from error
    return Record.from_json(values, str(path))


def read_records(folder: Path) -> list[Record]:
    """Reads every record below a results folder (``folder/<dataset>/*.json``), in order of path.

    The manifests of stored sets (``set.json``) may lie in the same place and are skipped.

    Raises:
        Refused: if a file cannot be read or holds no valid record, or if two files hold the same record.
    """
    paths = sorted(path for path in folder.glob("*/*.json") if path.name != "set.json")
    found: dict[tuple[str, str], Path] = {}
    records = []
    for path in paths:
        record = read_record(path)
        other = found.setdefault((record.dataset.name, record.evaluation_key()), path)
        if other != path:
            raise Refused(f"{other} and {path} hold the same record")
        records.append(record)
    return records


def safe_name(name: str) -> str:
    """Returns a name that is safe in a path: all but letters, digits and ``@ + - . _`` becomes ``_``."""
    return re.sub(r"[^\w.@+-]", "_", name)


def _without(values: dict[str, object], *names: str) -> None:
    """Removes keys whose value is None, so that older records, which lack them, are rewritten unchanged."""
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
        raise Refused(f"{where}: its protocol has hash {protocol.hash[:8]}, not {stated[:8]} as it states")
    return protocol
