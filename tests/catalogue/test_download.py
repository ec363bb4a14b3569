"""Sets from an address: taken if their hash is the known one, else refused, and nothing is left of them."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import condense
from condense.catalogue import download
from condense.catalogue.form import SetEntry
from condense.errors import Refused
from condense.store import ImageSet
from tests.catalogue.conftest import MakeSet, listed, write
from tests.labelled_sets import labelled

SETS = Path("results") / "sets"
NAME = "toy/random_subset/ipc1"


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, and below some names something worse."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        _, trick, *rest = self.path.split("/")
        if trick == "away":
            self.send_response(302)
            self.send_header("Location", f"file://{self.directory}/one/{rest[-1]}")
            self.end_headers()
        elif trick == "page":
            self._send(b"<html>welcome</html>")
        elif trick in ("endless", "drip") and rest[-1] != "set.json":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"0" * (2**16 if trick == "endless" else 1))
                    self.wfile.flush()
                    time.sleep(0.0 if trick == "endless" else 0.05)
            except OSError:
                return
        elif trick == "short":
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"{")
        else:
            self.path = "/" + "/".join([*([] if trick in ("endless", "drip") else [trick]), *rest])
            super().do_GET()

    def _send(self, data: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a server of the folder ``served``."""
    (tmp_path / "served").mkdir()
    Handler.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "served")))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def refusal(name: str = NAME) -> str:
    """The one sentence that a name is refused with."""
    with pytest.raises(Refused) as caught:
        condense.load(name)
    assert "\n" not in str(caught.value) and ".part" not in str(caught.value)
    return str(caught.value)


def test_a_set_is_downloaded_once_and_then_at_hand(
    here: Path, home: Path, tmp_path: Path, served: str, toy_sets: MakeSet
) -> None:
    made = toy_sets()
    made.save(tmp_path / "served" / "a set@1")
    write(SETS, [listed(made, "a set@1")], url=served + "/")
    assert list(condense.sets()["where"]) == [f"{served}/a%20set%401"]
    for _ in range(2):
        assert condense.load(NAME).hash == made.hash
    assert len(Handler.asked) == 4
    (kept,) = (home / "sets").iterdir()
    assert kept.name == f"toy-random_subset-ipc1-seed0-{made.content['key'][:8]}"
    assert condense.verify(kept) == made.hash
    assert sorted(path.name for path in here.rglob("*") if path.is_file()) == ["catalogue.json"]


def test_stored_labels_are_downloaded_with_their_set(
    here: Path, home: Path, tmp_path: Path, served: str, toy_sets: MakeSet
) -> None:
    plain = toy_sets()
    assert isinstance(plain, ImageSet)
    made = labelled(plain, tmp_path / "labels", batch=3)
    made.save(tmp_path / "served" / "one")
    write(SETS, [entry := listed(made, "one")], url=served)
    assert condense.verify(entry.full) == made.hash
    assert any("replay-00000" in path for path in Handler.asked)


def entry_at(made: Any, folder: str) -> SetEntry:
    return replace(listed(made), folder=folder)


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("other", "/other holds the set "),
        ("forged", "/forged/data.safetensors or set.json was altered: "),
        ("nowhere", "/nowhere/set.json: HTTP Error 404"),
        ("page/one", "/page/one/set.json is not JSON"),
        (
            "endless/one",
            "/endless/one/data.safetensors has more than the 1048771 bytes that",
        ),
        ("drip/one", "/drip/one/data.safetensors: it takes too long"),
        ("short/one", "/short/one/set.json: "),
        ("away/one", "/away/one/set.json: "),
        ("bare", "/bare/README.md: HTTP Error 404"),
    ],
)
def test_what_is_not_the_set_is_refused_and_nothing_is_left(
    folder: str,
    told: str,
    here: Path,
    home: Path,
    tmp_path: Path,
    served: str,
    toy_sets: MakeSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, place = toy_sets(), tmp_path / "served"
    made.save(place / "one")
    toy_sets(1).save(place / "other")
    made.save(place / "forged")
    data = bytearray((place / "forged" / "data.safetensors").read_bytes())
    data[-1] ^= 1
    (place / "forged" / "data.safetensors").write_bytes(data)
    made.save(place / "bare")
    (place / "bare" / "README.md").unlink()
    if folder.startswith("drip"):
        monkeypatch.setattr(download, "PATIENCE", 0.2)
    write(SETS, [entry_at(made, folder)], url=served)
    assert told in refusal()
    assert not home.exists() or list(home.rglob("*")) in ([], [home / "sets"])


def test_an_address_that_does_not_answer_is_refused(here: Path, home: Path, toy_sets: MakeSet) -> None:
    write(SETS, [listed(toy_sets(), "one")], url="http://127.0.0.1:9")
    assert "cannot download http://127.0.0.1:9/one/set.json: " in refusal()
    assert not home.exists()


def test_a_home_that_cannot_be_written_is_refused_ahead_of_the_download(
    here: Path, tmp_path: Path, served: str, toy_sets: MakeSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(SETS, [listed(toy_sets(), "one")], url=served)
    (tmp_path / "file").touch()
    for place in ("/proc/nowhere", str(tmp_path / "file")):
        monkeypatch.setenv("CONDENSE_HOME", place)
        assert f"cannot write to {place}/sets: " in refusal()
    assert Handler.asked == []


def test_a_place_in_the_home_folder_that_is_taken_is_left_alone(
    here: Path, home: Path, tmp_path: Path, served: str, toy_sets: MakeSet
) -> None:
    made = toy_sets()
    made.save(tmp_path / "served" / "one")
    write(SETS, [listed(made, "one")], url=served)
    place = home / "sets" / f"toy-random_subset-ipc1-seed0-{made.content['key'][:8]}"
    place.mkdir(parents=True)
    (place / "mine.txt").write_text("mine")
    assert "there is no set.json in it" in refusal()
    assert [path.name for path in place.iterdir()] == ["mine.txt"]


def test_names_of_a_foreign_catalogue_lead_to_no_other_place(
    here: Path, home: Path, tmp_path: Path, served: str, toy_sets: MakeSet
) -> None:
    made = toy_sets()
    made.save(tmp_path / "served" / "one")
    entry = replace(listed(made, "one"), dataset="../../..", name="../../../random_subset/ipc1")
    write(SETS, [entry], url=served)
    folder = download.download(entry, f"{served}/one", SETS / "catalogue.json")
    assert folder.parent == home / "sets"
    assert sorted(path.name for path in (home / "sets").iterdir()) == [folder.name]
