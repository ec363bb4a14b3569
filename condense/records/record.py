"""Records: one small JSON file for each set, protocol and student network, with an entry for each student.

The board is computed from records alone. An entry is never edited once it is written: `Record.with_entry`
adds one and refuses a seed that the record already has, and `Record.write` adds its entries to those that the
file has by then, so that processes which write one record at once lose nothing. Files of
older versions load for ever. A file of a later version, or one with a missing or unknown key, is refused with
a sentence that names the file and the key.
"""

import json
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, get_args, get_type_hints, is_typeddict

import msgspec

from condense.errors import Refused, Remedy
from condense.files import canonical, locked, safe_name, write_atomic
from condense.protocol import Protocol
from condense.reading import parse_json, read_file
from condense.records.keys import evaluation_keys
from condense.records.parts import (
    ClientScore,
    ClientUsed,
    CurvePoint,
    DataUsed,
    Entry,
    FederationUsed,
    MethodUsed,
    Paper,
    SampleCounts,
    SetUsed,
    TargetUsed,
    TrainingUsed,
)
from condense.schema import Fraction, Name, Percent, Whole, extra_keys, json_schema, read_form
from condense.store.manifest import BY_CLASS

__all__ = [
    "BASELINES", "BY_CLASS", "ClientScore", "ClientUsed", "CurvePoint", "DataUsed", "Entry", "FederationUsed",
    "MethodUsed", "NO_STUDENT", "Paper", "Record", "SampleCounts", "SetUsed", "TargetUsed", "TrainingUsed",
    "WHOLE", "read_record", "record_schema",
]  # fmt: skip

BASELINES = ("random_subset", "herding", "k_center")
"""The coresets that every method is compared with."""
NO_DISTILLATION = "random_subset+expert"
"""Random images with a soft label each: judged by label-v1, it stands in every table of soft labels."""
WHOLE = "whole"
"""The name of the reference whose students are trained on the whole training set."""
NO_PRETRAINING = "no_pretraining"
"""The name of the reference whose students are trained on the target data alone, without a set before."""
TAUGHT = "random_taught"
"""Random images with the targets of a network that was trained without labels."""
FILES = ("scores",)
"""Fields of methods that name a file; a record holds the file's SHA-256 in place of its path."""
NO_STUDENT = "none"
"""The name of the student in the record of a reference that trains no network, such as the majority class."""

