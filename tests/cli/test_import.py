"""`condense import`: a foreign file becomes a stored set, or one sentence."""

from pathlib import Path

import pytest
import torch

from condense.data import ImageDataset
from tests.cli.command import Condense


@pytest.fixture
def file(digits: ImageDataset, tmp_path: Path) -> Path:
    """One image of each digit as DC's program saves it."""
    places = torch.cat([digits.train.of_class(label)[:1] for label in range(10)])
    images = digits.space("normalized").encode(digits.train.images[places])
    torch.save({"data": [[images, digits.train.labels[places]]]}, tmp_path / "res.pt")
    return tmp_path / "res.pt"


def test_an_imported_set_is_stored_verified_shown_and_loaded(condense: Condense, file: Path) -> None:
    ended = condense("import", file, "--from", "dc", "--method", "dc", "--ipc", 1, "--source", "a.b/c")
    assert ended.code == 0, ended
    *notes, folder = ended.out.splitlines()
    assert any("the pixel space is normalized" in note for note in notes)
    assert Path(folder).name.startswith("digits-imported-dc-ipc1-seed0-")
    assert condense("verify", folder).code == 0
    shown = condense("show", folder).out
    assert "imported-dc" in shown and "| Source of the file | a.b/c |" in shown
    assert "Imported by condense" in shown and "| Import note | the pixel space is normalized" in shown


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--from", "nonsense"), "--from nonsense: unknown kind of file"),
        (("--from", "dc", "--space", "nowhere"), "--space nowhere: unknown pixel space"),
        (("--from", "dc", "--space", "raw"), "not in the pixel space raw"),
        (("--from", "dc", "--ipc", 2), "--ipc 2"),
        (("--from", "dc", "--experiment", 3), "--experiment 3"),
        (("--from", "dc", "--dataset", "mutag"), "images are needed here"),
        (("--from", "dc", "--labels-are", "logits"), "holds class ids"),
        (("--from", "grid"), "is no picture"),
    ],
)
def test_bad_options_end_in_one_sentence(
    condense: Condense, file: Path, options: tuple[object, ...], sentence: str
) -> None:
    ended = condense("import", file, *options)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended
    assert sentence in ended.err
    assert not Path("sets").exists()
