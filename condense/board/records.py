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

from condense.board.strict import Fields
from condense.errors import Refused
from condense.files import canonical, digest, write_atomic
from condense.protocol import Protocol

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
class Entry:
    """One student: trained from scratch, tested once.

    Attributes:
        seed: Evaluation seed.
        accuracy: Test accuracy (or the protocol's score) in percent.
        seconds: Wall time of training and testing.
        device: The device it ran on.
        threads: CPU threads.
        versions: Library versions.
        time: When it ended, ISO 8601 in UTC.
    """

    seed: int
    accuracy: float
    seconds: float
    device: str
    threads: int
    versions: Mapping[str, str]
    time: str


@dataclass(frozen=True, kw_only=True)
class DataUsed:
    """The data set: its name, kind, and the hashes of both splits."""

    name: str
    kind: str
    train_hash: str
    test_hash: str


@dataclass(frozen=True, kw_only=True)
class MethodUsed:
    """The method chain.

    Attributes:
        name: As on the command line: ``mtt+fyi``; of a reference row ``whole``, ``majority``...
        chain: For each link its name, version and full configuration.
        source: Where the settings come from, if a published recipe was followed.
    """

    name: str
    chain: tuple[Mapping[str, object], ...]
    source: str | None = None


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Samples stored, samples trained on, and samples stored of each class."""

    stored: int
    effective: int
    per_class: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class SetUsed:
    """The distilled set.

    Attributes:
        hash: Its content hash.
        bytes: Its size by part: images, labels, replay, decoder, auxiliary, teacher.
        counts: Its samples.
        label: Label kind, ``hard`` or ``soft``.
        seconds: Wall time of the distillation; None where unknown.
        peak_bytes: Peak memory of the distillation; None where unknown.
        device: The device it was distilled on.
    """

    hash: str
    bytes: Mapping[str, int]
    counts: Counts
    label: str
    seconds: float | None
    peak_bytes: int | None
    device: str


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A published number, as it stood in ``benchmarks/published.csv`` when the record was made.

    Attributes:
        value: Percent.
        error: Published standard deviation, if one is known.
        source: Where it was read.
        verified: Whether it was read there, or is from memory.
        protocol: In words, how it was measured.
    """

    value: float
    error: float | None
    source: str
    verified: bool
    protocol: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """A set (or a reference without one) under a protocol and a student network.

    Attributes:
        kind: ``set`` or ``reference``.
        key: Run key.
        dataset: The data.
        method: The method chain.
        ipc: Nominal images per class; 0 for a reference.
        seed: Distillation seed.
        set: The distilled set; None for a reference.
        space: Pixel space of student and test split.
        protocol: The complete protocol.
        student: Name of the student network.
        teacher: Hash of the labelling teacher, if any.
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
            dataset=_data(top.part("dataset")),
            method=_method(top.part("method")),
            ipc=top.whole("ipc"),
            seed=top.whole("seed"),
            set=_set(top.part("set")) if top.given("set") else None,
            space=top.text("space"),
            protocol=_protocol(top.mapping("protocol"), top.text("protocol_hash"), where),
            student=top.text("student"),
            teacher=top.text("teacher") if top.given("teacher") else None,
            paper=_paper(top.part("paper")) if top.given("paper") else None,
            entries=tuple(_entry(part) for part in top.parts("entries")),
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


def _data(fields: Fields) -> DataUsed:
    names = ("name", "kind", "train_hash", "test_hash")
    used = DataUsed(**{name: fields.text(name) for name in names})
    fields.close()
    return used


def _method(fields: Fields) -> MethodUsed:
    chain = []
    for link in fields.parts("chain"):
        chain.append(
            {"name": link.text("name"), "version": link.whole("version"), "config": link.mapping("config")}
        )
        link.close()
    source = fields.text("source") if fields.given("source") else None
    used = MethodUsed(name=fields.text("name"), chain=tuple(chain), source=source)
    fields.close()
    return used


def _set(fields: Fields) -> SetUsed:
    sizes = fields.part("bytes")
    counts = fields.part("counts")
    per_class = counts.listed("per_class")
    if not all(type(count) is int for count in per_class):
        raise Refused(f"{counts.where}: per_class cannot be {per_class!r}")
    used = SetUsed(
        hash=fields.text("hash"),
        bytes={name: sizes.whole(name) for name in sorted(sizes.left)},
        counts=Counts(
            stored=counts.whole("stored"),
            effective=counts.whole("effective"),
            per_class=tuple(count for count in per_class if isinstance(count, int)),
        ),
        label=fields.text("label"),
        seconds=fields.number("seconds") if fields.given("seconds") else None,
        peak_bytes=fields.whole("peak_bytes") if fields.given("peak_bytes") else None,
        device=fields.text("device"),
    )
    counts.close()
    fields.close()
    return used


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


def _paper(fields: Fields) -> Paper:
    paper = Paper(
        value=fields.number("value"),
        error=fields.number("error") if fields.given("error") else None,
        source=fields.text("source"),
        verified=fields.flag("verified"),
        protocol=fields.text("protocol"),
    )
    fields.close()
    return paper


def _entry(fields: Fields) -> Entry:
    versions = fields.part("versions")
    entry = Entry(
        seed=fields.whole("seed"),
        accuracy=fields.number("accuracy"),
        seconds=fields.number("seconds"),
        device=fields.text("device"),
        threads=fields.whole("threads"),
        versions={name: versions.text(name) for name in sorted(versions.left)},
        time=fields.text("time"),
    )
    fields.close()
    return entry
