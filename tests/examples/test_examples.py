"""Each example runs, learns from its set, and refuses a set that it cannot train on."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

from condense.data import GraphDataset, ImageDataset
from condense.distillation import distill
from condense.distillation.registry import build
from condense.store import ImageSet
from condense.store.exporting import export_set

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path) -> None:
    """A folder of the test's own, and no way to download anything."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def images(digits: ImageDataset, tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Ten random images of each digit."""
    cache = tmp_path_factory.mktemp("cache")
    return distill(build("random_subset", "digits", 10)[0], digits, ipc=10, cache=cache)[0]  # type: ignore


def accuracy(capsys: pytest.CaptureFixture[str], file: str, *options: str) -> float:
    """Runs an example as a program and returns the accuracy that it prints, in percent."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        patch.setattr(sys, "argv", [file, *options])
        runpy.run_path(str(EXAMPLES / file), run_name="__main__")
    (found,) = re.findall(r"^accuracy: ([\d.]+) % of", capsys.readouterr().out, flags=re.MULTILINE)
    return float(found)


def soft(made: ImageSet) -> ImageSet:
    """The set with probabilities that name the next class, so that who reads them is mostly wrong."""
    wrong = torch.nn.functional.one_hot((made.labels + 1) % 10, 10).float()
    content = {**made.content, "label": {"kind": "soft", "temperature": 1.0, "teacher": None}}
    return ImageSet(images=made.images, labels=made.labels, soft=wrong, content=content)  # type: ignore


@pytest.mark.parametrize("file", ["plain_pytorch.py", "lightning_module.py"])
def test_an_example_learns_the_digits_and_goes_by_soft_labels(
    file: str, images: ImageSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images.save(tmp_path / "hard")
    soft(images).save(tmp_path / "soft")
    assert accuracy(capsys, file, "--set", "hard", "--epochs", "20") > 60
    assert accuracy(capsys, file, "--set", "soft", "--epochs", "10") < 20


def test_the_trainer_of_transformers_learns_an_exported_set(
    images: ImageSet, capsys: pytest.CaptureFixture[str]
) -> None:
    export_set(images, "hf", Path("hard-hf"))
    export_set(soft(images), "hf", Path("soft-hf"))
    file = "huggingface_trainer.py"
    assert accuracy(capsys, file, "--set", "hard-hf", "--epochs", "25") > 40
    assert accuracy(capsys, file, "--set", "soft-hf", "--epochs", "25") < 20


def test_trees_of_mirage_teach_a_network_of_torch_geometric(
    mutag: GraphDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, _ = distill(build("mirage", "mutag", 5, kind="graphs")[0], mutag, ipc=5, cache=tmp_path / "cache")
    made.save(tmp_path / "trees")
    assert accuracy(capsys, "pyg_trees.py", "--set", "trees", "--epochs", "150") > 60
