"""Mutated files: a hypothesis strategy that damages bytes, JSON, safetensors, tables and archives.

`mutated` gives a form of file that is near a good one and mostly wrong: bits are flipped, pieces are cut,
doubled, swapped or overwritten; and where the form is known, values become huge, deep, negative or of another
type, keys are lost or doubled, and declared sizes lie.
"""

import gzip
import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

VALUES: tuple[str, ...] = (
    "null", "true", "-1", "0", "1e300", "1e999", "NaN", "1" + "0" * 300, "9" * 19, "-0.5", '""', '"\\ud800"',
    '"a\\u0000b"', '"../../x"', '"digits@abc"', '"@99999999"', json.dumps("x" * 3000), "[]", "{}", "[null]",
    "[" * 200 + "]" * 200, "[" * 20_000, '{"a":' * 90 + "1" + "}" * 90, "2147483648", "13000", '"\\u001b[2J"',
)  # fmt: skip
"""JSON texts that a value is replaced by."""
CELLS: tuple[bytes, ...] = (
    b"-1", b"0", b"999999999999999999", b"9" * 300, b"2000000000", b"1e300", b"x", b"", b"1,2,3", b"nan",
    b"\xff",
)  # fmt: skip
"""Texts that a number of a table is replaced by."""

Change = Callable[[bytes, random.Random], bytes]


def mutated(data: bytes, form: str) -> st.SearchStrategy[bytes]:
    """Returns a strategy of files that are near a good one.

    Args:
        data: The good file.
        form: ``json``, ``safetensors``, ``toml``, ``table``, ``zip``, ``npz`` or ``bytes``.
    """
    return st.integers(0, 2**48).map(lambda seed: mutate(data, form, random.Random(seed)))


def mutate(data: bytes, form: str, rng: random.Random) -> bytes:
    """Returns the file after one to three changes; see `mutated`."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        change = rng.choice(BYTES if form not in FORMS or rng.random() < 0.4 else FORMS[form])
        data = change(data, rng)
    return data


def flip(data: bytes, rng: random.Random) -> bytes:
    """Flips one bit."""
    if not data:
        return b"\0"
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def cut(data: bytes, rng: random.Random) -> bytes:
    """Cuts the file off, or a piece out of it."""
    start = rng.randint(0, len(data))
    return data[:start] + data[rng.randint(start, len(data)) if rng.random() < 0.5 else len(data) :]


def insert(data: bytes, rng: random.Random) -> bytes:
    """Inserts random bytes, or a piece of the file once more."""
    place, start = rng.randint(0, len(data)), rng.randint(0, len(data))
    piece = rng.randbytes(rng.randint(1, 9)) if rng.random() < 0.5 else data[start : start + 64]
    return data[:place] + piece + data[place:]


def overwrite(data: bytes, rng: random.Random) -> bytes:
    """Overwrites a number with an extreme one."""
    number = rng.choice((b"\xff" * 8, b"\0" * 8, struct.pack("<q", 2**62), struct.pack("<d", float("nan"))))
    size, place = rng.choice((1, 2, 4, 8)), rng.randint(0, max(0, len(data) - 8))
    return data[:place] + number[:size] + data[place + size :]


def swap(data: bytes, rng: random.Random) -> bytes:
    """Exchanges two pieces."""
    a, b = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
    size = min(rng.randint(1, 16), b - a)
    return data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]


BYTES: tuple[Change, ...] = (flip, flip, cut, insert, overwrite, swap)


def change_json(data: bytes, rng: random.Random) -> bytes:
    """Changes one value of a JSON text, loses or doubles a key, or adds one."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return flip(data, rng)
    places = _places(values)
    if not places:
        return rng.choice(VALUES).encode()
    holder, key = rng.choice(places)
    mark, text = "@mutated@", rng.choice(VALUES)
    kind = rng.random()
    if kind < 0.15:
        del holder[key]
        return json.dumps(values, indent=rng.choice((None, 1, 2))).encode()
    if kind < 0.3 and isinstance(holder, dict):
        kept = json.dumps(holder[key])
        holder[key] = mark
        doubled = f"{rng.choice((kept, text))}, {json.dumps(key)}: {kept}"
        return json.dumps(values, indent=2).replace(f'"{mark}"', doubled).encode()
    if kind < 0.4 and isinstance(holder, dict):
        holder[rng.choice(("mood", "", "a" * 3000, f"{key} "))] = mark
    else:
        holder[key] = mark
    return json.dumps(values, indent=2).replace(f'"{mark}"', text).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in parts:
        found += [(value, key), *_places(inner)]
    return found


