"""The pages of a board as text, and reading a Markdown table back."""

import re
from pathlib import Path

import pandas as pd

from condense.board.datasets import gathered
from condense.board.pages import board_pages


def page(entries: pd.DataFrame) -> str:
    """Returns the pages of all datasets, one after the other, without anchors."""
    _, *pages = board_pages(gathered(entries), Path("results")).values()
    return re.sub(r'<a id="[^"]*"></a>', "", "\n".join(pages))


def front(entries: pd.DataFrame) -> str:
    """Returns the front page."""
    return next(iter(board_pages(gathered(entries), Path("results")).values()))


def rows(text: str, names: int = 1) -> dict[str, list[str]]:
    """Returns the cells of each row by its first `names` cells; all lines must have as many cells."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert len({len(row) for row in cells}) == 1
    return {" ".join(row[:names]): row[names:] for row in cells}
