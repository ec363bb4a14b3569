"""`condense export`: a stored set in another form, with what is lost."""

from pathlib import Path

import numpy as np
import pytest

from condense.data import ImageDataset
from condense.distillation import distill
from condense.distillation.registry import build
from tests.cli.command import Condense


@pytest.fixture
def stored(digits: ImageDataset, tmp_path: Path) -> Path:
    """A stored set of one image of each digit."""
    made, _ = distill(build("random_subset", "digits", 1)[0], digits, ipc=1, cache=tmp_path / "cache")
    made.save(tmp_path / "set")
    return tmp_path / "set"


def test_a_set_is_exported_beside_the_user_and_checked(condense: Condense, stored: Path) -> None:
    ended = condense("export", stored)
    assert (ended.code, ended.out) == (0, "set.npz\n"), ended
    assert np.load("set.npz")["images"].shape == (10, 1, 8, 8)
    checked = ("--student", "convnet-w32", "--eval-seeds", 1, "--check")
    ended = condense("export", stored, "--to", "imagefolder", "--out", "pictures", *checked)
    assert ended.code == 0, ended
    before, after = (
        float(word) for word in ended.out.splitlines()[0].split() if word.replace(".", "").isdigit()
    )
    assert before == after, "pictures of bytes lose nothing"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--to", "nonsense"), "--to nonsense: unknown form"),
        (("--out", "there"), "--out there: there is something already"),
    ],
)
def test_bad_options_end_in_one_sentence(
    condense: Condense, stored: Path, options: tuple[str, ...], sentence: str
) -> None:
    Path("there").mkdir()
    ended = condense("export", stored, *options)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended
    assert sentence in ended.err


def test_a_set_is_exported_without_its_data(condense: Condense, toy_file: Path) -> None:
    data = Path("data.npz")
    data.write_bytes(toy_file.read_bytes())
    assert condense("distill", "--method", "random_subset", "--dataset", data, "--seed", 0).code == 0
    data.unlink()
    (folder,) = Path("sets").glob("data-*")
    ended = condense("export", folder, "--to", "imagefolder", "--out", "pictures")
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "pictures"), ended
    assert len(list(Path("pictures").glob("*/*.png"))) == 3
