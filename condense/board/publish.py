"""What is made of the records beside them: the board, and what a README says of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from condense.records.record import Record


@contextmanager
def kept(results: Path, plots: bool = False) -> Iterator[None]:
    """Brings the board up to date if the work ends early after it has written records."""
    before = _stamps(results)
    try:
        yield
    except BaseException:
        if _stamps(results) != before:
            refresh(results, plots)
        raise


def _stamps(results: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in results.glob("*/*.json")}


def refresh(results: Path, plots: bool = False) -> "list[Record]":
    """Writes the board, and its plots if asked for, and gives the records that it was made of.

    A README beside the board that has a place for what the board says gets it (`condense.board.summary`).
    """
    from condense.board.plots import draw
    from condense.board.render import render
    from condense.board.summary import inserted, verdict
    from condense.files import write_atomic
    from condense.records.record import read_all

    records = read_all(results)
    write_atomic(results.parent / "leaderboard.md", render(records))
    page = results.parent / "README.md"
    if page.is_file():
        text = page.read_text(encoding="utf-8")
        if (told := inserted(text, verdict(records), str(page))) != text:
            write_atomic(page, told)
    if plots:
        draw(records, results.parent / "plots")
    return records


def require_current(results: Path) -> Path:
    """The board of some records, which must be what they give, as must be what the README says of it.

    Raises:
        Refused: naming the file that is not.
    """
    from condense.board.render import check
    from condense.board.summary import inserted, verdict
    from condense.errors import Refused
    from condense.records.record import read_all

    board, page = results.parent / "leaderboard.md", results.parent / "README.md"
    if not check(results, board):
        raise Refused(f"{board} is not what the records in {results} give; run condense leaderboard")
    if page.is_file():
        text = page.read_text(encoding="utf-8")
        if inserted(text, verdict(read_all(results)), str(page)) != text:
            raise Refused(f"{page} tells otherwise of the records in {results}; run condense leaderboard")
    return board
