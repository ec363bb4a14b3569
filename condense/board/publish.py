"""Writes and checks what is computed from records: the board, its plots, a README's summary, a catalogue."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def kept(results: Path, plots: bool = False) -> Iterator[None]:
    """Refreshes the board if the work under it raises after it has written records."""
    before = _times(results)
    try:
        yield
    except BaseException:
        if _times(results) != before:
            refresh(results, plots)
        raise


def _times(results: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in results.glob("*/*.json")}


def refresh(results: Path, plots: bool = False) -> "pd.DataFrame":
    """Writes the board, on request its plots, and the summary in a README beside it that has marks for one.

    Pages of datasets that no record is left of are removed. Where the results have a folder of stored sets,
    their catalogue and its index are written as well.

    Returns:
        The entries of all records (`condense.records.frame.results`).
    """
    from condense.board.catalogue import catalogue_files
    from condense.board.pages import board_pages, has_text, stale_pages
    from condense.board.plots import draw_plots
    from condense.files import locked, write_atomic
    from condense.reading import read_file
    from condense.records.frame import results as read_results

    board, drawn = results.parent / "leaderboard.md", results.parent / "plots"
    # The records are read under the lock, so that no older board replaces a newer one.
    with locked(board, what=f"writes {board}"):
        entries = read_results(results)
        pages = board_pages(entries, results)
        for file, content in pages.items():
            if not has_text(file, content):
                write_atomic(file, content)
        for stale in stale_pages(results, pages):
            stale.unlink()
        page, present, text = _readme(results, entries)
        with locked(page, what=f"writes {page}"):
            if present != text:
                write_atomic(page, text)
        for file, listing in catalogue_files(entries, results / "sets").items():
            if not file.is_file() or read_file(file) != listing.encode():
                write_atomic(file, listing)
        if plots:
            with locked(drawn, what=f"draws {drawn}"):
                draw_plots(entries, drawn)
    return entries


def require_current(results: Path) -> Path:
    """Returns the path of the board, if it agrees with the records: pages, README's summary and catalogue.

    Raises:
        Refused: if one of the files does not agree.
    """
    from condense.board.catalogue import catalogue_files
    from condense.board.pages import board_pages, has_text, stale_pages
    from condense.errors import Refused, Remedy
    from condense.reading import read_file
    from condense.records.frame import results as read_results

    board, entries = results.parent / "leaderboard.md", read_results(results)
    again = Remedy(command="leaderboard", effect="writes it")
    pages = board_pages(entries, results)
    for file, content in pages.items():
        if not has_text(file, content):
            raise Refused(f"{file} is not what the records in {results} give", remedies=[again])
    for stale in stale_pages(results, pages):
        raise Refused(f"{stale} is of a dataset without records in {results}", remedies=[again])
    page, present, text = _readme(results, entries)
    if present != text:
        raise Refused(f"{page} does not agree with the records in {results}", remedies=[again])
    for file, listing in catalogue_files(entries, results / "sets").items():
        if not file.is_file() or read_file(file) != listing.encode():
            raise Refused(f"{file} does not agree with the records in {results}", remedies=[again])
    return board


def _readme(results: Path, entries: "pd.DataFrame") -> tuple[Path, str, str]:
    """Returns the README beside a results folder, its text, and the text that it should have."""
    from condense.board.federated import federated_summary
    from condense.board.pruning import pruning_summary
    from condense.board.summary import inserted, summary
    from condense.board.transfer import transfer_summary
    from condense.reading import read_text

    page = results.parent / "README.md"
    text = read_text(page) if page.is_file() else ""
    parts = (
        summary(entries), pruning_summary(entries), transfer_summary(entries), federated_summary(entries)
    )  # fmt: skip
    told = "\n".join(filter(None, parts))
    return page, text, inserted(text, told, str(page))
