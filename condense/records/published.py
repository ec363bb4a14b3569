"""The published numbers: ``benchmarks/published.csv``, a row a number, their one home."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from condense.errors import Refused
from condense.records.record import Paper

COLUMNS = (
    "dataset",
    "method",
    "ipc",
    "student",
    "value",
    "error",
    "protocol",
    "source",
    "verified",
    "note",
)

Place = tuple[str, str, int, str]
"""Data set, method, IPC (0 for the whole set) and student."""


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """One published number and where it was read.

    Attributes:
        dataset: Name of the data set.
        method: Name of the method; ``whole`` for the whole training set.
        ipc: Images per class; 0 for the whole set.
        student: Name of the student network.
        paper: The number, as records hold it.
        note: Other values that circulate, and doubts.
    """

    dataset: str
    method: str
    ipc: int
    student: str
    paper: Paper
    note: str

    @property
    def place(self) -> Place:
        """Where it stands: there is one number a place."""
        return self.dataset, self.method, self.ipc, self.student


def parse(lines: Iterable[str]) -> dict[Place, PublishedResult]:
    """Reads the table.

    Args:
        lines: CSV text by line, with a head line of `COLUMNS`.

    Raises:
        Refused: if a row is malformed, or a place has two numbers.
    """
    reader = csv.DictReader(lines, strict=True)
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise Refused(f"published.csv has the columns {reader.fieldnames}, not {list(COLUMNS)}")
    table: dict[Place, PublishedResult] = {}
    for row in reader:
        number = _number(row, f"published.csv, line {reader.line_num}")
        if number.place in table:
            raise Refused(f"published.csv, line {reader.line_num}: a second number for {number.place}")
        table[number.place] = number
    return table


@cache
def load() -> Mapping[Place, PublishedResult]:
    """The installed table by place."""
    file = resources.files("condense.benchmarks") / "published.csv"
    return parse(file.read_text(encoding="utf-8").splitlines())


def lookup(dataset: str, method: str, ipc: int, student: str) -> PublishedResult | None:
    """The published number of a place, or None.

    Args:
        dataset: Name of the data set.
        method: Name of the method chain.
        ipc: Images per class; 0 for the whole set.
        student: Name of the student network.
    """
    return load().get((dataset, method, ipc, student))


def _number(row: Mapping[str, str], where: str) -> PublishedResult:
    if set(row) != set(COLUMNS) or None in row.values() or row["verified"] not in ("yes", "no"):
        raise Refused(f"{where}: malformed")
    try:
        value, ipc = float(row["value"]), int(row["ipc"])
        error = float(row["error"]) if row["error"] else None
    except ValueError as problem:
        raise Refused(f"{where}: {problem}") from problem
    if not 0 <= value <= 100 or not row["source"] or not row["protocol"]:
        raise Refused(f"{where}: it wants a value of 0 to 100, a source and a protocol")
    paper = Paper(
        value=value,
        error=error,
        source=row["source"],
        verified=row["verified"] == "yes",
        protocol=row["protocol"],
    )
    return PublishedResult(
        dataset=row["dataset"],
        method=row["method"],
        ipc=ipc,
        student=row["student"],
        paper=paper,
        note=row["note"],
    )
