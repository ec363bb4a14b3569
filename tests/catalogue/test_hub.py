"""Sets on the hub: pushed and loaded again bit by bit, against a fake of its file API on this machine."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from condense.catalogue.hub import Address, fetch, push
from condense.errors import Refused
from condense.store import examine, load
from tests.catalogue.fake_hub import FakeHub, serving

pytest.importorskip("huggingface_hub")

SET = next((Path(__file__).parents[2] / "results" / "sets").glob("mutag-*"))


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub without repositories, for a user who is logged in."""
    with serving(FakeHub()) as fake:
        monkeypatch.setenv("HF_ENDPOINT", fake.url)
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
        yield fake


def pushed(folder: Path = SET, repo: str = "user/trees") -> str:
    return push(examine(folder), folder, repo)


def test_a_pushed_set_comes_back_bit_by_bit(hub: FakeHub) -> None:
    address = pushed()
    assert address == f"hf://user/trees@{hub.sha('user/trees', -1)}"
    for name in ("hf://user/trees", address, address[: address.index("@") + 9]):
        folder = fetch(name)
        assert load(folder).hash == load(SET).hash
        assert examine(folder) == examine(SET)
        assert {path.name for path in folder.iterdir()} == {path.name for path in SET.iterdir()}


def test_a_commit_that_was_downloaded_needs_no_hub(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    address = pushed()
    folder = fetch(address)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert fetch(address) == folder
    with pytest.raises(Refused, match="nothing could be exchanged with the hub"):
        fetch("hf://user/trees")


def test_a_second_push_replaces_the_set_and_leaves_the_first_commit(hub: FakeHub, tmp_path: Path) -> None:
    first = pushed()
    hub.repos["user/trees"][-1]["replay-0.safetensors"] = b"of another set"
    second = pushed()
    assert set(hub.repos["user/trees"][-1]) == {".gitattributes", *(path.name for path in SET.iterdir())}
    assert first != second and load(fetch(first)).hash == load(fetch(second)).hash


def test_what_is_no_set_is_neither_downloaded_nor_replaced(hub: FakeHub) -> None:
    hub.repos["user/other"] = [{"train.parquet": b"x", "README.md": b"y"}]
    with pytest.raises(Refused, match="holds no set of condense: there is no set.json"):
        fetch("hf://user/other")
    with pytest.raises(Refused, match="holds train.parquet, which is no part of a set"):
        pushed(repo="user/other")
    assert len(hub.repos["user/other"]) == 1


def test_only_the_files_of_a_set_are_downloaded(hub: FakeHub) -> None:
    pushed()
    hub.repos["user/trees"][-1] |= {"evil.py": b"x", "sub/set.json": b"{}"}
    assert {path.name for path in fetch("hf://user/trees").iterdir()} == {path.name for path in SET.iterdir()}


def test_an_altered_file_is_refused_where_it_is_loaded(hub: FakeHub) -> None:
    pushed()
    hub.garbled = True
    with pytest.raises(Refused):
        load(fetch("hf://user/trees"))


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda: fetch("hf://user/nowhere"), "the hub knows no such repository"),
        (lambda: fetch("hf://user/trees@v9"), "no such revision"),
        (lambda: fetch("hf://user"), "no address of a set on the hub"),
        (lambda: fetch("hf://../../etc"), "no address of a set on the hub"),
        (lambda: fetch("hf://us er/x"), "no address of a set on the hub"),
        (lambda: pushed(repo="trees"), "no address of a set on the hub"),
        (lambda: pushed(repo="user/trees@v1"), "main branch"),
        (lambda: pushed(repo="user/a..b"), "no address of a set on the hub"),
        (lambda: pushed(repo="user/-"), "nothing could be exchanged"),
    ],
)
def test_bad_addresses_end_in_one_sentence(hub: FakeHub, act: Callable[[], object], sentence: str) -> None:
    pushed()
    with pytest.raises(Refused, match=sentence):
        act()


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_hub_that_lets_nobody_write_is_told(hub: FakeHub, status: int) -> None:
    hub.denied = status
    with pytest.raises(Refused, match="hf://user/trees") as caught:
        pushed()
    assert ("hf auth login" in str(caught.value)) == (status != 500)


def test_a_damaged_set_is_not_pushed(hub: FakeHub, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(SET, folder)
    (folder / "gallery.png").write_bytes(b"another picture")
    (folder / "extra.txt").write_text("x")
    with pytest.raises(Refused):
        pushed(folder)
    assert hub.repos == {}


def test_an_address_is_read_as_it_is_written() -> None:
    for text in ("hf://a/b", "hf://a-b/c.d_e@refs/pr/1", "hf://a/b@" + 40 * "0"):
        assert str(Address.parse(text)) == text
