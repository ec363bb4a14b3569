"""What is computed from records in the README beside them: the first results, and what the board says."""

from dataclasses import dataclass
from pathlib import Path

from condense.board.catalogue import stored_folders
from condense.board.compare import RULE
from condense.board.datasets import DatasetResults, Gathered
from condense.board.federated import federated_summary
from condense.board.front import excerpt
from condense.board.labels import labels_summary
from condense.board.pages import PAGE
from condense.board.pruning import pruning_summary
from condense.board.strip import Strip, strip_of
from condense.board.summary import inserted, summary
from condense.board.transfer import transfer_summary
from condense.board.worth import worth_summary
from condense.reading import read_text

FIRST = ("<!-- first results: written by condense leaderboard -->", "<!-- end of first results -->")
"""The marks of the first results."""
METHODS = 6
"""The largest number of methods in the table of the first results."""


@dataclass(frozen=True, kw_only=True)
class Readme:
    """The README beside a results folder.

    Attributes:
        path: The file.
        present: Its text; empty if it is not there.
        text: The text that it should have.
        strip: The picture that it shows; None if it shows none.
    """

    path: Path
    present: str
    text: str
    strip: Strip | None


def readme_of(results: Path, board: Gathered) -> Readme:
    """Returns the README beside a results folder; a part is written only between its marks.

    Args:
        results: The results folder.
        board: The gathered entries of all records.
    """
    path = results.parent / "README.md"
    present = read_text(path) if path.is_file() else ""
    parts = (
        summary(board.tables), labels_summary(board.tables), worth_summary(board.tables),
        pruning_summary(board.tables), transfer_summary(board.tables), federated_summary(board.entries),
    )  # fmt: skip
    told = [part for part in parts if part]
    text = inserted(present, "\n".join([RULE, *told] if told else []), str(path))
    if FIRST[0] not in present and FIRST[1] not in present:
        return Readme(path=path, present=present, text=text, strip=None)
    found = board.datasets
    strip = strip_of(found, stored_folders(results / "sets"))
    first = [strip.markdown(f"{results.name}/sets")] if strip else []
    first += [_table(one, results) for one in found if one.overviews][:1] or ["No records yet.\n"]
    return Readme(
        path=path, present=present, text=inserted(text, "\n".join(first), str(path), FIRST), strip=strip
    )


def _table(one: DatasetResults, results: Path) -> str:
    return excerpt(one, f"{results.name}/{one.folder}/{PAGE}", METHODS)
