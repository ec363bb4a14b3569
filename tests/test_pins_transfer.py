"""What no change of the code may change in runs without labels, and in records of students on other data."""

from dataclasses import replace
from pathlib import Path

import pytest

from condense.protocols import TRANSFER_SHORT_V1
from condense.records.record import DataUsed, MethodUsed, Record, TargetUsed
from tests import pins

KEYS = {
    ("krr_st", "none", 1): "9215347a45ed2d3f707eac8ee9ad236bcc49b5143f298ea86504dca777de3ee7",
    ("krr_st", "cifar100", 10): "6e26be252a666ad1fbf4052fb597fecbba4b902d7a2108493468c5ae574defd8",
    ("krr_st", "tiny-imagenet", 10): "593b56a9f6e3552f6acadcf6abd8afd7ec98a65ae923599e72477c1a5d3c339f",
    ("random_taught", "none", 1): "26eb3c4ac4446bcb18803dff6a94316512cea75ac658e567ec376eefdec8c734",
}
RECORD = Record(
    kind="reference", key="3" * 64, ipc=0, seed=0, set=None, space="normalized", student="convnet",
    dataset=DataUsed(name="cifar10", kind="images", train_hash=pins.TRAIN, test_hash=pins.TEST),
    method=MethodUsed(name="no_pretraining", chain=()), protocol=TRANSFER_SHORT_V1,
    target=TargetUsed(name="mnist", train_hash="4" * 64, test_hash="5" * 64),
)  # fmt: skip


@pytest.mark.parametrize(("name", "dataset", "ipc"), KEYS)
def test_a_run_without_labels_has_the_key_that_it_always_had(name: str, dataset: str, ipc: int) -> None:
    assert pins.key(name, dataset, ipc) == KEYS[name, dataset, ipc]


def test_a_record_on_other_data_has_the_key_and_the_file_it_always_had() -> None:
    assert RECORD.evaluation_key(0) == "69f05de946e4797c0324db6998904686bc7ce04cf93eb886b7f09a7cc0df7eb7"
    place = "results/cifar10/no_pretraining-ipc0-seed0-transfer-short-v1-to-mnist-convnet-56c1cc67.json"
    assert RECORD.path(Path("results")).as_posix() == place


def test_both_splits_of_the_other_data_enter_the_key_and_the_own_test_split_does_not() -> None:
    assert RECORD.target is not None
    other = "6" * 64
    for target in (replace(RECORD.target, train_hash=other), replace(RECORD.target, test_hash=other)):
        changed = replace(RECORD, target=target)
        assert changed.evaluation_key() != RECORD.evaluation_key()
    other_test = replace(RECORD, dataset=replace(RECORD.dataset, test_hash=other))
    assert other_test.evaluation_key() == RECORD.evaluation_key()
