"""All pages of a board: the front page, and one for each dataset."""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from condense.board.catalogue import stored_folders
from condense.board.datasets import DatasetResults, Gathered
from condense.board.details import details_page
from condense.board.extras import Extras
from condense.board.front import front_page
from condense.board.plot_files import plot_files
from condense.store.manifest import CARD, GALLERY

PAGE = "board.md"
"""The name of a dataset's page, in the folder of its records."""
FRONT = "leaderboard.md"
"""The name of the front page, beside the results folder."""
MARK = "<!-- written by condense leaderboard -->\n"
"""What a dataset's page begins with; others of that name are left alone."""


def board_pages(board: Gathered, results: Path) -> dict[Path, str]:
    """Returns the text of each page of the board by its path, the front page first.

    Args:
        board: The gathered entries.
        results: The results folder; links lead to the sets that are stored in it.
    """
    tables, found = board.tables, board.datasets
    by_folder: dict[str, list[DatasetResults]] = defaultdict(list)
    for one in found:
        by_folder[one.folder].append(one)
    extras, files, front = Extras(tables), plot_files(tables), results.parent / FRONT
    paths = {folder: results / folder / PAGE for folder in by_folder}
    sets = {content: results / "sets" / name for content, name in stored_folders(results / "sets").items()}
    pages = {front: front_page(found, tables, {name: _path(path, front) for name, path in paths.items()})}
    for folder, mine in by_folder.items():
        page = paths[folder]
        plots = {
            key: [_path(results.parent / "plots" / name, page) for name in names.values()]
            for key, names in files.items()
        }
        links = {content: _links(folder, page) for content, folder in sets.items()}
        pages[page] = f"{MARK}\n{details_page(mine, extras, plots, links, _path(front, page))}"
    return pages


def has_text(file: Path, text: str) -> bool:
    """Returns whether a file is there and holds a text."""
    return file.is_file() and file.read_bytes() == text.encode()


def stale_pages(results: Path, pages: Iterable[Path]) -> list[Path]:
    """Returns the pages of datasets that no record is left of, which an earlier board wrote.

    Args:
        results: The results folder.
        pages: The paths of the pages that there should be.
    """
    there = sorted(set(results.glob(f"*/{PAGE}")) - set(pages))
    return [page for page in there if page.is_file() and page.read_bytes().startswith(MARK.encode())]


def _path(file: Path, page: Path) -> str:
    """Returns the path of a file from the folder of a page."""
    return Path(os.path.relpath(file, page.parent)).as_posix()


def _links(made: Path, page: Path) -> str:
    """Returns links from a page to the card and the gallery of a stored set, as far as they are there."""
    files = {"card": made / CARD, "gallery": made / GALLERY}
    return ", ".join(f"[{name}]({_path(file, page)})" for name, file in files.items() if file.is_file())
