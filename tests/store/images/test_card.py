"""The card: true numbers, and code that works as printed."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from condense.data.images.pixels import PixelSpace
from condense.store import ImageSet, MultiFormation, load

Make = Callable[..., ImageSet]


def code_blocks(folder: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)


def test_the_card_states_method_settings_bytes_labels_and_hash(make: Make, tmp_path: Path) -> None:
    stored = make(soft=torch.float16)
    stored.save(tmp_path / "set")
    card = (tmp_path / "set" / "README.md").read_text()
    for part in (
        stored.hash,
        "dm 1:",
        '"iterations":7',
        "images 1728",
        "labels 63; 1791 in all",
        "condense verify",
    ):
        assert part in card
    assert "toy, 3 classes" in card and "![" in card and "{" not in card.split("```")[0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("soft", [None, torch.float32])
def test_the_cards_plain_code_reads_what_a_student_sees(
    make: Make,
    raw: PixelSpace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype,
    soft: torch.dtype | None,
) -> None:
    stored = make(space=raw, dtype=dtype, soft=soft)
    stored.save(tmp_path / "set")
    with_condense, plain = code_blocks(tmp_path / "set")
    assert len(plain.splitlines()) <= 6
    plain += "\nprint(json.dumps([x.tolist(), y.tolist()]))\nimport sys; assert 'torch' not in sys.modules"
    x, y = json.loads(_output(plain, tmp_path / "set"))
    read = [stored[i] for i in range(len(stored))]
    torch.testing.assert_close(torch.tensor(x), torch.stack([image for image, _ in read]))
    torch.testing.assert_close(torch.tensor(y), torch.stack([torch.as_tensor(label) for _, label in read]))
    monkeypatch.chdir(tmp_path / "set")
    made: dict[str, Any] = {}
    exec(with_condense, made)
    assert len(made["data"]) == 9


def test_the_cards_code_with_condense_runs_in_a_process_of_its_own(make: Make, tmp_path: Path) -> None:
    make().save(tmp_path / "set")
    with_condense, _ = code_blocks(tmp_path / "set")
    assert _output(with_condense + "\nprint(len(data))", tmp_path / "set").strip() == "9"


@pytest.mark.parametrize(
    ("shape", "factors", "dtype", "soft"),
    [
        ((3, 4, 4), (2,), torch.uint8, None),
        ((3, 4, 6), (2,), torch.float16, torch.float16),
        ((3, 5, 8), (3,), torch.uint8, torch.float32),
        ((3, 9, 6), (2, 3), torch.float32, None),
    ],
)
def test_the_cards_plain_code_decodes_like_condense(
    make: Make,
    raw: PixelSpace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, int, int],
    factors: tuple[int, ...],
    dtype: torch.dtype,
    soft: torch.dtype | None,
) -> None:
    copies = math.prod(factors) ** 2
    steps = [MultiFormation(factor).describe() for factor in factors]
    counts = {"stored": 9, "effective": 9 * copies, "per_class": [3, 2, 4]}
    space = raw if dtype == torch.uint8 else None
    given = make(
        shape=shape, space=space, dtype=dtype, soft=soft, content={"decode": steps, "counts": counts}
    )
    given.save(tmp_path / "set")
    _, plain = code_blocks(tmp_path / "set")
    padded = any(side % factor for factor in factors for side in shape[1:])
    assert len(plain.splitlines()) <= 17 and ("grey" in plain) == padded and "condense" not in plain
    monkeypatch.chdir(tmp_path / "set")
    made: dict[str, Any] = {}
    exec(plain, made)
    stored = load(tmp_path / "set")
    read = [stored[i] for i in range(len(stored))]
    assert len(read) == 9 * copies and made["x"].dtype == np.float32
    torch.testing.assert_close(torch.tensor(made["x"]), torch.stack([image for image, _ in read]))
    labels = torch.stack([torch.as_tensor(label) for _, label in read])
    torch.testing.assert_close(torch.tensor(made["y"]), labels, check_dtype=False)


def test_the_card_says_how_the_images_are_decoded(make: Make, tmp_path: Path) -> None:
    counts = {"stored": 9, "effective": 36, "per_class": [3, 2, 4]}
    make(content={"decode": [MultiFormation(2).describe()], "counts": counts}).save(tmp_path / "set")
    card = (tmp_path / "set" / "README.md").read_text()
    for part in (
        "9 synthetic images, decoded into 36, that stand for",
        "| 4, 9 stored, 36 trained on |",
        "| Decoding | multi_formation 1: each stored image is cut into 2 x 2 tiles",
        "![The stored images",
        "images 1728, labels 9; 1737 in all",
    ):
        assert part in card
    make().save(tmp_path / "plain")
    assert "decod" not in (tmp_path / "plain" / "README.md").read_text().lower()


def _output(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout
