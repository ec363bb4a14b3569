"""The forms of stored labels: each is read as its formula says, and costs the bytes that its tensors have."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from condense.files import hash_tensors
from condense.protocols import REPLAY_V1
from condense.store import ImageContent, ImageSet, verify
from condense.store.images.shards import ShardLayout
from condense.store.targets import Soft, TeacherLogits
from tests.labelled_sets import labelled, refusal, stream

Make = Callable[..., ImageSet]

K, T = 10, 3
"""Classes, and how many values the forms that keep several keep."""

FORMS: dict[str, int | None] = {
    "hard": None, "smoothing": None, "marginal-smoothing": T, "marginal-renorm": T, "full": None,
}  # fmt: skip


def drawn(n: int = 6) -> Tensor:
    return (torch.randn(n, K, generator=stream(), dtype=torch.float64) * 3).softmax(1)


def by_hand(p: Tensor, form: str) -> Tensor:
    """One label, from probabilities of 64 bits that were rounded as they are stored."""
    rounded = [float(value.half()) for value in p]
    order = sorted(range(K), key=lambda i: -float(p[i]))
    if form == "full":
        return torch.tensor(rounded, dtype=torch.float64)
    kept = order[: T if form.startswith("marginal") else 1]
    mass = sum(rounded[i] for i in kept)
    found = []
    for i in range(K):
        if form == "hard":
            found.append(1.0 if i in kept else 0.0)
        elif form == "marginal-renorm":
            found.append(rounded[i] / mass if i in kept else 0.0)
        else:
            found.append(rounded[i] if i in kept else (1 - mass) / (K - len(kept)))
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_read_as_its_formula_says(form: str) -> None:
    layout, p = ShardLayout(6, K, 4, FORMS[form], form), drawn()
    read = layout.probabilities(layout.labels(p.float()), 20.0)
    wanted = torch.stack([by_hand(row, form) for row in p])
    torch.testing.assert_close(read.double(), wanted, rtol=0, atol=1e-6)
    if form != "full":
        torch.testing.assert_close(read.sum(1), torch.ones(6))


@pytest.mark.parametrize(
    ("fill", "temperature"), [("mean", 4.0), ("minimum", 4.0), ("zero", 4.0), ("zero", 1.0)]
)
def test_each_rule_for_what_is_left_out_equals_its_formula(fill: str, temperature: float) -> None:
    layout = ShardLayout(5, K, 5, T, fill=fill)
    logits = torch.randn(5, K, generator=stream(1)) * 4
    stored = layout.labels(logits)
    student = torch.randn(5, K, generator=stream(2))
    target = layout.target(stored, torch.zeros(5, dtype=torch.long), temperature, False)
    losses = []
    for row, of_student in zip(logits.tolist(), student.tolist(), strict=True):
        order = sorted(range(K), key=lambda i: -row[i])
        kept, left = order[:T], order[T:]
        half = [float(torch.tensor(value).half()) for value in row]
        rest = {"mean": math.fsum(row[i] for i in left) / len(left), "minimum": min(row)}.get(fill, -math.inf)
        z = [half[i] if i in kept else float(torch.tensor(rest).half()) for i in range(K)]
        total = math.fsum(math.exp(value / temperature) for value in z)
        q = [math.exp(value / temperature) / total for value in z]
        assert (fill == "zero") == (min(q) == 0.0)
        norm = math.log(math.fsum(math.exp(value / temperature) for value in of_student))
        terms = [-p * (s / temperature - norm) for p, s in zip(q, of_student, strict=True)]
        entropy = 0.0 if fill == "zero" else math.fsum(-p * math.log(p) for p in q)
        losses.append(math.fsum(terms) - entropy)
    assert isinstance(target, Soft if fill == "zero" else TeacherLogits)
    assert float(target.loss(student)) == pytest.approx(sum(losses) / 5, abs=2e-4)
    squared = layout.target(stored, torch.zeros(5, dtype=torch.long), temperature, True)
    assert float(squared.loss(student)) == pytest.approx(
        temperature**2 * float(target.loss(student)), rel=1e-5
    )


def test_soft_labels_at_temperature_1_have_the_loss_that_they_had() -> None:
    logits, p = torch.randn(4, K, generator=stream()), drawn(4).float()
    wanted = torch.nn.functional.cross_entropy(logits, p)
    assert torch.equal(Soft(p).loss(logits), wanted)
    assert torch.equal(Soft(p, temperature=2.0).loss(2 * logits), wanted)
    assert torch.equal(
        Soft(p, temperature=2.0)[:2].to("cpu").loss(2 * logits[:2]), Soft(p[:2]).loss(logits[:2])
    )


BYTES: dict[tuple[str, str], Callable[[int, int, int], int]] = {
    ("hard", "mean"): lambda k, t, ids: ids,
    ("smoothing", "mean"): lambda k, t, ids: ids + 2,
    ("marginal-smoothing", "mean"): lambda k, t, ids: t * (ids + 2),
    ("marginal-renorm", "mean"): lambda k, t, ids: t * (ids + 2),
    ("full", "mean"): lambda k, t, ids: 2 * k,
    ("logits", "minimum"): lambda k, t, ids: t * (ids + 2) + 2,
    ("logits", "zero"): lambda k, t, ids: t * (ids + 2),
}
"""Bytes of the label of a view, from the classes, the values that are kept and the bytes of an id."""


@pytest.mark.parametrize("classes", [5, 300])
@pytest.mark.parametrize(("form", "fill"), BYTES)
def test_the_bytes_are_the_sum_over_a_files_tensors_and_a_set_is_read_as_it_was(
    make: Make, tmp_path: Path, form: str, fill: str, classes: int
) -> None:
    top_k = T if form == "logits" else FORMS[form]
    made = labelled(
        make(per_class=(1,) * classes), tmp_path, epochs=2, batch=4, top_k=top_k, form=form, fill=fill
    )
    held = load_file(tmp_path / "replay-00000.safetensors")
    total = sum(tensor.numel() * tensor.element_size() for tensor in held.values())
    each = BYTES[form, fill](classes, T, 1 if classes <= 256 else 2)
    assert total == classes * (17 + each) + 12 * -(-classes // 4)
    assert made.nbytes()["replay"] == 2 * total == 2 * made.content["replay"][0]["bytes"]
    made.save(tmp_path / "set")
    assert verify(tmp_path / "set") == made.hash
    again = ImageSet.load(tmp_path / "set")
    for (x, ours), (y, theirs) in zip(
        made.batches(1, REPLAY_V1, stream()), again.batches(1, REPLAY_V1, stream()), strict=True
    ):
        student = torch.randn(len(x), classes, generator=stream(3))
        assert torch.equal(x, y) and torch.equal(ours.ids, theirs.ids)
        assert torch.equal(ours.loss(student), theirs.loss(student))
    assert (f"`{form}`" in made.card()) == (form != "logits")


def test_the_defaults_leave_no_trace_in_a_manifest(make: Make, tmp_path: Path) -> None:
    label: dict[str, object] = {**labelled(make(), tmp_path).content["label"]}
    assert not label.keys() & {"form", "fill"}
    assert ShardLayout(9, 3, 4) == ShardLayout(9, 3, 4, None, "logits", "mean")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"form": "softest"}, "unknown form of stored labels 'softest'; known: logits, hard, smoothing"),
        ({"fill": "median"}, "unknown fill of stored labels 'median'; known: mean, minimum, zero"),
        ({"form": "marginal-renorm"}, "content.label.top_k is None for labels of the form marginal-renorm"),
        ({"form": "hard", "top_k": 2}, "content.label.top_k is 2 for labels of the form hard"),
        ({"fill": "zero"}, "content.label.fill is zero, but no logits are left out"),
        ({"form": "marginal-renorm", "top_k": 3}, "content.label.top_k is 3, but there are 3 classes"),
    ],
)
def test_a_manifest_of_an_unknown_form_is_refused(
    make: Make, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    made = labelled(make(), tmp_path)
    content = cast(ImageContent, {**made.content, "label": {**made.content["label"], **changes}})
    assert words in refusal(lambda: replace(made, content=content))


@pytest.mark.parametrize(
    ("form", "name", "value", "words"),
    [
        ("hard", "ids", 3, "a class that the data do not have"),
        ("smoothing", "values", 1.5, "probabilities below 0 or above 1"),
        ("marginal-smoothing", "values", -0.5, "probabilities below 0 or above 1"),
        ("marginal-renorm", "values", 0.0, "probabilities that are all 0"),
        ("full", "probabilities", math.inf, "logits that are not finite"),
        ("logits", "ids", 255, "a class that the data do not have"),
    ],
)
def test_labels_that_are_none_are_refused_with_their_batch(
    make: Make, tmp_path: Path, form: str, name: str, value: float, words: str
) -> None:
    top_k = 2 if form.startswith("marginal") or form == "logits" else None
    made = labelled(make(), tmp_path, epochs=1, form=form, top_k=top_k)
    path = tmp_path / "replay-00000.safetensors"
    tensors, assert_replay = load_file(path), made.replay
    assert assert_replay is not None
    tensors[name] = torch.full_like(tensors[name], value)
    text = assert_replay.metadata()[path.name]
    save_file(tensors, path, metadata={"replay": text})
    shard: Any = {**assert_replay.shards[0], "hash": hash_tensors(tensors, prefix=text)}
    altered = replace(assert_replay, shards=(shard,))
    assert f"batch 0 holds {words}" in refusal(lambda: altered.batch(0, 0))
