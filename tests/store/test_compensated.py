"""Compensated images: sums and clamping by hand in float64, and sets that hold compensators."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from condense.data.images.pixels import PixelSpace, affine
from condense.errors import Refused
from condense.protocols import HARD_V1
from condense.store import ImageSet, MultiFormation, Soft
from condense.store.images.decode import Compensated, Compensator, StepPart, as_compensators, step_from

Make = Callable[..., ImageSet]
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
STEP: StepPart = {"name": "compensated", "version": 1, "networks": 2}


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def compensators(g: int = 2, m: int = 2, shape: tuple[int, int, int] = (3, 4, 4)) -> Tensor:
    return torch.randint(-127, 128, (g, m, *shape), generator=stream(1), dtype=torch.int8)


def compensated(make: Make, **given: object) -> ImageSet:
    """Two base sets of three classes under two networks: six images, of which students see eighteen."""
    counts = {"stored": 6, "effective": 18, "per_class": [2, 2, 2]}
    plain = make(per_class=(2, 2, 2), **given)
    content: Any = {**plain.content, "decode": [STEP], "counts": counts}
    return replace(plain, content=content, compensators=compensators())


def seen(stored: ImageSet) -> Tensor:
    return torch.stack([stored[index][0] for index in range(len(stored))])


def by_hand(stored: ImageSet) -> Tensor:
    """What students see, in float64: every image, then every image plus its set's first compensator, ..."""
    pixels, u = stored.pixels().double(), compensators().double() / 127
    copies = [pixels] + [
        torch.stack([(pixels[i] + u[i % 2, m]).clamp(0, 1) for i in range(6)]) for m in range(2)
    ]
    return affine("normalized", MEAN, STD).encode(torch.cat(copies))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_students_see_each_image_and_its_compensated_copies(
    make: Make, raw: PixelSpace, dtype: torch.dtype
) -> None:
    space = raw if dtype == torch.uint8 else None
    stored = compensated(make, space=space, dtype=dtype, soft=torch.float32)
    expected = by_hand(stored).float()
    assert len(stored) == 18 == len(stored.target) and stored.copies == 3
    torch.testing.assert_close(seen(stored), expected)
    assert isinstance(stored.target, Soft) and stored.soft is not None
    assert torch.equal(stored.target.probabilities, stored.soft.repeat(3, 1))
    assert torch.equal(stored.target.ids, stored.labels.repeat(3))
    (whole, _), *_ = stored.batches(0, HARD_V1, stream())
    assert torch.equal(whole, seen(stored))
    order = torch.randperm(18, generator=stream(3))
    pieces = list(stored.batches(0, replace(HARD_V1, batch=4), stream(3)))
    assert torch.equal(torch.cat([x for x, _ in pieces]), whole[order])
    assert torch.equal(torch.cat([t.ids for _, t in pieces]), stored.target.ids[order])
    # The clamp has something to do, and the sums are not the images.
    black, white = (0 - torch.tensor(MEAN)) / torch.tensor(STD), (1 - torch.tensor(MEAN)) / torch.tensor(STD)
    ends = (whole[6:] <= black[:, None, None] + 1e-6) | (whole[6:] >= white[:, None, None] - 1e-6)
    assert 0.2 < float(ends.float().mean()) < 0.8


def test_compensators_count_as_auxiliary_bytes_and_in_the_hash(make: Make) -> None:
    stored = compensated(make)
    assert stored.content["bytes"]["auxiliary"] == 2 * 2 * 48
    assert stored.content["bytes"]["images"] == 6 * 48 * 4
    other = replace(stored, compensators=compensators().neg())
    assert other.hash != stored.hash
    assert {"name": "compensators", "dtype": "int8", "shape": [2, 2, 3, 4, 4]} in stored.content["tensors"]