def change_header(data: bytes, rng: random.Random) -> bytes:
    """Changes the JSON header of a safetensors file, with a length that goes with it or not."""
    size = int.from_bytes(data[:8], "little")
    if size > len(data):
        return flip(data, rng)
    header = change_json(data[8 : 8 + size], rng)
    header += b" " * (-len(header) % 8)
    length = rng.choice((len(header), len(header), len(header), size, 2**40))
    return length.to_bytes(8, "little") + header + data[8 + size :]


def change_toml(data: bytes, rng: random.Random) -> bytes:
    """Changes a line of a TOML file."""
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    name = lines[place].split(b"=")[0]
    value = rng.choice(
        (*VALUES, "[" * 100_000, "1979-05-27", "[1, 2, 'x']", "inf", '"""', "{a = 1}", "0x7f" * 9)
    )
    lines[place] = rng.choice((name + b"= " + value.encode(), lines[place] * 2, value.encode(), b"[[cell]]"))
    return b"\n".join(lines)


def change_table(data: bytes, rng: random.Random) -> bytes:
    """Changes a number of a table, or loses or doubles a line."""
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    cells = lines[place].split(b",")
    cells[rng.randrange(len(cells))] = rng.choice(CELLS)
    lines[place : place + 1] = rng.choice(([b",".join(cells)], [b",".join(cells)], [], [lines[place]] * 2))
    return b"\n".join(lines)


def change_array(data: bytes, rng: random.Random) -> bytes:
    """Changes the header of a NumPy array: its shape, its type, or the depth of its brackets."""
    text = rng.choice((
        b"[" * 900, b"-" * 900 + b"1", b"(10000000000,)", b"(1000000,1000000)", b"()", b"(-1,)", b"(True,)",
        b"(2.5,)", b"'|O'", b"'|V1000000000'", b"'<f8'", b"'|S0'", b"'<M8[D]'", b"{}",
        b"(9" + b"9" * 200 + b",)",
    ))  # fmt: skip
    start, end = 10, data.find(b"\n") + 1
    header = re.sub(rng.choice((rb"\([^)]*\)", rb"'\|u1'|'<i8'")), lambda _: text, data[start:end], count=1)
    return data[:8] + struct.pack("<H", len(header)) + header + data[end:]


def change_member(data: bytes, rng: random.Random) -> bytes:
    """Changes one file of a zip file, or its name, or its declared sizes."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            members = {info.filename: file.read(info) for info in file.infolist()}
    except Exception:  # it is damaged already
        return flip(data, rng)
    if not members:
        return b""
    name = rng.choice([*members])
    kind = rng.random()
    if kind < 0.1:
        del members[name]
    elif kind < 0.2:
        members[rng.choice(("../x", "a/" * 200, "x.npy", "\u202e"))] = members.pop(name)
    else:
        members[name] = _inner(name, members[name], rng)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED))) as file:
        for inner, content in members.items():
            file.writestr(inner, content)
    whole = packed.getvalue()
    if kind > 0.9:  # the sizes in the directory of the zip file lie
        place = whole.rfind(b"PK\x01\x02")
        return whole[: place + 20] + struct.pack("<II", 2**20, 2**31 - 1) + whole[place + 28 :]
    return whole


def _inner(name: str, content: bytes, rng: random.Random) -> bytes:
    if name.endswith(".npy"):
        return rng.choice((change_array, change_array, *BYTES))(content, rng)
    if name.endswith(".gz"):
        return change_gzip(content, rng)
    return rng.choice((change_table, change_table, *BYTES))(content, rng)


def change_gzip(data: bytes, rng: random.Random) -> bytes:
    """Changes the table in a gzip file."""
    try:
        return gzip.compress(rng.choice((change_table, *BYTES))(gzip.decompress(data), rng))
    except Exception:  # it is damaged already
        return flip(data, rng)


FORMS: dict[str, tuple[Change, ...]] = {
    "json": (change_json,),
    "safetensors": (change_header,),
    "toml": (change_toml,),
    "table": (change_table,),
    "zip": (change_member,),
    "npz": (change_member,),
    "gzip": (change_gzip,),
}
"""The changes of each form; all others have those of bytes alone."""
