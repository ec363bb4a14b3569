"""Parsing whole numbers from text: every table is restored, and everything else is refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.data.graphs import text as graph_text
from condense.data.graphs.text import integers, open_files
from condense.errors import Refused

tables = st.integers(1, 4).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(-(10**18) + 1, 10**18 - 1), min_size=width, max_size=width),
        min_size=1,
        max_size=12,
    )
)


@settings(max_examples=80, deadline=None)
@given(
    table=tables,
    comma=st.sampled_from([",", ", ", " ,  "]),
    end=st.sampled_from(["\n", "\r\n", "  \n "]),
    last=st.sampled_from(["", "\n", " \n\n"]),
    piece=st.sampled_from([1, 9, 30, 2**17]),
)
def test_every_table_is_restored_in_pieces_of_any_size(
    table: list[list[int]], comma: str, end: str, last: str, piece: int
) -> None:
    text = end.join(comma.join(map(str, row)) for row in table) + last
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_text, "PIECE", piece)
        read = integers(text.encode(), "it")
    assert read.dtype == np.int64 and read.tolist() == table


def test_an_empty_file_has_no_rows() -> None:
    assert integers(b"", "it", 2).shape == (0, 2)
    assert integers(b"\n\n", "it").shape == (0, 1)


@pytest.mark.parametrize("piece", [4, 2**17])
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1,2\n3,4\n5,x6\n7,8", "line 3 of it holds 'x6', which is not a whole number"),
        ("1,2\n3,4.0\n", "line 2 of it holds '4.0', which"),
        ("1,2\n3,nan\n", "line 2 of it holds 'nan', which"),
        ("1,2\n3 4,5\n", "line 2 of it holds '3 4', which"),
        ("1,2\n\n3,4\n", "line 2 of it holds '', which"),
        ("1,2\n3,\n", "line 2 of it holds '', which"),
        ("1,2\n3,-\n", "line 2 of it holds '-', which"),
        ("1,2\n3,--4\n", "line 2 of it holds '--4', which"),
        ("1,2\n3,4-5\n", "line 2 of it holds '4-5', which"),
        ("1,2\n3,1000000000000000000\n", "line 2 of it holds '1000000000000000000', which"),
        ("1,2\n3,4\n5\n7,8\n9\n", "line 3 of it holds 1 numbers, not 2"),
        ("1,2\n3,4\n5\n", "line 3 of it holds 1 numbers, not 2"),
        ("1,2\n3,4,5\n6\n", "line 2 of it holds 3 numbers, not 2"),
    ],
)
def test_a_malformed_table_is_refused_with_its_line(
    text: str, sentence: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_text, "PIECE", piece)
    with pytest.raises(Refused) as refused:
        integers(text.encode(), "it")
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def test_a_wrong_number_of_columns_is_refused() -> None:
    with pytest.raises(Refused, match="line 1 of it holds 3 numbers, not 2"):
        integers(b"1,2,3\n4,5,6\n", "it", 2)


def test_files_are_found_in_a_folder_and_unpacked(tmp_path: Path) -> None:
    for name in ("X_A.txt", "raw/edge.csv.gz", "split/scaffold/train.csv.gz", "processed/deep/down/y.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(b"1\n2\n") if name.endswith(".gz") else b"3\n")
    files = open_files(tmp_path)
    assert set(files.names) == {"X_A.txt", "edge.csv.gz", "train.csv.gz"}
    assert files.column("train.csv.gz").tolist() == [1, 2] and files.column("X_A.txt").tolist() == [3]
    whole = (tmp_path / "raw/edge.csv.gz").read_bytes()
    for content in (b"", b"plain text", whole[:-9]):
        (tmp_path / "raw/edge.csv.gz").write_bytes(content)
        if content:
            with pytest.raises(Refused, match="edge.csv.gz in .* is damaged"):
                files.column("edge.csv.gz")
    with pytest.raises(Refused, match="holds no file none.txt"):
        files.column("none.txt")
