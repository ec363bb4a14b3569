"""The study behind soft-v2: no test image is read, and its page says what its results say."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from condense.benchmarks import soft_protocol as study
from condense.data import ImageDataset, Images
from condense.protocol import Stage
from condense.protocols import REPLAY_V2, SOFT_V1, SOFT_V2
from condense.teachers import Teacher, fixed


class Sealed(ImageDataset):
    """A dataset whose test split cannot be read."""

    def __getattribute__(self, name: str) -> object:
        if name == "test":
            raise AssertionError("the test split was read")
        return super().__getattribute__(name)


@pytest.fixture
def sealed(digits: ImageDataset) -> ImageDataset:
    """The digits without a test split to read."""
    return Sealed(digits.spec, digits.train, digits.test)


@pytest.fixture
def teacher(digits: ImageDataset) -> Teacher:
    """The fixed teacher of the digits."""
    return fixed("digits", digits.train.hash)


def told(images: Images) -> set[bytes]:
    return {image.numpy().tobytes() for image in images.images}


def test_students_are_scored_on_training_images_that_the_teacher_held_out(
    sealed: ImageDataset, digits: ImageDataset, teacher: Teacher
) -> None:
    data = study.without_test(sealed, teacher)
    assert len(data.train) + len(data.test) == len(digits.train) and not told(data.train) & told(data.test)
    assert told(data.train) | told(data.test) == told(digits.train)
    # 5 % of each class, and those on which the teacher's file says how well it did.
    assert [count / 20 for count in digits.train.counts()] == pytest.approx(data.test.counts(), abs=0.5)
    found = teacher.logits(data.test.in_space(data.space("normalized")).images).argmax(1)
    assert 100 * float((found == data.test.labels).double().mean()) == pytest.approx(
        teacher.accuracy, abs=0.01
    )


def test_the_study_never_reads_the_test_split(
    sealed: ImageDataset, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match="the test split was read"):
        assert sealed.test
    monkeypatch.setattr(study, "load_images", lambda name, data_dir: sealed)
    monkeypatch.setattr(study, "DATASETS", ("digits",))
    monkeypatch.setattr(study, "IPCS", (1,))
    monkeypatch.setattr(study, "SELECTED_IPC", 1)
    quick = replace(SOFT_V1, stages=(Stage(epochs=2),))
    monkeypatch.setattr(study, "WAYS", {"two epochs": quick, "four steps": replace(quick, least_steps=4)})
    found = study.run(1, None, ("digits",), tmp_path / "study.json")
    assert [(one.method, one.steps) for one in found] == [
        ("random_subset", 2), ("random_subset", 4), ("rded", 2), ("rded", 4),
    ]  # fmt: skip
    # What is there is not run again.
    monkeypatch.setattr(study, "trained", None)
    assert study.run(1, None, ("digits",), tmp_path / "study.json") == found
    assert f"**{found[0].accuracy:.1f}** (1); 10 x 2" in study.page(found)


def test_the_page_is_what_the_results_give_and_nothing_is_missing() -> None:
    found = study.read()
    assert study.PAGE.read_text() == study.page(found)
    known = {one.cell for one in found}
    for dataset, method, ipc, seed, way in study.cells(2):
        assert (dataset, method, ipc, *study.numbers(way, 10 * ipc), seed) in known


def test_soft_v2_is_one_of_the_ways_and_longer_than_soft_v1_wherever_it_was_tried() -> None:
    chosen = study.WAYS["10 batches an epoch, 3000 steps"]
    assert replace(chosen, name="soft-v2") == SOFT_V2
    assert (REPLAY_V2.batches, REPLAY_V2.least_batch, REPLAY_V2.least_steps) == (10, 10, 3000)
    found = study.read()

    def mean(dataset: str, method: str, ipc: int, way: str) -> float:
        cell = (dataset, method, ipc, *study.numbers(study.WAYS[way], 10 * ipc))
        return torch.tensor([one.accuracy for one in found if one.cell[:5] == cell]).mean().item()

    for dataset in study.DATASETS:
        for method, ipc in [*(("random_subset", ipc) for ipc in study.IPCS), ("rded", 10)]:
            first, *_, second, _ = (mean(dataset, method, ipc, way) for way in study.WAYS)
            assert second > first + 2
