"""Writes and checks what is computed from records: the board, its plots, parts of a README, a catalogue."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from condense.crew import Crew
    from condense.records.readings import Readings


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
    """Writes the board, on request its plots, and the parts of a README beside it that has marks for them.

    Where the results have a folder of stored sets, their catalogue and its index are written as well. Pages
    of datasets that no record is left of are removed.

    Returns:
        The entries of all records (`condense.records.frame.results`).
    """
    from condense.board.catalogue import catalogue_files
    from condense.board.datasets import gathered as gather_all
    from condense.board.pages import board_pages, has_text, stale_pages
    from condense.board.plot_files import data_of
    from condense.board.plots import begin_plots
    from condense.board.readme import readme_of
    from condense.board.strip import STRIP, draw_strip
    from condense.crew import uncollected
    from condense.files import locked, write_atomic
    from condense.records.folder import record_files
    from condense.records.frame import read_files

    board = results.parent / "leaderboard.md"
    # The records are read under the lock, so that no older board replaces a newer one.
    with locked(board, what=f"writes {board}"):
        files = list(record_files(results))
        with _crew(files, ["condense.board.plots"] * plots) as crew:
            with uncollected():
                entries = read_files(files, crew, _readings(results, files))
                del files  # tens of megabytes, where there are many
                gathered = gather_all(entries)
                end_plots = begin_plots(gathered, results.parent / "plots", crew) if plots else list
                pages = {**board_pages(gathered, results), **catalogue_files(entries, results / "sets")}
            for file, content in pages.items():
                if not has_text(file, content):
                    write_atomic(file, content)
            for stale in stale_pages(results, pages):
                stale.unlink()
            readme = readme_of(results, gathered)
            with locked(readme.path, what=f"writes {readme.path}"):
                if readme.present != readme.text:
                    write_atomic(readme.path, readme.text)
            picture = results / "sets" / STRIP
            if readme.strip and data_of(picture) != readme.strip.data:
                write_atomic(picture, draw_strip(readme.strip, results / "sets"))
            del gathered, pages, readme  # hundreds of megabytes, where there are many
            with _settled():
                end_plots()
    return entries


MANY = 10_000
"""Records from which on several processes share the work, and what was read is kept for the next time."""
AT_MOST = 8
"""Processes that share it."""


def _crew(files: Sequence[Path], more: Sequence[str] = ()) -> "Crew":
    """Returns the processes that read the files of records, and do what needs `more` modules."""
    from condense.crew import Crew, cores

    size = min(cores(), AT_MOST) if len(files) >= MANY else 1
    return Crew(size, ["condense.records.frame", *more])


def _readings(results: Path, files: Sequence[Path]) -> "Readings | None":
    """Returns what is kept of the files of many records; None for fewer, or without a home folder."""
    from condense.errors import Refused
    from condense.records.readings import Readings

    with suppress(Refused):
        return Readings(results) if len(files) >= MANY else None
    return None


def require_current(results: Path) -> Path:
    """Returns the path of the board, if its pages, the README, its picture and the catalogue are current.

    All records are read, whatever is kept of them.

    Raises:
        Refused: if one of the files does not agree.
    """
    from condense.board.catalogue import catalogue_files
    from condense.board.datasets import gathered as gather_all
    from condense.board.pages import board_pages, has_text, stale_pages
    from condense.board.plot_files import data_of
    from condense.board.readme import readme_of
    from condense.board.strip import STRIP
    from condense.crew import uncollected
    from condense.errors import Refused, Remedy
    from condense.records.folder import record_files
    from condense.records.frame import read_files

    files = list(record_files(results))
    board, again = results.parent / "leaderboard.md", Remedy(command="leaderboard", effect="writes it")
    with uncollected(), _crew(files) as crew:
        gathered = gather_all(read_files(files, crew))
        pages = {**board_pages(gathered, results), **catalogue_files(gathered.entries, results / "sets")}
    for file, content in pages.items():
        if not has_text(file, content):
            raise Refused(f"{file} is not what the records in {results} give", remedies=[again])
    for stale in stale_pages(results, pages):
        raise Refused(f"{stale} is of a dataset without records in {results}", remedies=[again])
    readme, picture = readme_of(results, gathered), results / "sets" / STRIP
    if readme.present != readme.text:
        raise Refused(f"{readme.path} does not agree with the records in {results}", remedies=[again])
    if readme.strip and data_of(picture) != readme.strip.data:
        raise Refused(f"{picture} does not show what the records in {results} give", remedies=[again])
    return board


@contextmanager
def _settled() -> Iterator[None]:
    """Keeps the collector of reference cycles, in a block, away from all objects that there are before it."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
