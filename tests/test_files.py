import hashlib
import os
from pathlib import Path

import pytest
import torch

from condense.errors import Refused
from condense.files import (
    canonical,
    digest,
    folder_name,
    hash_tensors,
    home,
    require_writable,
    short_name,
    write_atomic,
)


def test_equal_values_have_equal_texts_in_any_order_of_keys() -> None:
    assert canonical({"b": [1, 2.5, None], "a": {"d": True, "c": "x"}}) == (
        '{"a":{"c":"x","d":true},"b":[1,2.5,null]}'
    )
    assert canonical({"b": 1, "a": 2}, indent=1) == '{\n "a": 2,\n "b": 1\n}'
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})


def test_a_name_is_cut_only_if_it_is_too_long() -> None:
    assert short_name("a" * 234, ".jsonl") == "a" * 234 + ".jsonl" and short_name("a b:c") == "a_b_c"
    long = short_name("a" * 235, ".jsonl")
    assert len(long) == 240 and long == f"{'a' * 225}-{digest('a' * 235)[:8]}.jsonl"


def test_a_folder_has_a_name_that_windows_allows_only_there() -> None:
    name = "imagenet:n01440764-dm+fyi[cat,dog]~crop"
    assert folder_name(name, windows=False) == name
    assert folder_name(name, windows=True) == name.replace(":", "_")


def test_a_digest_is_the_sha_256_of_the_canonical_text() -> None:
    assert digest([]) == hashlib.sha256(b"[]").hexdigest()
    assert digest([]) == "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"x": -float("inf")}])
def test_numbers_that_json_does_not_know_are_not_hashed(value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest(value)


def test_the_hash_of_tensors_covers_prefix_name_dtype_shape_and_bytes() -> None:
    tensors = {"b": torch.tensor([1, 2], dtype=torch.int16), "a": torch.tensor(1.0)}
    parts = [b"p", b'["a","float32",[]]', b"\x00\x00\x80\x3f", b'["b","int16",[2]]', b"\x01\x00\x02\x00"]
    assert hash_tensors(tensors, "p") == hashlib.sha256(b"".join(parts)).hexdigest()


def test_the_hash_of_tensors_ignores_the_memory_layout() -> None:
    x = torch.arange(6.0).view(2, 3)
    hashes = [
        hash_tensors({"x": x}),
        hash_tensors({"x": x}, "prefix"),
        hash_tensors({"y": x}),
        hash_tensors({"x": x.double()}),
        hash_tensors({"x": x.view(3, 2)}),
        hash_tensors({"x": -x}),
        hash_tensors({"x": x, "y": x}),
        hash_tensors({"x": x.bfloat16()}),
    ]
    assert len(set(hashes)) == len(hashes)
    assert hash_tensors({"x": x.t().contiguous().t()}) == hashes[0]
    assert hash_tensors({"x": x.clone().requires_grad_()}) == hashes[0]
    assert hash_tensors({"x": x[:, 0][:1]}) == hash_tensors({"x": torch.zeros(1)})
    assert hash_tensors({"x": x[:0].t()}) == hash_tensors({"x": torch.zeros(3, 0)})


def test_a_write_creates_the_folder_and_leaves_only_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    write_atomic(path, "long old text")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new" and list(path.parent.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Refused, match=f"cannot write {path}: No space left on device"):
        write_atomic(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_writing_below_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(Refused, match=f"cannot write {file}/sub/x: "):
        write_atomic(file / "sub" / "x", "text")
    for folder in (file, file / "sub" / "er"):
        with pytest.raises(Refused, match=f"cannot write to {folder}: {file} is not a folder"):
            require_writable(folder)


def test_checking_whether_a_folder_is_writable_creates_nothing(tmp_path: Path) -> None:
    require_writable(tmp_path)
    require_writable(tmp_path / "not" / "there" / "yet")
    assert not list(tmp_path.iterdir())


def test_the_home_folder_is_chosen_or_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDENSE_HOME", str(tmp_path / "own"))
    assert home() == tmp_path / "own"
    monkeypatch.delenv("CONDENSE_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert home() == tmp_path / "cache" / "condense"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path / ".cache" / "condense"
