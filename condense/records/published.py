"""The published numbers, which are kept in ``benchmarks/published.csv`` with one row for each."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from condense.errors import Refused
from condense.records.record import Paper

COLUMNS = ["dataset", "method", "ipc", "student", "value", "error", "protocol", "source", "verified", "note"]

Place = tuple[str, str, int, str]
"""Dataset, method, IPC (0 for the whole training set) and student."""


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """One published number.

    Attributes:
        dataset: Name of the dataset; ``cifar10->mnist`` for students of sets of CIFAR-10 that were trained
            and tested on MNIST afterwards.
        method: Name of the method; ``whole`` for the whole training set.
        ipc: Samples per class; 0 for the whole training set.
        student: Name of the student network.
        paper: The number and its source.
        note: Doubts about the number, and other values that are cited for it.
    """

    dataset: str
    method: str
    ipc: int
    student: str
    paper: Paper
    note: str

    @property
    def place(self) -> Place:
        """The key of the number; no two numbers share one."""
        return self.dataset, self.method, self.ipc, self.student


def parse_published(lines: Iterable[str]) -> dict[Place, PublishedResult]:
    """Reads the published numbers from CSV text.

    Args:
        lines: Lines of the text; the first names the `COLUMNS`.

    Raises:
        Refused: if a row is malformed, or a place has two numbers.
    """
    reader = csv.DictReader(lines, strict=True)
    if list(reader.fieldnames or ()) != COLUMNS:
        raise Refused(f"published.csv has the columns {reader.fieldnames}, not {COLUMNS}")
    table: dict[Place, PublishedResult] = {}
    for row in reader:
        number = _number(row, f"published.csv, line {reader.line_num}")
        if number.place in table:
            raise Refused(f"published.csv, line {reader.line_num}: a second number for {number.place}")
        table[number.place] = number
    return table


@cache
def read_published() -> Mapping[Place, PublishedResult]:
    """Reads the installed ``benchmarks/published.csv``."""
    file = resources.files("condense.benchmarks") / "published.csv"
    return parse_published(file.read_text(encoding="utf-8").splitlines())


def lookup(dataset: str, method: str, ipc: int, student: str) -> PublishedResult | None:
    """Returns a published number, or None if there is none.

    Args:
        dataset: Name of the dataset.
        method: Name of the method chain.
        ipc: Samples per class; 0 for the whole training set.
        student: Name of the student network.
    """
    return read_published().get((dataset, method, ipc, student))


def _number(row: Mapping[str, str], where: str) -> PublishedResult:
    if set(row) != set(COLUMNS) or None in row.values() or row["verified"] not in ("yes", "no"):
        raise Refused(f"{where}: the row is malformed")
    try:
        value, ipc = float(row["value"]), int(row["ipc"])
        error = float(row["error"]) if row["error"] else None
    except ValueError as problem:
        raise Refused(f"{where}: {problem}") from problem
    if not 0 <= value <= 100 or not row["source"] or not row["protocol"]:
        raise Refused(f"{where}: a row needs a value from 0 to 100, a source and a protocol")
    source, protocol, verified = row["source"], row["protocol"], row["verified"] == "yes"
    paper = Paper(value=value, error=error, source=source, verified=verified, protocol=protocol)
    plain = {name: row[name] for name in ("dataset", "method", "student", "note")}
    return PublishedResult(ipc=ipc, paper=paper, **plain)
