"""The Croissant description beside an exported set: valid to the library of the format, and true."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from condense.data import ImageDataset
from condense.distillation import distill
from condense.distillation.registry import build
from condense.store import DistilledSet, load
from condense.store.exporting import FORMS, export_set

mlc: Any = pytest.importorskip("mlcroissant")

SETS = Path(__file__).parents[3] / "results" / "sets"


@pytest.fixture(scope="module")
def sets(digits: ImageDataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, DistilledSet]:
    """A set of each kind of data."""
    method, _ = build("random_subset", "digits", 1)
    images, _ = distill(method, digits, ipc=1, cache=tmp_path_factory.mktemp("cache"))
    return {"images": images, "graphs": load(next(SETS.glob("mutag-mirage-*")))}


CASES = [(kind, form) for kind, forms in FORMS.items() for form in forms]


@pytest.mark.parametrize(("kind", "form"), CASES)
def test_the_description_is_valid_and_names_every_file_with_its_hash(
    kind: str, form: str, sets: dict[str, DistilledSet], tmp_path: Path
) -> None:
    made, place = sets[kind], tmp_path / "exported"
    export_set(made, form, place)
    file = tmp_path / "exported.croissant.json"
    described = mlc.Dataset(jsonld=file)
    assert not described.metadata.ctx.issues.errors
    assert made.hash in described.metadata.description
    named = {part["contentUrl"]: part["sha256"] for part in json.loads(file.read_text())["distribution"]
             if "sha256" in part}  # fmt: skip
    there = {path for path in [place, *place.rglob("*")] if path.is_file() and path.suffix != ".png"}
    assert {tmp_path / name for name in named} == there or form == "grid"
    for name, sha256 in named.items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == sha256
    classes = [record["classes/name"] for record in described.records("classes")]
    assert classes == made.content["dataset"]["classes"]


def test_the_images_of_a_folder_are_records_with_their_classes(
    sets: dict[str, DistilledSet], tmp_path: Path
) -> None:
    made: Any = sets["images"]
    export_set(made, "imagefolder", tmp_path / "exported")
    records = list(mlc.Dataset(jsonld=tmp_path / "exported.croissant.json").records("images"))
    assert len(records) == len(made)
    for record in records:
        label = int(record["images/label"])
        pixels = _pixels(made, label)
        assert np.array_equal(np.asarray(record["images/image"].convert("L")), pixels)


def _pixels(made: Any, label: int) -> Any:
    """Returns the only image of a class as an array of bytes."""
    (place,) = (made.labels == label).nonzero()[0].tolist()
    return made.images[place][0].numpy()
