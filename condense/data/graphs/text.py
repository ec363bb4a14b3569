"""Reads tables of whole numbers from text files and compressed text files.

Many numbers are parsed at once with NumPy, so that the 9 million numbers of molhiv's atoms take about a
second. An error names the file and the line.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int64

from condense.errors import Refused
from condense.reading import gunzip, open_file, open_zip, read_file, read_member

MAX_DIGITS = 18
"""Largest number of digits of a number, so that it fits into 64 bits."""

COMMA, LINE_END, MINUS, ZERO = b",\n-0"

PIECE = 2**17
"""Bytes that are parsed at a time, up to the next end of a line; they fit into a processor's cache."""

PATTERNS = ("*", "raw/*", "split/*/*")
"""Places of files in a folder: TUDataset has no sub-folders, OGB and torch_geometric use ``raw``."""


@dataclass(frozen=True, eq=False)
class Files:
    """The files of a folder or a zip file, by their names without folders.

    Attributes:
        where: The folder or zip file.
        places: Full names of each file, ascending; of several with one name the last is read.
        read_bytes: Returns the content of a file, given its full name.
        read: Names of the files that were read so far.
    """

    where: Path
    places: Mapping[str, Sequence[str]]
    read_bytes: Callable[[str], bytes]
    read: set[str] = field(default_factory=set)

    @property
    def names(self) -> dict[str, str]:
        """Full name of the file that is read for each name."""
        return {name: places[-1] for name, places in self.places.items()}

    def __contains__(self, name: str) -> bool:
        return name in self.places

    def rows(self, name: str, columns: int | None = None, more: str = "") -> Int64[np.ndarray, "n c"]:
        """Reads a table of whole numbers from a file, which may be compressed (``.gz``); see `integers`.

        Raises:
            Refused: If the file is missing or damaged, or holds anything else.
        """
        if name not in self:
            raise Refused(f"{self.where} holds no file {name}")
        what = f"{name} in {self.where}"
        self.read.add(name)
        text = self.read_bytes(self.places[name][-1])
        return integers(gunzip(text, what) if name.endswith(".gz") else text, what, columns, more)

    def column(self, name: str) -> Int64[np.ndarray, " n"]:
        """Reads a file with one whole number per line."""
        return self.rows(name, 1)[:, 0]


def open_files(path: Path) -> Files:
    """Lists the files of a folder or of a zip file, which may contain folders.

    Raises:
        Refused: If there is no such folder or zip file.
    """
    if path.is_dir():
        found = (str(file) for pattern in PATTERNS for file in path.glob(pattern) if file.is_file())
        return Files(path, _by_last_part(found), lambda name: read_file(Path(name)))
    archive = open_zip(open_file(path), f"{path}", "an intact zip file")
    return Files(
        path, _by_last_part(archive.namelist()), lambda name: read_member(archive, name, f"{name} in {path}")
    )


def _by_last_part(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(name for name in names if not name.endswith("/")):
        found.setdefault(PurePosixPath(name).name, []).append(name)
    return found


def integers(text: bytes, what: str, columns: int | None = None, more: str = "") -> Int64[np.ndarray, "n c"]:
    """Parses whole numbers that are separated by commas, with one row per line.

    Blanks beside commas and at the ends of lines are ignored, and so are empty lines at the end of the text.

    Args:
        text: ASCII digits, minus signs, commas and ends of lines.
        what: Name of the file, for error messages.
        columns: Numbers per row; by default as many as in the first row.
        more: What the refusal of a value adds.

    Raises:
        Refused: If a row has another length, or a value is not a whole number of at most 18 digits.
    """
    text = text.rstrip()
    if not text:
        return np.zeros((0, columns or 1), np.int64)
    width = columns or text.count(b",", 0, text.find(b"\n") if b"\n" in text else len(text)) + 1
    parts = []
    start, line = 0, 1
    while start < len(text):
        end = text.find(b"\n", start + PIECE)
        piece = text[start : end if end >= 0 else len(text)]
        parts.append(_piece(piece, what, width, line, more))
        start += len(piece) + 1
        line += len(parts[-1])
    return np.concatenate(parts)


def _piece(text: bytes, what: str, width: int, line: int, more: str) -> Int64[np.ndarray, "n c"]:
    """Parses complete lines of a text; ``line`` is the number of the first."""
    text = _dense(text + b"\n")
    codes = np.frombuffer(text, np.uint8)
    apart = (codes == COMMA) | (codes == LINE_END)
    ends = np.flatnonzero(apart)
    starts = np.concatenate([[0], ends[:-1] + 1])
    negative = codes[starts] == MINUS
    starts += negative
    lengths = ends - starts
    digits = codes - np.uint8(ZERO)
    foreign = (digits > 9) & ~apart
    foreign[starts[negative] - 1] = False
    if foreign.any() or lengths.min() < 1 or lengths.max() > MAX_DIGITS:
        wrong = (lengths < 1) | (lengths > MAX_DIGITS)
        wrong[np.searchsorted(ends, np.flatnonzero(foreign))] = True
        at = int(wrong.argmax())
        value = text[starts[at] - negative[at] : ends[at]].decode("ascii", "replace")
        line += text.count(b"\n", 0, int(ends[at]))
        raise Refused(f"line {line} of {what} holds {value[:24]!r}, which is not a whole number{more}")
    closes = codes[ends] == LINE_END
    if len(ends) % width or closes.sum() * width != len(ends) or not closes[width - 1 :: width].all():
        counts = np.diff(np.flatnonzero(closes), prepend=-1)
        at = int((counts != width).argmax())
        raise Refused(f"line {line + at} of {what} holds {counts[at]} numbers, not {width}")
    values: Int64[np.ndarray, " _"] = digits[starts].astype(np.int64)
    for place in range(1, int(lengths.max())):
        longer = np.flatnonzero(lengths > place)
        values[longer] = 10 * values[longer] + digits[starts[longer] + place]
    np.negative(values, out=values, where=negative)
    return values.reshape(-1, width)


def _dense(text: bytes) -> bytes:
    """Removes blanks beside commas and ends of lines; blanks between digits stay and are an error."""
    text = text.replace(b"\r\n", b"\n").replace(b", ", b",")
    before = -1
    while len(text) != before and b" " in text:
        before = len(text)
        for mark in (b",", b"\n"):
            text = text.replace(b" " + mark, mark).replace(mark + b" ", mark)
    return text.lstrip(b" ")
