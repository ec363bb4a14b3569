"""Tables of whole numbers from text and from compressed text, a whole file at a time.

No line is looked at by itself: the digits of many numbers are added up side by side, so that the 9 million
numbers of molhiv's atoms take about a second. A file that is not whole, or holds anything else, is
refused with its name and the line.
"""

import gzip
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int64

from condense.errors import Refused

MAX_DIGITS = 18
"""Of a number in a file: what surely fits into 64 bits."""

COMMA, LINE_END, MINUS, ZERO = b",\n-0"

PIECE = 2**17
"""Bytes that are taken at a time, up to the end of a line: few enough for a processor's cache."""

FOLDERS = ("*", "raw/*", "split/*/*")
"""Where files lie in a dataset's folder: TUDataset's flat, OGB's and torch_geometric's in ``raw``."""


@dataclass(frozen=True, eq=False)
class Files:
    """The files of a folder or a zip file, found by the last part of their names.

    Attributes:
        where: The folder or zip file.
        names: Whole name of each file by its last part.
        read: Gives a file's bytes by its whole name.
    """

    where: Path
    names: Mapping[str, str]
    read: Callable[[str], bytes]

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def rows(self, name: str, columns: int | None = None) -> Int64[np.ndarray, "n c"]:
        """A file's table of whole numbers, ``.gz`` or plain.

        Args:
            name: Last part of the file's name.
            columns: Numbers in a line; as many as in the first line by default.

        Raises:
            Refused: if there is no such file, it is not whole or holds something else.
        """
        if name not in self.names:
            raise Refused(f"{self.where} holds no file {name}")
        try:
            text = self.read(self.names[name])
            text = gzip.decompress(text) if name.endswith(".gz") else text
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise Refused(f"{name} in {self.where} is not whole: {error}") from error
        return integers(text, f"{name} in {self.where}", columns)

    def column(self, name: str) -> Int64[np.ndarray, " n"]:
        """The numbers of a file with one in a line."""
        return self.rows(name, 1)[:, 0]


def open_files(path: Path) -> Files:
    """The files of a folder or of a zip file, which may have folders of its own.

    Raises:
        Refused: if there is neither.
    """
    if path.is_dir():
        found = (str(file) for pattern in FOLDERS for file in path.glob(pattern) if file.is_file())
        return Files(path, _by_last_part(found), lambda name: Path(name).read_bytes())
    if not path.is_file():
        raise Refused(f"there is no file or folder {path}")
    try:
        held = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise Refused(f"{path} is not a whole zip file: {error}") from error
    return Files(path, _by_last_part(held.namelist()), held.read)


def _by_last_part(names: Iterable[str]) -> dict[str, str]:
    return {PurePosixPath(name).name: name for name in sorted(names)}


def integers(text: bytes, what: str, columns: int | None = None) -> Int64[np.ndarray, "n c"]:
    """The whole numbers of a text with commas between numbers and ends of lines between rows.

    Blanks beside commas and line ends are left out, and so are empty lines at the end.

    Args:
        text: ASCII digits, minus signs, commas and ends of lines.
        what: Name of the file, for refusals.
        columns: Numbers in a row; as many as in the first row by default.

    Raises:
        Refused: if a line has more or fewer numbers, or what is no whole number of 18 digits at most.
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
        parts.append(_piece(piece, what, width, line))
        start += len(piece) + 1
        line += len(parts[-1])
    return np.concatenate(parts)


def _piece(text: bytes, what: str, width: int, line: int) -> Int64[np.ndarray, "n c"]:
    """Some whole lines of a text, of which the first is the ``line``-th."""
    text = _dense(text + b"\n")
    held = np.frombuffer(text, np.uint8)
    apart = (held == COMMA) | (held == LINE_END)
    ends = np.flatnonzero(apart)
    starts = np.concatenate([[0], ends[:-1] + 1])
    negative = held[starts] == MINUS
    starts += negative
    lengths = ends - starts
    digits = held - np.uint8(ZERO)
    foreign = (digits > 9) & ~apart
    foreign[starts[negative] - 1] = False
    if foreign.any() or lengths.min() < 1 or lengths.max() > MAX_DIGITS:
        wrong = (lengths < 1) | (lengths > MAX_DIGITS)
        wrong[np.searchsorted(ends, np.flatnonzero(foreign))] = True
        at = int(wrong.argmax())
        value = text[starts[at] - negative[at] : ends[at]].decode("ascii", "replace")
        line += text.count(b"\n", 0, int(ends[at]))
        raise Refused(f"line {line} of {what} holds {value[:24]!r}, which is no whole number")
    closes = held[ends] == LINE_END
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
    """The text without blanks beside commas and ends of lines; blanks between numbers stay, to be refused."""
    text = text.replace(b"\r\n", b"\n").replace(b", ", b",")
    before = -1
    while len(text) != before and b" " in text:
        before = len(text)
        for mark in (b",", b"\n"):
            text = text.replace(b" " + mark, mark).replace(mark + b" ", mark)
    return text.lstrip(b" ")
