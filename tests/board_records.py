"""The committed records, which several tests look at: each process of the tests reads them once."""

from functools import cache
from pathlib import Path

from condense.records.folder import read_records, record_files
from condense.records.record import Record

RESULTS = Path(__file__).parents[1] / "results"


@cache
def board_records() -> tuple[Record, ...]:
    """Every committed record, in order of path; records are frozen, so tests can share them."""
    return tuple(read_records(RESULTS))


def board_files() -> list[tuple[Path, Record]]:
    """The file of each committed record, and what was read from it."""
    return list(zip(record_files(RESULTS), board_records(), strict=True))
