"""The card: true numbers, and code that works as printed."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from condense.data.pixels import PixelSpace
from condense.store import DistilledSet

Make = Callable[..., DistilledSet]


def code_blocks(folder: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)


def test_the_card_tells_method_settings_bytes_labels_and_hash(make: Make, tmp_path: Path) -> None:
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
def test_the_cards_few_lines_read_the_set_as_a_student_sees_it(
    make: Make, raw: PixelSpace, tmp_path: Path, dtype: torch.dtype, soft: torch.dtype | None
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
    assert _output(with_condense + "\nprint(len(data))", tmp_path / "set").strip() == "9"


def _output(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout
