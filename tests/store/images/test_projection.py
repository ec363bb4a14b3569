"""Sets whose labels an encoder regenerates: their bytes, their hash, their code, and what is refused."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from condense.errors import Refused
from condense.store import ImageSet, load, verify
from condense.store.images.projection import Adapted, factors
from tests.projected_sets import ADAPTED, projected
from tests.store.conftest import make_set


def test_the_factors_are_the_numbers_in_their_order() -> None:
    numbers = torch.arange(float(sum(one.numbers for one in ADAPTED)))
    found = factors(ADAPTED, numbers)
    assert torch.equal(torch.cat([part.flatten() for pair in found.values() for part in pair]), numbers)
    shapes = {name: (tuple(left.shape), tuple(right.shape)) for name, (left, right) in found.items()}
    assert shapes == {"body.0": ((4, 2), (2, 27)), "classifier": ((3, 6), (3,))}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_adapters_count_as_labels_and_the_encoder_as_teacher(tmp_path: Path, dtype: torch.dtype) -> None:
    made = projected(dtype=dtype)
    p = 2 * (4 + 27) + 6 * 3 + 3
    assert made.nbytes()["labels"] == 9 + p * dtype.itemsize and made.nbytes()["teacher"] == 4321
    assert made.content["bytes"] == made.nbytes()
    digest = made.save(tmp_path / "set")
    stored = load(tmp_path / "set")
    assert isinstance(stored, ImageSet) and verify(tmp_path / "set") == digest == made.hash
    projection = stored.projection
    assert projection is not None and projection.adapted == ADAPTED and projection.beta == 0.25
    assert made.projector is not None and torch.equal(projection.numbers, made.projector)


def test_the_hash_covers_every_number_of_the_adapters_and_what_they_change() -> None:
    hashes = {projected().hash, make_set().hash}
    for change in ({"seed": 1}, {"beta": 0.5}, {"encoder": "f" * 64}, {"dtype": torch.float16}):
        hashes.add(projected(**change).hash)
    assert len(hashes) == 6


def test_a_set_gives_class_ids_until_it_is_said_what_projects_them() -> None:
    made = projected()
    image, label = made[4]
    assert label == 1

    def sums(images: Tensor) -> Tensor:
        return images.sum((2, 3))

    image, label = made.projected_by(sums)[4]
    assert isinstance(label, Tensor) and torch.equal(label, image.sum((1, 2)))
    assert made.projected_by(sums).hash == made.hash


def test_the_cards_plain_code_puts_the_adapters_together(tmp_path: Path) -> None:
    made = projected()
    made.save(tmp_path / "set")
    card = (tmp_path / "set" / "README.md").read_text()
    assert "2 adapted weights of the encoder `" + "e" * 64 in card and "labels 341, teacher 4321" in card
    _, plain = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    plain += "\nhead, delta = weights['classifier'], weights['body.0']"
    plain += "\nprint(json.dumps([delta.tolist(), head[0].tolist(), head[1].tolist(), len(p), y.tolist()]))"
    done = subprocess.run(
        [sys.executable, "-c", plain], cwd=tmp_path / "set", capture_output=True, text=True, check=True
    )
    delta, weight, bias, left, ids = json.loads(done.stdout)
    assert made.projector is not None and left == 0 and ids == made.labels.tolist()
    found = factors(ADAPTED, made.projector)
    torch.testing.assert_close(torch.tensor(delta), found["body.0"][0] @ found["body.0"][1])
    assert torch.equal(torch.tensor(weight), found["classifier"][0])
    assert torch.equal(torch.tensor(bias), found["classifier"][1])


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "too few": ({"adapted": ADAPTED[:1]}, "float32, \\(83,\\) are not the 62 numbers"),
    "another rank": ({"adapted": (Adapted("body.0", 4, 27, 3), ADAPTED[1])}, "are not the 114 numbers"),
    "a rank of 0": ({"adapted": (Adapted("body.0", 4, 27, 0), ADAPTED[1])}, "'body.0' with a side or a rank"),
    "twice": ({"adapted": (ADAPTED[0], ADAPTED[0])}, "lists a weight twice"),
    "doubles": ({"dtype": torch.float64}, "adapters of float64"),
    "another encoder": ({"named": "f" * 64}, "the encoder e+, which content.teacher does not name"),
}


@pytest.mark.parametrize("name", WRONG)
def test_adapters_that_contradict_the_manifest_are_refused(name: str) -> None:
    change, sentence = WRONG[name]
    with pytest.raises(Refused, match=sentence):
        projected(**change)


def test_adapters_and_their_kind_of_labels_go_together() -> None:
    made = projected()
    for content, numbers, sentence in (
        (made.content, None, "the label kind is projected, but there are no adapters"),
        (make_set().content, made.projector, "the label kind is hard, but there are adapters"),
    ):
        with pytest.raises(Refused, match=sentence):
            ImageSet(images=made.images, labels=made.labels, projector=numbers, content=content)


def test_no_adapters_at_all_are_the_labels_of_the_encoder_itself(tmp_path: Path) -> None:
    made = projected(adapted=())
    made.save(tmp_path / "set")
    projection = ImageSet.load(tmp_path / "set").projection
    assert projection is not None and projection.adapted == () and projection.numbers.numel() == 0
    assert made.nbytes()["labels"] == 9
