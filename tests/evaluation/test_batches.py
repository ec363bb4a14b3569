"""Batches that a student's network cannot be trained on."""

from dataclasses import replace

import pytest

from condense.data import ImageDataset
from condense.errors import Refused
from condense.evaluation import ImageStudent, WholeImages
from condense.protocols import HARD_V1


def test_a_last_batch_of_one_image_is_refused_where_batch_norms_cannot_take_it(toy: ImageDataset) -> None:
    normalized = toy.space("normalized")
    source = WholeImages(toy.train.in_space(normalized))
    student = ImageStudent(
        network="resnet18-bn", protocol=replace(HARD_V1, batch=len(source) - 1), source=source,
        test=toy.test.in_space(normalized), spec=toy.spec,
    )  # fmt: skip
    with pytest.raises(Refused, match="ends with a batch of one"):
        student.outcome(0)
    replace(student, network="convnet-w32").check()
    replace(student, protocol=HARD_V1).check()