FORMAT = "condense-record"
VERSION = 1
MAX_BYTES = 16 * 2**20
"""Largest record that is read, in bytes; real ones are far smaller."""
HEAD = ("format", "version", "protocol_hash")
"""The keys of the JSON that are no fields of the record."""
HOLDS = {
    "set": ((True, False, False),),
    "training": ((False, True, False),),
    "transfer": ((True, False, True),),
    "reference": ((False, False, False), (False, False, True)),
    "federated": ((False, False, False),),
}
"""Whether a record of each kind holds a set, a training and a target."""
LEFT_OUT = {
    "teacher_bytes", "teacher_accuracy", "valid_bytes", "rollbacks", "dense_bytes", "auc", "size_correlation",
    "notes", "asked", "fraction", "training", "curve", "curve_part", "target", "federation", "clients",
    "up_bytes", "down_bytes", "lost",
}  # fmt: skip
"""Fields that have no key when they are None or empty. Older records lack them, and stay as they are."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """The results of a set, of a training without one, or of a reference, under one protocol and student.

    A field that is "left out" has no key in the JSON when it is None or empty.

    Attributes:
        kind: ``set``; ``training``, if real images are chosen for the students while they are trained;
            ``transfer``, if they are trained on a set and then on other data; ``federated``, if clients with
            data of their own train one network together; or ``reference``.
        key: Run key.
        dataset: The dataset.
        method: The method chain.
        ipc: Nominal samples per class; 0 for a reference, and where a fraction is given instead.
        fraction: Share of the training images without the validation part that an epoch trains on; left out
            if `ipc` is given.
        asked: Samples of each class that were asked for; left out of the JSON if they are ``ipc`` of each.
        seed: Distillation seed.
        set: The distilled set; None for a training and for a reference.
        training: What the training of a student reads; left out if there is a set, and for a reference.
        target: The other data that a student is trained and tested on in the end; left out without any.
        federation: The clients of a federation; left out for all others.
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

    kind: Name
    key: Name
    dataset: DataUsed
    method: MethodUsed
    ipc: Whole
    seed: Whole
    set: SetUsed | None
    space: Name
    protocol: Protocol
    student: Name
    teacher: Name | None = None
    teacher_bytes: Whole | None = None
    teacher_accuracy: Percent | None = None
    valid_bytes: Whole | None = None
    paper: Paper | None = None
    asked: tuple[Whole, ...] = ()
    fraction: Fraction | None = None
    training: TrainingUsed | None = None
    target: TargetUsed | None = None
    federation: FederationUsed | None = None
    entries: tuple[Entry, ...] = ()

    def evaluation_key(self, seed: int | None = None) -> str:
        """Returns the key of one student, or without a seed that of the record: see `evaluation_keys`."""
        return self.evaluation_keys([seed])[0]

    def evaluation_keys(self, seeds: Iterable[int | None]) -> list[str]:
        """Returns the `condense.records.keys.evaluation_keys` of students by their seeds."""
        return evaluation_keys(
            run_key=self.key,
            test_hash=self.dataset.test_hash if self.target is None else self.target.hash,
            protocol_hash=self.protocol.hash,
            teacher=self.teacher,
            student=self.student,
            space=self.space,
            seeds=seeds,
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
    def params(self) -> dict[str, object]:
        """The settings of the method by name: ``lr``, and ``fyi.lr`` for the field of a wrapper.

        In a federation the method has its name in front as well.
        """
        return {
            f"{link['name']}.{field}" if place or self.federation else field: value
            for place, link in enumerate(self.method.chain)
            for field, value in sorted(link["config"].items())
        }

    @property
    def title(self) -> str:
        """The start of the file's name: method, IPC or fraction, seed, protocol, target and student."""
        size = f"ipc{self.ipc}{BY_CLASS if self.asked else ''}"
        if self.fraction is not None:
            size = f"fraction{self.fraction:g}"
        to = "" if self.target is None else f"-to-{self.target.name}"
        return f"{self.method.name}-{size}-seed{self.seed}-{self.protocol.name}{to}-{self.student}"

    def path(self, folder: Path) -> Path:
        """Returns the path of its file, whose name ends in the start of its evaluation key."""
        name = f"{self.title}-{self.evaluation_key()[:8]}.json"
        return folder / safe_name(self.dataset.name) / safe_name(name)

    @property
    def run(self) -> str:
        """The name of its students' run in events: its file's path as one name."""
        path = self.path(Path())
        return f"{path.parent.name}-{path.stem}"

    def write(self, folder: Path) -> Path:
        """Writes its file, or adds its entries to it, and returns the path.

        Of two entries with the same seed the one in the file stays.

        Raises:
            Refused: if the file cannot be written, or holds students of another set (`require_same_set`).
        """
        path, record = self.path(folder), self
        with locked(path, what=f"writes {path}"):
            if path.exists():
                stored = read_record(path)
                stored.require_same_set(self.set, path)
                for entry in stored.entries:
                    others = tuple(one for one in record.entries if one.seed != entry.seed)
                    record = replace(record, entries=others).with_entry(entry)
            write_atomic(path, canonical(record.to_json(), indent=1) + "\n")
        return path

    def require_same_set(self, made: SetUsed | None, path: Path) -> None:
        """Refuses to add students of another set to this record, whose file is `path`."""
        if self.set is not None and made is not None and self.set.hash != made.hash:
            raise Refused(
                f"{path} holds students of the set {self.set.hash[:8]}; this one, {made.hash[:8]}, has the "
                "same settings but another machine or version; move the file away",
                remedies=[Remedy(settings={"results": None}, effect="keeps both apart")],
            )

    def to_json(self) -> dict[str, object]:
        """Returns the record as plain JSON values."""
        plain: dict[str, object] = _plain(self)
        return plain | {"format": FORMAT, "version": VERSION, "protocol_hash": self.protocol.hash}

    @classmethod
    def from_json(cls, values: object, where: str = "record") -> "Record":
        """Returns the record that `to_json` turned into these values.

        Args:
            values: The parsed JSON.
            where: Name of the file, for error messages.

        Raises:
            Refused: if it is of a later version, or a key is missing, unknown, or of the wrong type.
        """
        if not isinstance(values, dict):
            raise Refused(f"{where} is not a JSON object")
        if values.get("format", FORMAT) != FORMAT:
            raise Refused(f"{where} is not a {FORMAT}")
        if (version := values.get("version", VERSION)) != VERSION:
            raise Refused(f"{where} has version {version}; this condense reads version {VERSION}")
        protocol, exact = _protocol(values.get("protocol"), values.get("protocol_hash"), where)
        record = read_form({**values, "protocol": protocol}, cls, f"{where}:")
        if not (exact and _has_its_keys(record, values, HEAD)):
            known = record.to_json()
            found = {"missing": extra_keys(known, values), "unknown": extra_keys(values, known)}
            for state, extra in found.items():
                if extra:
                    raise Refused(f"{where}: {extra[0]} is {state}")
        held = (record.set is not None, record.training is not None, record.target is not None)
        if held not in HOLDS.get(record.kind, ()):
            raise Refused(f"{where}: kind {record.kind!r} does not fit its set and training, or its target")
        if (record.federation is None) == (record.kind == "federated"):
            raise Refused(f"{where}: kind {record.kind!r} does not fit its federation")
        stored = record.set.counts.per_class if record.set else ()
        if record.asked and (len(record.asked) != len(stored) or any(map(operator.gt, stored, record.asked))):
            raise Refused(f"{where}: the samples asked of each class do not fit those of its set")
        seeds = [entry.seed for entry in record.entries]
        if seeds != sorted(set(seeds)):
            raise Refused(f"{where}: evaluation seeds {seeds} are not ascending and distinct")
        return record


def read_record(path: Path) -> Record:
    """Reads one record; refuses a file that cannot be read or holds no valid record."""
    return Record.from_json(parse_json(read_file(path, MAX_BYTES), str(path)), str(path))


def record_schema() -> dict[str, Any]:
    """Returns the JSON Schema of a record."""
    schema = json_schema(Record)
    whole = schema["$defs"]["Record"]
    head = {
        "format": {"const": FORMAT},
        "version": {"const": VERSION},
        "protocol_hash": {"type": "string"},
    }
    whole["properties"] |= head
    whole["required"] += [*head]
    return schema


def _plain(value: Any) -> Any:
    """Returns a value as plain JSON values; a field of `LEFT_OUT` that is None or empty has no key."""
    if isinstance(value, Protocol):
        return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((name, getattr(value, name)) for name in _names(type(value)))
        return {name: _plain(one) for name, one in pairs if name not in LEFT_OUT or one not in (None, ())}
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


@cache
def _names(form: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(form))


def _has_its_keys(form: Any, values: Mapping[str, Any], more: tuple[str, ...] = ()) -> bool:
    """Returns whether JSON values have the keys that `_plain` gives their form, and `more`; all parts too.

    The form was read from the values: what it left out or filled in are keys, and everything else is equal.
    Nothing is made anew for the answer, which takes a tenth of the time of `to_json`.
    """
    if isinstance(form, dict):
        return len(form) == len(values)
    names, optional, parts = _layout(type(form))  # type: ignore[arg-type]  # a class is hashable
    empty = tuple(name for name in optional if getattr(form, name) in (None, ()))
    if values.keys() != _wanted(names, empty, more):
        return False
    for name in parts:
        value = getattr(form, name)
        if isinstance(value, tuple):
            if not all(map(_has_its_keys, value, values[name] if value else ())):
                return False
        elif value is not None and not _has_its_keys(value, values[name]):
            return False
    return True


@lru_cache(maxsize=1024)
def _wanted(names: frozenset[str], empty: tuple[str, ...], more: tuple[str, ...]) -> frozenset[str]:
    return names.difference(empty).union(more)


@cache
def _layout(form: type) -> tuple[frozenset[str], tuple[str, ...], tuple[str, ...]]:
    """Returns the fields of a form, those that may be left out, and those that hold forms with keys."""
    names, hints = _names(form), get_type_hints(form)
    optional = tuple(name for name in names if name in LEFT_OUT)
    return frozenset(names), optional, tuple(name for name in names if _keyed(hints[name]))


def _keyed(hint: Any) -> bool:
    """Returns whether values of a type have named keys; a protocol's are checked where it is read."""
    if isinstance(hint, type) and (is_dataclass(hint) or is_typeddict(hint)):
        return hint is not Protocol
    return any(map(_keyed, get_args(hint)))


def _protocol(values: object, stated: object, where: str) -> tuple[Protocol, bool]:
    """Returns a record's protocol, and whether the values are exactly those that it is written with."""
    for key, value, form in (("protocol", values, dict), ("protocol_hash", stated, str)):
        if not isinstance(value, form):
            raise Refused(f"{where}: {key} is {'missing' if value is None else 'of a wrong type'}")
    try:
        protocol, exact = _parsed(msgspec.json.encode(values))
    except Refused as error:
        raise Refused(f"{where}: {error}") from error
    assert isinstance(stated, str)
    if protocol.hash != stated:
        raise Refused(f"{where}: its protocol has hash {protocol.hash[:8]}, not {stated[:8]} as it states")
    return protocol, exact


@lru_cache(maxsize=256)
def _parsed(text: bytes) -> tuple[Protocol, bool]:
    """Returns the protocol of a JSON text; thousands of records in a folder share a few of them."""
    values = json.loads(text)
    protocol = Protocol.from_json(values)
    return protocol, protocol.to_json() == values
