"""The parts of a record, and the functions that read each of them from JSON."""

from collections.abc import Mapping
from dataclasses import dataclass

from condense.errors import Refused
from condense.records.json_fields import Fields


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The result of one student that was trained from scratch and tested once.

    Attributes:
        seed: Evaluation seed.
        accuracy: Test accuracy in percent.
        seconds: Wall time of training and testing.
        device: Name of the device.
        threads: Number of CPU threads.
        versions: Versions of the libraries by name.
        time: Time at which the test ended, ISO 8601 in UTC.
        auc: Area under the ROC curve in percent; left out of the JSON for data that are scored by accuracy.
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
        """The number that students are ranked by: the AUC if there is one, else the accuracy."""
        return self.accuracy if self.auc is None else self.auc


@dataclass(frozen=True, kw_only=True)
class DataUsed:
    """The dataset: its name, its kind (``images`` or ``graphs``) and the hashes of both splits."""

    name: str
    kind: str
    train_hash: str
    test_hash: str


@dataclass(frozen=True, kw_only=True)
class MethodUsed:
    """The method and its wrappers.

    Attributes:
        name: Names joined by ``+``, such as ``mtt+fyi``; the name of a reference, such as ``whole``.
        chain: Name, version and complete configuration of the method and each wrapper; empty for a reference.
        source: Source of the settings, if they are a published recipe.
    """

    name: str
    chain: tuple[Mapping[str, object], ...]
    source: str | None = None


@dataclass(frozen=True, kw_only=True)
class SampleCounts:
    """Numbers of samples: stored, trained on after decoding, and stored in each class."""

    stored: int
    effective: int
    per_class: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class SetUsed:
    """The distilled set.

    Attributes:
        hash: Hash of its content.
        bytes: Its size by part: images or graphs, labels, replay, decoder, auxiliary, teacher.
        counts: Numbers of its samples.
        label: Kind of its labels: ``hard``, ``soft`` or ``replayed``.
        seconds: Wall time of the distillation; None if unknown.
        peak_bytes: Peak memory of the distillation; None if unknown.
        device: Name of the device it was distilled on.
        rollbacks: Number of optimisation steps that were undone during the distillation; left out of the JSON
            if the method does not count them.
        dense_bytes: Size of the graphs as float32 node features with a dense adjacency matrix, the form in
            which methods optimise graphs; left out for images.
    """

    hash: str
    bytes: Mapping[str, int]
    counts: SampleCounts
    label: str
    seconds: float | None
    peak_bytes: int | None
    device: str
    rollbacks: int | None = None
    dense_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A published number, copied from ``benchmarks/published.csv`` when the record was made.

    Attributes:
        value: The score in percent.
        error: Published standard deviation; None if unknown.
        source: Publication that the number is from.
        verified: Whether somebody read the number in the source itself.
        protocol: Description of how it was measured.
    """

    value: float
    error: float | None
    source: str
    verified: bool
    protocol: str


def data_of(fields: Fields) -> DataUsed:
    """Reads the dataset of a record."""
    names = ("name", "kind", "train_hash", "test_hash")
    used = DataUsed(**{name: fields.text(name) for name in names})
    fields.close()
    return used


def method_of(fields: Fields) -> MethodUsed:
    """Reads the method of a record."""
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
    """Reads the distilled set of a record."""
    sizes = fields.part("bytes")
    counts = fields.part("counts")
    per_class = counts.listed("per_class")
    if not all(type(count) is int for count in per_class):
        raise Refused(f"{counts.where}: per_class cannot be {per_class!r}")
    used = SetUsed(
        hash=fields.text("hash"),
        bytes={name: sizes.whole(name) for name in sorted(sizes.left)},
        counts=SampleCounts(
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
    """Reads the published number of a record."""
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
    """Reads one entry of a record."""
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
