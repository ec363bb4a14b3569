"""Reading a Markdown table back."""

import re


def rows(text: str, names: int = 1) -> dict[str, list[str]]:
    """Returns the cells of each row by its first `names` cells; all lines must have the same width."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert len({len(row) for row in cells}) == 1
    return {" ".join(row[:names]): row[names:] for row in cells}
