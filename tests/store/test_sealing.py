"""`condense verify` looks at every byte in a set's folder, and names what nothing vouches for."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from condense.errors import Refused
from condense.files import canonical
from condense.store import examine, load, verify
from tests.store.conftest import make_set
from tests.store.graph_sets import make as make_graphs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set on disk."""
    make_set(soft=torch.float32, provenance={"device": "cpu", "seconds": 1.5}).save(tmp_path / "set")
    return tmp_path / "set"


def rewrite(folder: Path, change: Callable[[dict[str, dict[str, object]]], object]) -> None:
    whole = json.loads((folder / "set.json").read_text())
    change(whole)
    (folder / "set.json").write_text(canonical(whole, indent=2) + "\n")


def test_nothing_of_a_set_that_is_written_now_goes_unchecked(folder: Path, tmp_path: Path) -> None:
    made = make_graphs(seed=3)
    made.save(tmp_path / "graphs")
    for path in (folder, tmp_path / "graphs"):
        found = examine(path)
        assert (found.unchecked, found.unknown) == ((), ()) and found.hash == load(path).hash


def test_a_set_that_is_loaded_and_stored_again_is_sealed_again(folder: Path, tmp_path: Path) -> None:
    load(folder).save(tmp_path / "again")
    assert examine(tmp_path / "again") == examine(folder)


def test_of_an_older_set_the_card_the_gallery_and_the_provenance_are_named(folder: Path) -> None:
    rewrite(folder, lambda whole: [whole["provenance"].pop(key) for key in ("files", "seal")])
    assert examine(folder).unchecked == ("README.md", "gallery.png", "the provenance in set.json")
    rewrite(folder, lambda whole: whole["provenance"].update(seal="0"))
    with pytest.raises(Refused, match="its provenance is not the one that was written"):
        verify(folder)


def extra_file(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")


def folder_inside(folder: Path) -> None:
    (folder / "sub").mkdir()


def link(folder: Path) -> None:
    (folder / "gallery.png").rename(folder.parent / "gallery.png")
    (folder / "gallery.png").symlink_to(folder.parent / "gallery.png")


def metadata(folder: Path) -> None:
    save_file(load_file(folder / "data.safetensors"), folder / "data.safetensors", metadata={"by": "me"})


def other_spaces(folder: Path) -> None:
    path = folder / "set.json"
    path.write_text(path.read_text().replace('"ipc": ', '"ipc":  '))


def card(folder: Path) -> None:
    (folder / "README.md").write_text((folder / "README.md").read_text() + " ")


def no_gallery(folder: Path) -> None:
    (folder / "gallery.png").unlink()


def doubled_key(folder: Path) -> None:
    path = folder / "set.json"
    path.write_text(path.read_text().replace('"ipc": ', '"ipc": 7,\n    "ipc": '))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (extra_file, "holds notes.txt, which is no part of the set"),
        (folder_inside, "holds sub, which is no part of the set"),
        (link, "gallery.png is no plain file"),
        (metadata, "data.safetensors was altered: its header is not written as condense writes it"),
        (other_spaces, "set.json was altered: it is not written as condense writes it"),
        (card, "README.md was altered: its hash is"),
        (no_gallery, "there is no file .*gallery.png"),
        (doubled_key, "the key 'ipc' is there twice"),
        (
            lambda folder: rewrite(folder, lambda whole: whole["provenance"].update(seconds=9)),
            "its provenance",
        ),
        (lambda folder: rewrite(folder, lambda whole: whole.update(more={})), "set.json was altered"),
    ],
)
def test_what_was_altered_is_refused_by_name(
    change: Callable[[Path], object], sentence: str, folder: Path
) -> None:
    change(folder)
    with pytest.raises(Refused, match=sentence):
        verify(folder)


def test_keys_that_this_version_does_not_know_are_named(tmp_path: Path) -> None:
    made = make_set(content={"mood": "good", "hints": {"lr": None, "augment": "", "batch": 5}})
    made.save(tmp_path / "set")
    assert examine(tmp_path / "set").unknown == ("content.hints.batch", "content.mood")