def test_stored_compensators_are_within_half_a_unit() -> None:
    values = torch.randn(2, 1, 1, 8, 8, generator=stream()) * 0.6
    kept = as_compensators(values)
    assert kept.dtype == torch.int8 and int(kept.abs().max()) == 127 and values.abs().max() > 1
    assert (kept.float() / 127 - values.clamp(-1, 1)).abs().max() <= 0.5 / 127 + 1e-6
    assert torch.equal(as_compensators(torch.zeros(1, 1, 1, 2, 2)), torch.zeros(1, 1, 1, 2, 2).to(torch.int8))
    images, ends = torch.rand(2, 1, 8, 8, generator=stream(1)), (torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
    exact = (images + values[:, 0]).clamp(0, 1)
    found = Compensator(kept, torch.arange(2), *ends)(images)
    assert torch.equal(found[:2], images)
    assert (found[2:] - exact).abs().max() <= 0.5 / 127 + 1e-6


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_compensated_set_comes_back_and_its_card_decodes_it(
    make: Make, raw: PixelSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    given = compensated(make, space=raw if dtype == torch.uint8 else None, dtype=dtype)
    given.save(tmp_path / "set")
    stored = ImageSet.load(tmp_path / "set")
    assert stored.hash == given.hash and torch.equal(seen(stored), seen(given))
    text = (tmp_path / "set" / "README.md").read_text()
    assert "compensated 1: each stored image is seen as it is and" in text and "auxiliary 192" in text
    _, plain = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path / "set")
    made: dict[str, Any] = {}
    exec(plain, made)
    torch.testing.assert_close(torch.tensor(made["x"]), seen(stored))
    assert torch.equal(torch.tensor(made["y"]).long(), stored.target.ids)


def test_compensated_images_can_be_cut_into_tiles_by_a_step_behind(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compensated(make)
    counts = {"stored": 6, "effective": 72, "per_class": [2, 2, 2]}
    content: Any = {**first.content, "decode": [STEP, MultiFormation(2).describe()], "counts": counts}
    stored = replace(first, content=content)
    torch.testing.assert_close(seen(stored), MultiFormation(2)(seen(first)))
    stored.save(tmp_path / "set")
    _, plain = re.findall(r"```python\n(.*?)```", (tmp_path / "set" / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path / "set")
    made: dict[str, Any] = {}
    exec(plain, made)
    torch.testing.assert_close(torch.tensor(made["x"]), seen(stored))
    with pytest.raises(Refused, match="compensated adds to stored images: no step can stand before it"):
        turned: Any = {**content, "decode": content["decode"][::-1]}
        replace(first, content=turned)


def test_a_change_of_space_leaves_what_students_see(make: Make, raw: PixelSpace) -> None:
    stored = compensated(make)
    torch.testing.assert_close(seen(stored.in_space(raw)), seen(stored))


def test_a_set_that_moves_takes_its_compensators_with_it(make: Make) -> None:
    moved = compensated(make).to("meta")
    for protocol in (HARD_V1, replace(HARD_V1, batch=4)):
        for x, target in moved.batches(0, protocol, stream()):
            assert x.device == target.ids.device == torch.device("meta")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (None, "there are no compensators for its decode step"),
        (compensators().float(), "compensators of torch.float32"),
        (compensators(m=3), r"no int8 \(g, 2, "),
        (compensators(g=4), "with g a divisor of 6"),
        (compensators(shape=(3, 4, 5)), r"\(2, 2, 3, 4, 5\)"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_compensators_that_do_not_go_with_the_step_are_refused(
    make: Make, wrong: Tensor | None, sentence: str
) -> None:
    with pytest.raises(Refused, match=sentence):
        replace(compensated(make), compensators=wrong)


def test_compensators_without_a_step_are_refused(make: Make) -> None:
    with pytest.raises(Refused, match="there are compensators, but no decode step"):
        replace(make(per_class=(2, 2, 2)), compensators=compensators())


@pytest.mark.parametrize("networks", [0, -1, 2.0, True, None])
@pytest.mark.usefixtures("unchecked_shapes")
def test_networks_must_be_a_whole_number_of_at_least_one(networks: object) -> None:
    with pytest.raises(Refused, match=r"networks must be a whole number of at least 1, not .+"):
        Compensated(networks)  # type: ignore[arg-type]


def test_a_setting_that_this_version_does_not_know_is_refused() -> None:
    assert step_from({**STEP}) == Compensated(2)
    with pytest.raises(Refused, match="one setting, networks; this step has mode, networks"):
        step_from({**STEP, "mode": "unclamped"})
