"""Reads files that anybody may have written: within bounds, or with a sentence that says what is wrong."""

import gzip
import json
import math
import os
import re
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from condense.errors import Refused
from condense.files import first_line

DEEPEST = 64
"""The deepest nesting of JSON that is read."""
LONGEST_KEY = 255
"""Largest number of characters of a key that is read."""
BOMB = 2**27
"""Bytes from which on a file must not unpack to more than `PACKED` times its size."""
PACKED = 100
"""How many times larger than its compressed form real data may be."""
SMALL = 2**16
"""Bytes that most files of JSON do not have."""
MANY_DIGITS = b"0" * 19
"""Numbers with fewer digits than these need no more than 64 bits."""
AS_DIGITS = bytes(ord("0") if chr(byte).isdigit() and byte < 128 else byte for byte in range(256))
"""A translation of bytes that makes each digit a 0."""
LARGE_NUMBER = re.compile(rb"(?<![.\d])\d{19}")
"""A number that has as many digits before its point; those behind it may be any number."""


def whole_number(text: str) -> int | None:
    """Returns the number that one to nine decimal digits stand for; None for all other texts.

    Python refuses to read numbers of thousands of digits.
    """
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None


def parse_json(text: str | bytes, what: str) -> Any:
    """Parses JSON in which every value can be used and written again.

    Refused besides what is not JSON: numbers that are not finite or need more than 64 bits, keys that an
    object has twice or that are endless, halves of UTF-16 pairs, and nesting deeper than `DEEPEST`.

    Args:
        text: The JSON, as text or as UTF-8.
        what: The text's place, for the refusal.

    Raises:
        Refused: if the text is not such JSON.
    """
    plain, values = _plainly(text)
    if plain:
        return values
    try:
        decoded = text if isinstance(text, str) else text.decode()
        values = json.loads(
            decoded, parse_constant=_finite, parse_float=_finite, parse_int=_whole, object_pairs_hook=_once
        )
        if "\\ud" in decoded.lower():
            json.dumps(values, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Refused(f"{what} is not JSON: {first_line(error)}") from error
    level: Sequence[Any] = [values]
    for _ in range(DEEPEST):
        parts = [
            one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)
        ]
        if not (level := [inner for part in parts for inner in part]):
            return values
    raise Refused(f"{what} is nested more than {DEEPEST} levels deep")


def _plainly(text: str | bytes) -> tuple[bool, Any]:
    """Parses JSON that is quickly seen to be within all bounds of `parse_json`, as records and sets are.

    Returns:
        Whether it is such JSON, and its value. Of anything else, valid or not, the careful reading that
        follows says what it is.
    """
    try:
        values = msgspec.json.decode(text)
        raw = text.encode() if isinstance(text, str) else text
        compact, again = msgspec.json.format(raw, indent=-1), msgspec.json.encode(values)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
        return False, None
    if b"\\" in compact:
        return False, None  # every quotation mark begins or ends a text from here on
    keys = compact.split(b'":')  # each but the last ends in a key
    short = (
        max(map(len, keys)) <= LONGEST_KEY
        or max(map(len, compact.split(b'"')[1::2]), default=0) <= LONGEST_KEY
    )
    once = len(keys) == again.count(b'":') + 1  # a key that is there twice is written once
    flat = compact.count(b"{") + compact.count(b"[") < DEEPEST
    small = MANY_DIGITS not in compact.translate(AS_DIGITS)
    small = small or not LARGE_NUMBER.search(b'"'.join(compact.split(b'"')[::2]))  # texts may have them
    return short and once and flat and small, values


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:40]} is no JSON number")
    return value


def _whole(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (value := int(text)) < 2**64:
        raise ValueError(f"{text[:40]} needs more than 64 bits")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if (longest := max(map(len, values), default=0)) > LONGEST_KEY:
        raise ValueError(f"a key has {longest} characters")
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:60]!r} is there twice")
    return values


