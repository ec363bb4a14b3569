"""Sets whose labels are vectors that a student's outputs are to equal: bytes, hash, code, refusals."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from condense.errors import Refused
from condense.protocols import HARD_V1
from condense.store import Features, ImageContent, ImageSet, load, verify
from tests.store.conftest import make_set


def labelled(
    dim: int = 5,
    *,
    scale: float = 0.5,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    label: Mapping[str, object] | None = None,
) -> ImageSet:
    """A small set with random vectors as labels; `label` overrides keys of its label part."""
    plain = make_set()
    vectors = torch.randn(9, dim, generator=torch.Generator().manual_seed(seed)).to(dtype)
    part = {"kind": "features", "temperature": 1.0, "teacher": None, "dim": dim, "scale": scale}
    content = cast(ImageContent, {**plain.content, "label": part | dict(label or {})})
    return ImageSet(images=plain.images, labels=plain.labels, features=vectors, content=content)


def test_feature_labels_are_stored_with_their_bytes_and_read_again(tmp_path: Path) -> None:
    made = labelled()
    assert made.nbytes()["labels"] == 9 + 9 * 5 * 4 and made.content["bytes"] == made.nbytes()
    assert made.facts()["label kind"] == "features"
    digest = made.save(tmp_path / "set")
    stored = load(tmp_path / "set")
    assert isinstance(stored, ImageSet) and verify(tmp_path / "set") == digest == made.hash
    assert stored.content["label"] == {
        "kind": "features", "temperature": 1.0, "teacher": None, "dim": 5, "scale": 0.5
    }  # fmt: skip
    assert made.features is not None and stored.features is not None
    assert torch.equal(stored.features, made.features)
    image, vector = stored[4]
    assert isinstance(vector, torch.Tensor) and torch.equal(vector, made.features[4])


def test_the_hash_covers_every_number_and_the_scale_of_feature_labels() -> None:
    changed: list[dict[str, Any]] = [
        {}, {"seed": 1}, {"scale": 1.0}, {"dim": 4}, {"label": {"teacher": "e" * 64}}
    ]  # fmt: skip
    assert len({labelled(**change).hash for change in changed} | {make_set().hash}) == 6


def test_students_get_the_vectors_their_ids_and_the_scale() -> None:
    made = labelled(scale=0.2)
    ((images, target),) = made.batches(0, HARD_V1, torch.Generator().manual_seed(0))
    assert isinstance(target, Features) and made.features is not None
    assert torch.equal(target.values, made.features) and torch.equal(target.ids, made.labels)
    assert target.scale == 0.2 and torch.equal(images, made.images_at(torch.arange(9)))
    assert torch.equal(target[torch.tensor([3, 1])].values, made.features[[3, 1]])


def test_the_cards_plain_code_reads_feature_labels(tmp_path: Path) -> None:
    made = labelled()
    made.save(tmp_path / "set")
    card = (tmp_path / "set" / "README.md").read_text()
    assert "a vector of 5 numbers that a network's outputs are to equal, in a loss of 0.5 times" in card
    _, plain = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    plain += "\nprint(json.dumps(y.tolist()))"
    done = subprocess.run(
        [sys.executable, "-c", plain], cwd=tmp_path / "set", capture_output=True, text=True, check=True
    )
    assert made.features is not None and json.loads(done.stdout) == made.features.tolist()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another dimension": ({"label": {"dim": 4}}, r"\(9, 5\) are no float32 \(9, 4\)"),
    "half precision": ({"dtype": torch.float16}, "feature labels of torch.float16"),
    "no dimension": ({"label": {"dim": 0}}, "content.label.dim is 0, not a whole number of at least 1"),
    "no scale": ({"scale": 0.0}, "content.label.scale is 0.0, not a number above 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_feature_labels_that_contradict_the_manifest_are_refused(name: str) -> None:
    change, sentence = WRONG[name]
    with pytest.raises(Refused, match=sentence):
        labelled(**change)


def test_feature_labels_and_their_kind_go_together() -> None:
    made = labelled()
    for content, vectors, sentence in (
        (made.content, None, "the label kind is features, but there are no feature labels"),
        (make_set().content, made.features, "the label kind is hard, but there are feature labels"),
    ):
        with pytest.raises(Refused, match=sentence):
            ImageSet(images=made.images, labels=made.labels, features=vectors, content=content)


def test_feature_labels_that_are_not_finite_are_not_stored(tmp_path: Path) -> None:
    made = labelled()
    assert made.features is not None
    made.features[2, 1] = float("nan")
    with pytest.raises(Refused, match="1 numbers of the features are not finite"):
        made.save(tmp_path / "set")


def test_a_set_with_other_labels_has_no_trace_of_features() -> None:
    for made in (make_set(), make_set(soft=torch.float32)):
        assert "features" not in json.dumps(made.content) and "features" not in made.tensors()
