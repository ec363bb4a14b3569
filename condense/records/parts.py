"""What a record is made of, and how each part of it is read, strictly, from JSON."""

from collections.abc import Mapping
from dataclasses import dataclass

from condense.errors import Refused
from condense.records.json_fields import Fields


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One student: trained from scratch, tested once.

    Attributes:
        seed: Evaluation seed.
        accuracy: Test accuracy in percent.
        seconds: Wall time of training and testing.
        device: The device it ran on.
        threads: CPU threads.
        versions: Library versions.
        time: When it ended, ISO 8601 in UTC.
        auc: Area under the ROC curve in percent; None, and then out of the JSON, where the data are not
            judged by it.
    """

    seed: int
    accuracy: float
    seconds: float
    device: str
    threads: int
    versions: Mapping[str, str]
    time: str
    auc: float | None = None

    @property
    def score(self) -> float:
        """What the student is ranked by: the AUC where there is one, else the accuracy."""
        return self.accuracy if self.auc is None else self.auc


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
        bytes: Its size by part: images or graphs, labels, replay, decoder, auxiliary, teacher.
        counts: Its samples.
        label: Label kind of what it stores: ``hard``, ``soft`` or ``replayed``.
        seconds: Wall time of the distillation; None where unknown.
        peak_bytes: Peak memory of the distillation; None where unknown.
        device: The device it was distilled on.
        rollbacks: Steps that were taken back on the way; None where that is not counted, and then left out of
            the JSON.
        dense_bytes: Of graphs, the size that they would have as float32 features and dense adjacency, the
            form in which networks that learn a set hold it; likewise.
    """

    hash: str
    bytes: Mapping[str, int]
    counts: Counts
    label: str
    seconds: float | None
    peak_bytes: int | None
    device: str
    rollbacks: int | None = None
    dense_bytes: int | None = None


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


def data_of(fields: Fields) -> DataUsed:
    """The data that a record names."""
    names = ("name", "kind", "train_hash", "test_hash")
    used = DataUsed(**{name: fields.text(name) for name in names})
    fields.close()
    return used


def method_of(fields: Fields) -> MethodUsed:
    """The method that a record names."""
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


def set_of(fields: Fields) -> SetUsed:
    """The set that a record names."""
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
        rollbacks=fields.whole("rollbacks") if "rollbacks" in fields.left else None,
        dense_bytes=fields.whole("dense_bytes") if "dense_bytes" in fields.left else None,
    )
    counts.close()
    fields.close()
    return used


def paper_of(fields: Fields) -> Paper:
    """The paper's number in a record."""
    paper = Paper(
        value=fields.number("value"),
        error=fields.number("error") if fields.given("error") else None,
        source=fields.text("source"),
        verified=fields.flag("verified"),
        protocol=fields.text("protocol"),
    )
    fields.close()
    return paper


def entry_of(fields: Fields) -> Entry:
    """One student of a record."""
    versions = fields.part("versions")
    entry = Entry(
        seed=fields.whole("seed"),
        accuracy=fields.number("accuracy"),
        seconds=fields.number("seconds"),
        device=fields.text("device"),
        threads=fields.whole("threads"),
        versions={name: versions.text(name) for name in sorted(versions.left)},
        time=fields.text("time"),
        auc=fields.number("auc") if "auc" in fields.left else None,
    )
    fields.close()
    return entry