def open_file(path: Path, at_most: int | None = None) -> BinaryIO:
    """Opens a file for reading; every reader of files that a user names goes through here.

    Args:
        path: The file.
        at_most: The largest size that is accepted, in bytes.

    Raises:
        Refused: if there is no file, it is something else (a folder, a device, a pipe: these could be
            endless or wait for ever), it may not be read, or it is larger.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError as error:
        raise Refused(f"there is no file {path}") from error
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:  # a name that no file can have
        raise Refused(f"there is no file {str(path)!r}: {error}") from error
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        os.close(handle)
        kind = "a folder" if stat.S_ISDIR(about.st_mode) else "no plain file"
        raise Refused(f"cannot read {path}: it is {kind}")
    if at_most is not None and about.st_size > at_most:
        os.close(handle)
        raise Refused(f"cannot read {path}: it has {about.st_size} bytes, and at most {at_most} are read")
    return os.fdopen(handle, "rb")


def read_text(path: Path, at_most: int | None = None) -> str:
    """Returns the content of a file of UTF-8 text: see `open_file`."""
    try:
        return read_file(path, at_most).decode()
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is no UTF-8 text: {error.reason} at byte {error.start}") from error


def read_file(path: Path, at_most: int | None = None) -> bytes:
    """Returns the content of a file: see `open_file`."""
    with open_file(path, at_most) as file:
        try:
            if at_most is None:
                return file.read()
            start = file.read(min(SMALL, at_most))  # for a large number Python takes that much memory at once
            return start if len(start) < SMALL else start + file.read(at_most - SMALL)
        except OSError as error:
            raise Refused(f"cannot read {path}: {error.strerror or error}") from error


@contextmanager
def refused_if_damaged(what: str) -> Iterator[None]:
    """Refuses what a foreign decoder stumbles over in its block: it may raise anything for a damaged file.

    Args:
        what: The start of the sentence, before the error: ``"x.npz is not an intact zip file"``.
    """
    try:
        yield
    except (Refused, MemoryError):
        raise
    except Exception as error:
        raise Refused(f"{what}: {first_line(error)}") from error


def open_zip(file: BinaryIO, where: str, form: str) -> zipfile.ZipFile:
    """Opens a zip file for reading.

    Args:
        file: What `open_file` returned.
        where: Its name, for the refusal.
        form: What it should be: ``"an intact zip file"``.
    """
    with refused_if_damaged(f"{where} is not {form}"):
        return zipfile.ZipFile(file)


def read_member(archive: zipfile.ZipFile, name: str, what: str) -> bytes:
    """Returns the content of a file in a zip file, within the bounds of `require_plausible`."""
    info = archive.getinfo(name)
    require_plausible(info.file_size, info.compress_size, what)
    with refused_if_damaged(f"{what} is damaged"):
        return archive.read(info)


def gunzip(data: bytes, what: str) -> bytes:
    """Returns what gzip compressed, within the bounds of `require_plausible`."""
    with refused_if_damaged(f"{what} is damaged"), gzip.GzipFile(fileobj=BytesIO(data)) as file:
        unpacked = file.read(max(BOMB, PACKED * len(data)) + 1)
    require_plausible(len(unpacked), len(data), what)
    return unpacked


def require_plausible(unpacked: int, packed: int, what: str) -> None:
    """Refuses compressed data that would unpack to far more than real data do, before they are unpacked.

    Args:
        unpacked: Bytes after unpacking.
        packed: Bytes of the compressed data.
        what: The data's name, for the refusal.
    """
    if unpacked > max(BOMB, PACKED * packed):
        raise Refused(f"{what} holds {packed} bytes that would unpack to {unpacked}, which no data do")


def require_version(version: object, known: int, file: Path, form: str, thing: str) -> None:
    """Refuses a file in another version of its format than this condense reads.

    Args:
        version: The version that the file names.
        known: The version that can be read.
        file: The file.
        form: Name of the format.
        thing: The file's content in a word: ``set`` or ``teacher``.
    """
    if type(version) is int and version > known:
        raise Refused(
            f"{file}: this {thing} is of version {version}; "
            f"this condense reads version {known}: update condense"
        )
    if type(version) is not int or version != known:
        raise Refused(f"{file}: {version!r} is no version of a {form}; this condense reads version {known}")
