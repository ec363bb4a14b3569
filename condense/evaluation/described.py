"""What records say of the data, and the published numbers that stand beside them."""

from condense.data import Dataset
from condense.records.published import lookup
from condense.records.record import DataUsed, Paper, TargetUsed
from condense.store.foreign import IMPORTED


def paper(
    dataset: Dataset, method: str, ipc: int, student: str, target: Dataset | None = None
) -> Paper | None:
    """Returns the published number of a cell as records hold it; an imported set has that of its method."""
    name = dataset.spec.name if target is None else f"{dataset.spec.name}->{target.spec.name}"
    found = lookup(name, method.removeprefix(IMPORTED), ipc, student)
    return found.paper if found else None


def data_used(dataset: Dataset) -> DataUsed:
    """Returns the description of a dataset that records hold."""
    spec = dataset.spec
    return DataUsed(
        name=spec.name, kind=spec.kind, train_hash=dataset.train.hash, test_hash=dataset.test.hash,
        notes=spec.notes,
    )  # fmt: skip


def target_used(target: Dataset | None) -> TargetUsed | None:
    """Returns the description of the data that students are trained on after a set, if there are any."""
    if target is None:
        return None
    used = data_used(target)
    return TargetUsed(name=used.name, train_hash=used.train_hash, test_hash=used.test_hash, notes=used.notes)
